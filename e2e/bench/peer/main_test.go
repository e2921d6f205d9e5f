package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestRunSaysWhatIsWrong: nobody waits for a peer that cannot serve.
func TestRunSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"flag", []string{"-loud"}, "-loud"},
		{"end", []string{"-end", "middle"}, `unknown end "middle"`},
		{"certificates", []string{"-certs", t.TempDir()}, "near.crt"},
		{"address", []string{"-end", "backend", "-listen", "nowhere"}, "missing port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if err := run(c.args, strings.NewReader(""), &out); err == nil || !strings.Contains(err.Error(), c.want) || out.Len() > 0 {
				t.Errorf("run(%q) = %v, said %q; want %q", c.args, err, out.String(), c.want)
			}
		})
	}
}

// TestBackend: it serves when it says so, and ends with its standard input.
func TestBackend(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	stdin, closing := io.Pipe()
	words, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run([]string{"-end", "backend", "-listen", address}, stdin, stdout) }()
	if word, err := bufio.NewReader(words).ReadString('\n'); err != nil || word != "ready\n" {
		t.Fatalf("it said %q, %v", word, err)
	}
	resp, err := (&http.Client{}).Get("http://" + address + "/bytes/1000")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != 1000 || err != nil {
		t.Errorf("%d bytes, %v; want 1000", n, err)
	}
	closing.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
