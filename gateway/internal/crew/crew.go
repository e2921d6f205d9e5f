// Package crew runs tasks in goroutines that wait a moment for the next one. A
// goroutine's stack begins small, and to grow it is a good part of what a short
// task costs; here it has grown already. It knows nothing of what tasks do.
package crew

import (
	"context"
	"sync"
	"time"
)

const (
	// maxIdle is how many goroutines wait for a task: as many as come in a burst.
	maxIdle = 256
	// patience is how long each does, at least, and less than twice as long.
	patience = time.Second
)

// Crew runs tasks. The zero value is ready.
type Crew struct {
	mu       sync.Mutex      // guards what follows
	idle     []*member       // who wait; who waits longest is first
	fewest   int             // that have waited at a time since the last look
	sweeping bool            // a look is due
	ctx      context.Context // whose end is watched for
}

// Task is done once. It is no function, which would have to be made for each task.
type Task interface{ Do() }

type function func()

// Do implements Task.
func (f function) Do() { f() }

// member is a goroutine of the crew. The last one to wait gets the next task, so
// that those go of whom there is no need.
type member struct {
	next chan Task // holds one; closed when there is none
	ctx  context.Context
}

// New makes a crew that nobody is in yet.
func New() *Crew { return new(Crew) }

// Go is Do of a function.
func (c *Crew) Go(ctx context.Context, f func()) { c.Do(ctx, function(f)) }

// Do runs a task in a goroutine of its own, as the go statement does. None waits
// for another task once the context of its last one has ended. Tasks that follow one
// another are meant to have the same context.
func (c *Crew) Do(ctx context.Context, t Task) {
	if m := c.take(); m != nil {
		m.ctx = ctx
		m.next <- t
		return
	}
	go c.run(&member{ctx: ctx}, t)
}

// run does one task after another, until there is none for a while.
func (c *Crew) run(m *member, t Task) {
	for more := true; more; t, more = c.await(m) {
		t.Do()
	}
}

// await waits for a task. It says false if there is none in time, or if enough
// others wait for one.
func (c *Crew) await(m *member) (t Task, more bool) {
	if !c.put(m) {
		return nil, false
	}
	t, more = <-m.next
	return t, more
}

// take gives who has waited last, nil if nobody waits.
func (c *Crew) take() *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle) - 1
	if n < 0 {
		return nil
	}
	m := c.idle[n]
	c.idle[n] = nil
	c.idle = c.idle[:n]
	c.fewest = min(c.fewest, n)
	return m
}

// put makes m one of those who wait, unless they are enough or its context has ended.
func (c *Crew) put(m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == maxIdle || m.ctx.Err() != nil {
		return false
	}
	if c.ctx != m.ctx {
		c.ctx = m.ctx
		context.AfterFunc(m.ctx, c.dismiss)
	}
	if m.next == nil {
		m.next = make(chan Task, 1)
	}
	c.idle = append(c.idle, m)
	if !c.sweeping {
		c.sweeping, c.fewest = true, 0
		time.AfterFunc(patience, c.sweep)
	}
	return true
}

// sweep lets those go who had no task since it looked last.
func (c *Crew) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	c.keep(func(*member) bool { n++; return n > c.fewest })
	c.fewest = len(c.idle)
	if c.sweeping = len(c.idle) > 0; c.sweeping {
		time.AfterFunc(patience, c.sweep)
	}
}

// dismiss lets those go whose context has ended.
func (c *Crew) dismiss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(func(m *member) bool { return m.ctx.Err() == nil })
	c.fewest = min(c.fewest, len(c.idle))
}

// keep lets all others go. The caller holds mu.
func (c *Crew) keep(stays func(*member) bool) {
	kept := c.idle[:0]
	for _, m := range c.idle {
		if stays(m) {
			kept = append(kept, m)
		} else {
			close(m.next)
		}
	}
	clear(c.idle[len(kept):])
	c.idle = kept
}
