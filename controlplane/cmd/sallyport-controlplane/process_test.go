package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
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
