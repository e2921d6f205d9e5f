package netns

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// stopTimeout is how long a program may take to end after SIGTERM.
const stopTimeout = 30 * time.Second

// Process is a program that runs on a host until it is stopped or the test ends.
type Process struct {
	// Exited is closed when it has ended.
	Exited <-chan struct{}

	t    testing.TB
	name string
	cmd  *exec.Cmd
	log  string
}

// Start starts a program on a host. Its words go to a file that is shown if the
// test fails.
func (h *Host) Start(t testing.TB, name, user string, args ...string) *Process {
	t.Helper()
	exited := make(chan struct{})
	p := &Process{
		Exited: exited, t: t, name: name + " on " + h.Name, log: h.Path("log/" + name),
		cmd: h.Command(context.WithoutCancel(t.Context()), user, args...),
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait() //nolint:errcheck // how it ended is in its state
		close(exited)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.tail())
		}
	})
	return p
}

// Stop ends the program as its unit's stop does, and waits for it.
func (p *Process) Stop() {
	p.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended by itself
	select {
	case <-p.Exited:
	case <-time.After(stopTimeout):
		p.t.Errorf("%s goes on %s after SIGTERM", p.name, stopTimeout)
		p.Kill()
	}
}

// Kill ends the program as the kernel would, and waits for it.
func (p *Process) Kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
	<-p.Exited
}

// tail is the end of what it said.
func (p *Process) tail() []byte {
	const enough = 6 << 10
	text, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Appendf(nil, "%v", err)
	}
	if over := len(text) - enough; over > 0 {
		text = text[over:]
		text = append([]byte("… "), text[bytes.IndexByte(text, '\n')+1:]...)
	}
	return text
}
