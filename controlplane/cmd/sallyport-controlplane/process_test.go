package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// process is a command that runs in this process.
type process struct {
	done chan int      // its exit code
	said chan struct{} // closed when it has logged what was waited for

	mu      sync.Mutex // guards what follows
	log     bytes.Buffer
	waitFor string
}

func start(ctx context.Context, role, config, waitFor string) *process {
	p := &process{done: make(chan int, 1), said: make(chan struct{}), waitFor: waitFor}
	go func() { p.done <- run(ctx, []string{role, "--config", config}, io.Discard, p) }()
	return p
}

// Write takes what the command logs.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Write(b)
	if p.waitFor != "" && strings.Contains(p.log.String(), p.waitFor) {
		p.waitFor = ""
		close(p.said)
	}
	return len(b), nil
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// uid is this process's user.
func uid() string { return strconv.Itoa(os.Getuid()) }

// awaitSocket waits until somebody listens at a socket's path.
func awaitSocket(t *testing.T, path string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond) // nothing says when a path is bound
	defer tick.Stop()
	for range 1000 {
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			return
		}
		<-tick.C
	}
	t.Fatalf("nobody listens at %q", path)
}
