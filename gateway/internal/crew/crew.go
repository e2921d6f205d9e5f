// Package crew runs tasks in goroutines that wait a moment for the next one. A
// goroutine's stack begins small, and to grow it is a good part of what a short
// task costs; here it has grown already. It knows nothing of what tasks do.
package crew

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// maxIdle is how many goroutines wait for a task: as many as come in a burst.
	maxIdle = 256
	// patience is how long each does.
	patience = time.Second
)

// Crew runs tasks. The zero value is not ready: use New.
type Crew struct {
	tasks chan work
	idle  atomic.Int32 // goroutines that wait
}

// Task is done once. It is no function, which would have to be made for each task.
type Task interface{ Do() }

type function func()

// Do implements Task.
func (f function) Do() { f() }

type work struct {
	ctx  context.Context
	task Task
}

// New makes a crew that nobody is in yet.
func New() *Crew { return &Crew{tasks: make(chan work)} }

// Go is Do of a function.
func (c *Crew) Go(ctx context.Context, f func()) { c.Do(ctx, function(f)) }

// Do runs a task in a goroutine of its own, as the go statement does. None waits
// for another task once the context of its last one has ended.
func (c *Crew) Do(ctx context.Context, t Task) {
	select {
	case c.tasks <- work{ctx, t}:
	default:
		go c.run(work{ctx, t})
	}
}

// run does one task after another, until there is none for a while.
func (c *Crew) run(w work) {
	w.task.Do()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for c.wait(&w, timer.C) {
		w.task.Do()
		timer.Reset(patience)
	}
}

// wait waits for a task. It says false if there is none in time, or if enough
// others wait for one.
func (c *Crew) wait(w *work, over <-chan time.Time) bool {
	defer c.idle.Add(-1)
	if c.idle.Add(1) > maxIdle {
		return false
	}
	select {
	case next := <-c.tasks:
		*w = next
		return true
	case <-over:
	case <-w.ctx.Done():
	}
	return false
}
