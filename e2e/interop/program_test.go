//go:build linux

package interop

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// program finds a program of others: on the PATH or where .ci/peers builds it. A test without it is skipped, or fails where everything
// must be there.
func program(t testing.TB, name, needs string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path, err := filepath.Abs(filepath.Join("../../.ci/bin", name))
	if err == nil {
		if _, err = os.Stat(path); err == nil {
			return path
		}
	}
	if os.Getenv("SALLYPORT_REQUIRE_ALL") != "" {
		t.Fatalf("needs %s: %s", name, needs)
	}
	t.Skipf("needs %s: %s", name, needs)
	return ""
}

// builtByUs says where those programs come from that no Debian has.
const builtByUs = "run .ci/peers"

// process is a program of others that runs until the test ends.
type process struct {
	*exec.Cmd
	exited chan struct{} // closed when it has ended

	mu   sync.Mutex // guards said
	said bytes.Buffer
}

// Write keeps what it says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *process) words() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// launch starts a program and waits until it listens.
func launch(t testing.TB, addr string, argv ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	p.Stdout, p.Stderr = p, p
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.stop)
	ticker := time.NewTicker(5 * time.Millisecond) // programs of others say it in no other way
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return p
		}
		select {
		case <-ticker.C:
		case <-p.exited:
			t.Fatalf("%s ended: %s", argv[0], p.words())
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen at %s: %v: %s", argv[0], addr, err, p.words())
		}
	}
}

// stop asks the program to end, and makes it if it does not.
func (p *process) stop() {
	p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		p.Process.Kill()
		<-p.exited
	}
}

// ran is what became of a program that ran to its end.
func ran(cmd *exec.Cmd) (out string, code int, err error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return said.String(), exit.ExitCode(), nil
	}
	return said.String(), 0, err
}
