package witness

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// childConfig is the variable that makes this test binary a witness, with its
// configuration.
const childConfig = "SALLYPORT_TEST_WITNESS"

func TestMain(m *testing.M) {
	if text := os.Getenv(childConfig); text != "" {
		fmt.Println("ended:", runChild(text))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func runChild(text string) error {
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	w, err := New(cfg)
	if err != nil {
		return err
	}
	fmt.Println(w.Addr())
	return w.Run(context.Background())
}

// child starts a witness in a process of its own, and gives its address.
func child(t *testing.T, cfg Config) (addr string, kill func()) {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+string(text))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	addr, err = bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(addr, "ended:") {
		kill()
		t.Fatalf("the witness says %q, %v", addr, err)
	}
	return strings.TrimSuffix(addr, "\n"), kill
}

// TestKilled kills a witness while it cosigns, again and again: what it has
// given a cosignature for, it knows when it comes back, and no fork of it passes.
func TestKilled(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	cfg := testConfig(t, l)
	size := 0
	for round := range 12 {
		addr, kill := child(t, cfg)
		enough, asked := make(chan struct{}), make(chan int)
		go func() {
			asked <- growUntilKilled(l, "http://"+addr, size, 3+round, enough)
		}()
		<-enough
		kill()
		acknowledged := <-asked
		addr, kill = child(t, cfg)
		got := ask(t, "http://"+addr, body(0, nil, l.checkpoint(len(l.leaves))))
		if _, err := fmt.Sscanf(got.text, "%d\n", &size); err != nil || got.code != http.StatusConflict {
			t.Fatalf("round %d: %+v", round, got)
		}
		if size != acknowledged && size != acknowledged+1 {
			t.Errorf("round %d: %d was cosigned, and %d is remembered", round, acknowledged, size)
		}
		fork := l.with("a fork")
		fork.grow(size)
		if got := ask(t, "http://"+addr, fork.request(size, size)); got.code != http.StatusUnprocessableEntity {
			t.Errorf("round %d: a fork: %+v", round, got)
		}
		kill()
	}
}

// growUntilKilled has one size after the other cosigned until the witness answers
// no more, and gives the last one that was. When there were so many it closes
// enough.
func growUntilKilled(l *testLog, url string, size, many int, enough chan<- struct{}) int {
	tell := sync.OnceFunc(func() { close(enough) })
	defer tell()
	client := &http.Client{}
	for i := 0; ; i++ {
		if i == many {
			tell()
		}
		l.grow(size + 1)
		got, err := client.Post(url+"/add-checkpoint", "", strings.NewReader(l.request(size, size+1)))
		if err != nil {
			return size
		}
		_, err = io.Copy(io.Discard, got.Body)
		if err = errors.Join(err, got.Body.Close()); err != nil || got.StatusCode != http.StatusOK {
			return size
		}
		size++
	}
}
