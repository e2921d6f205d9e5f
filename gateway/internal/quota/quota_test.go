package quota

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
)

func TestQuota(t *testing.T) {
	q := New(2)
	for i, want := range []bool{true, true, false, false} {
		if got := q.Enter("a"); got != want {
			t.Errorf("a's %d: %t, want %t", i+1, got, want)
		}
	}
	if !q.Enter("b") {
		t.Error("one caller's are counted for another")
	}
	q.Leave("a")
	if !q.Enter("a") || q.Enter("a") {
		t.Error("what has left makes room for one")
	}
	for _, caller := range []string{"a", "a", "b"} {
		q.Leave(caller)
	}
	if len(q.open) != 0 {
		t.Errorf("callers who have nothing are remembered: %v", q.open)
	}
}

func TestNoQuota(t *testing.T) {
	var q *Quota
	for range 3 {
		if !q.Enter("a") {
			t.Error("nothing was let in without a quota")
		}
	}
	q.Leave("a")
}

// TestConcurrent: however callers come and go, none has more than its quota.
func TestConcurrent(t *testing.T) {
	const most = 3
	q := New(most)
	var open [2]struct {
		sync.Mutex
		n int
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 2000 {
				i := rand.IntN(len(open))
				caller, count := strconv.Itoa(i), &open[i]
				if !q.Enter(caller) {
					continue
				}
				count.Lock()
				if count.n++; count.n > most {
					t.Errorf("%d are open", count.n)
				}
				count.Unlock()
				count.Lock()
				count.n--
				count.Unlock()
				q.Leave(caller)
			}
		})
	}
	all.Wait()
	if len(q.open) != 0 {
		t.Errorf("at the end %v are open", q.open)
	}
}

func BenchmarkQuota(b *testing.B) {
	q := New(1000)
	b.ReportAllocs()
	for b.Loop() {
		q.Enter("spiffe://onprem.demo/ai/orchestrator")
		q.Leave("spiffe://onprem.demo/ai/orchestrator")
	}
}
