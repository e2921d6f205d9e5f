package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

func TestMain(m *testing.M) { meshtest.Main(m) }

// ask is sallyport for a question that must be answered with yes.
func ask(t *testing.T, dir string, args ...string) string {
	t.Helper()
	s := meshtest.Sallyport(t, dir, args...)
	if s.Code != 0 {
		t.Fatalf("sallyport %s: exit code %d: %s%s", strings.Join(args, " "), s.Code, s.Stdout, s.Stderr)
	}
	return s.Stdout
}

// upLine is the demo's last words before it waits.
const upLine = "The mesh stays up until Ctrl-C"

// demoProcess is `sallyport demo` in a process of its own.
type demoProcess struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and all its words are here

	mu     sync.Mutex // guards what it said
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// startDemo starts the demo in a directory and waits until its tour is over.
func startDemo(t *testing.T, dir string) *demoProcess {
	t.Helper()
	p := &demoProcess{cmd: exec.Command(meshtest.Binary(t, "sallyport"), "--dir", dir, "demo"), exited: make(chan struct{})}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() { p.read(stdout, &p.stdout, up) })
	readers.Go(func() { p.read(stderr, &p.stderr, nil) })
	go func() {
		readers.Wait()
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
	})
	select {
	case <-up:
	case <-p.exited:
		t.Fatalf("the demo ended: %s%s", p.out(), p.err())
	case <-time.After(meshtest.Patience):
		t.Fatalf("the demo does not come up: %s%s", p.out(), p.err())
	}
	return p
}

// read keeps what comes, and closes up when the demo says that it is.
func (p *demoProcess) read(from io.Reader, into *bytes.Buffer, up chan<- struct{}) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		p.mu.Lock()
		fmt.Fprintln(into, lines.Text())
		p.mu.Unlock()
		if up != nil && strings.HasPrefix(lines.Text(), upLine) {
			close(up)
			up = nil
		}
	}
}

func (p *demoProcess) out() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

func (p *demoProcess) err() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// stop interrupts the demo as Ctrl-C does, and holds how it ends.
func (p *demoProcess) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(meshtest.Patience):
		t.Fatalf("the demo goes on after SIGINT: %s", p.err())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the demo ended with exit code %d: %s", code, p.err())
	}
}
