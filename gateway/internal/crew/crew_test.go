package crew

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// waiting is how many wait for a task.
func waiting(c *Crew) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle)
}

// TestEveryTaskRuns: also those that come while all others wait for something.
func TestEveryTaskRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tasks = 4 * maxIdle
		c := New()
		for range 3 {
			var ran sync.WaitGroup
			release := make(chan struct{})
			ran.Add(tasks)
			for range tasks {
				c.Go(t.Context(), func() { defer ran.Done(); <-release })
			}
			synctest.Wait() // all wait at the same time
			close(release)
			ran.Wait()
			synctest.Wait()
			if n := waiting(c); n != maxIdle {
				t.Errorf("%d wait for a task, want %d", n, maxIdle)
			}
		}
		<-time.After(2 * patience)
		synctest.Wait()
		if n := waiting(c); n != 0 {
			t.Errorf("%d wait for a task after a while without any", n)
		}
	})
}

// TestOneAfterAnother: tasks that follow one another share a goroutine, which
// ends with their context.
func TestOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		ctx, cancel := context.WithCancel(t.Context())
		for range 100 {
			c.Go(ctx, func() {})
			synctest.Wait()
		}
		if n := waiting(c); n != 1 {
			t.Errorf("%d goroutines for tasks that follow one another", n)
		}
		cancel()
		synctest.Wait()
		if n := waiting(c); n != 0 {
			t.Errorf("%d wait for a task after the end of the last one's context", n)
		}
	})
}

// TestOnlyWhoIsNeededStays: of many who wait, those go for whom there is nothing to
// do, while the others have something.
func TestOnlyWhoIsNeededStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		tasks := func(n int) {
			release := make(chan struct{})
			for range n {
				c.Go(t.Context(), func() { <-release })
			}
			synctest.Wait()
			close(release)
			synctest.Wait()
		}
		tasks(100)
		for range 30 {
			tasks(3)
			<-time.After(patience / 10)
		}
		if n := waiting(c); n != 3 {
			t.Errorf("%d wait for a task, and three are needed", n)
		}
	})
}

// TestContextHasEnded: nobody waits for another task after one whose context had
// ended.
func TestContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		ctx, cancel := context.WithCancel(t.Context())
		c.Go(ctx, cancel)
		synctest.Wait()
		if n := waiting(c); n != 0 {
			t.Errorf("%d wait for a task", n)
		}
	})
}

// deep needs more stack than a goroutine begins with.
func deep(n int) byte {
	var room [512]byte
	if n > 0 {
		room[n] = deep(n - 1)
	}
	return room[n]
}

// BenchmarkTask compares a task that needs stack with the go statement's.
func BenchmarkTask(b *testing.B) {
	crew := New()
	for name, run := range map[string]func(func()){
		"crew": func(f func()) { crew.Go(b.Context(), f) },
		"go":   func(f func()) { go f() },
	} {
		b.Run(name, func(b *testing.B) {
			done := make(chan struct{})
			for b.Loop() {
				run(func() { deep(16); done <- struct{}{} })
				<-done
			}
		})
	}
}
