package standing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var (
	agent = spiffeid.RequireFromString("spiffe://near.test/ai/agent")
	llm   = spiffeid.RequireFromString("spiffe://far.test/ai/llm")
	peer  = spiffeid.RequireFromString("spiffe://far.test/sallyport/gateway/far-1")
)

// stream keeps the code that it was reset with first.
type stream struct {
	tunnel.Stream
	code atomic.Uint32
}

func (s *stream) Reset(code tunnel.ResetCode) { s.code.CompareAndSwap(0, uint32(code)) }

func (s *stream) reason() crossingv1.Reason { return tunnel.ResetCode(s.code.Load()).Reason() }

// court denies one identity.
type court struct{ denied atomic.Pointer[spiffeid.ID] }

func (c *court) Judge(p *authz.Parties) (crossingv1.Reason, string) {
	if id := c.denied.Load(); id != nil && p.Source == *id {
		return crossingv1.Reason_QUARANTINED, "by act 3f"
	}
	return crossingv1.Reason_REASON_UNSPECIFIED, ""
}

func (c *court) deny(id spiffeid.ID) { c.denied.Store(&id) }

// credential ends at a time, or before.
type credential struct {
	ends  time.Time
	fault atomic.Pointer[error]
}

func (c *credential) Expires() time.Time { return c.ends }

func (c *credential) Check() error {
	if err := c.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// outer counts how often it was cut.
type outer struct{ cuts atomic.Int32 }

func (o *outer) Cut() { o.cuts.Add(1) }

func newCourt() (*court, *Standing) {
	c := &court{}
	return c, New(func() Reviewer { return c })
}

// open is a crossing of a source, with its stream.
func open(source spiffeid.ID, shown Credential) (*Crossing, *stream) {
	s := &stream{}
	return &Crossing{
		Parties: authz.Parties{Source: source, Destination: llm, Peer: peer, Workload: true}, Stream: s, Credential: shown,
	}, s
}

func TestReviewEndsWhomNobodyStandsBehind(t *testing.T) {
	judge, all := newCourt()
	one, denied := open(agent, nil)
	other, goesOn := open(llm, nil)
	all.Enter(one, all.Round())
	all.Enter(other, all.Round())
	all.Review()
	if denied.code.Load() != 0 {
		t.Fatal("a crossing was ended for nothing")
	}
	judge.deny(agent)
	all.Review()
	if denied.reason() != crossingv1.Reason_QUARANTINED || goesOn.code.Load() != 0 {
		t.Fatalf("reset with %v and %v", denied.reason(), goesOn.reason())
	}
	if reason, detail := all.Leave(one); reason != crossingv1.Reason_QUARANTINED || detail != "by act 3f" {
		t.Errorf("Leave = %v, %q", reason, detail)
	}
	if reason, _ := all.Leave(other); reason != 0 {
		t.Errorf("Leave of one that ended by itself = %v", reason)
	}
	if reason, _ := all.Leave(one); reason != 0 {
		t.Errorf("Leave again = %v", reason)
	}
	for i := range all.shards {
		if all.shards[i].first != nil {
			t.Error("a crossing that has left is still known")
		}
	}
}

// TestEnterAfterAReview: what was decided on before a review, and entered after it,
// is judged.
func TestEnterAfterAReview(t *testing.T) {
	judge, all := newCourt()
	round := all.Round()
	judge.deny(agent)
	all.Review()
	late, s := open(agent, nil)
	all.Enter(late, round)
	if s.reason() != crossingv1.Reason_QUARANTINED {
		t.Error("it slipped through")
	}
	all.Leave(late)
}

func TestCredentials(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault error
		want  crossingv1.Reason
	}{
		{"holds", nil, 0},
		{"key is gone", fmt.Errorf("verify: %w", certs.ErrUntrusted), crossingv1.Reason_BAD_IDENTITY},
		{"dates", fmt.Errorf("verify: %w", certs.ErrExpired), crossingv1.Reason_EXPIRED_IDENTITY},
		{"anything else", errors.New("what"), crossingv1.Reason_BAD_IDENTITY},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, all := newCourt()
			shown := &credential{ends: time.Now().Add(time.Hour)}
			one, s := open(agent, shown)
			all.Enter(one, all.Round())
			if c.fault != nil {
				shown.fault.Store(&c.fault)
			}
			all.Review()
			if s.reason() != c.want {
				t.Errorf("reset for %v, want %v", s.reason(), c.want)
			}
			all.Leave(one)
		})
	}
}

// running runs reviews until the test ends.
func running(t *testing.T, all *Standing, changed func() <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); all.Run(ctx, changed) }()
	t.Cleanup(func() { cancel(); <-done })
}

func never() <-chan struct{} { return nil }

func TestRunEndsThemWithTheirCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := newCourt()
		running(t, all, never)
		synctest.Wait()
		var streams []*stream
		var crossings []*Crossing
		for _, after := range []time.Duration{time.Hour, time.Minute, 20 * time.Minute} {
			c, s := open(agent, &credential{ends: time.Now().Add(after)})
			all.Enter(c, all.Round())
			crossings, streams = append(crossings, c), append(streams, s)
		}
		met, metStream := open(agent, nil)
		all.Enter(met, all.Round())
		all.Show(met, &credential{ends: time.Now().Add(30 * time.Second)})
		for _, step := range []struct {
			after time.Duration
			ended int
		}{{31 * time.Second, 0}, {30 * time.Second, 1}, {19*time.Minute + time.Second, 2}, {40*time.Minute + time.Second, 3}} {
			<-time.After(step.after)
			ended := 0
			for _, s := range streams {
				if s.reason() == crossingv1.Reason_EXPIRED_IDENTITY {
					ended++
				}
			}
			if ended != step.ended {
				t.Errorf("%d have ended, want %d", ended, step.ended)
			}
		}
		if metStream.reason() != crossingv1.Reason_EXPIRED_IDENTITY {
			t.Error("a credential that was shown later does not count")
		}
		for _, c := range append(crossings, met) {
			all.Leave(c)
		}
	})
}

// TestRunReviewsOnceForEachChange also holds that a storm of credentials which end
// one after another does not put reviews off.
func TestRunReviewsOnceForEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judge, all := newCourt()
		var mu sync.Mutex
		change := make(chan struct{})
		running(t, all, func() <-chan struct{} { mu.Lock(); defer mu.Unlock(); return change })
		synctest.Wait()
		one, s := open(agent, nil)
		all.Enter(one, all.Round())
		before := all.Round()
		judge.deny(agent)
		mu.Lock()
		close(change)
		change = make(chan struct{})
		mu.Unlock()
		synctest.Wait()
		if s.reason() != crossingv1.Reason_QUARANTINED || all.Round() != before+1 {
			t.Errorf("reset for %v after %d reviews", s.reason(), all.Round()-before)
		}
		all.Leave(one)
		before = all.Round()
		for i := range 1000 {
			c, _ := open(llm, &credential{ends: time.Now().Add(time.Second - time.Duration(i)*time.Millisecond)})
			all.Enter(c, all.Round())
			<-time.After(time.Millisecond)
			all.Leave(c)
		}
		if n := all.Round() - before; n > 12 {
			t.Errorf("%d reviews in a second", n)
		}
	})
}

// TestWhoDoesNotHearIsCut: a party that reads nothing never hears that its crossing
// has ended.
func TestWhoDoesNotHearIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judge, all := newCourt()
		running(t, all, never)
		synctest.Wait()
		deaf, gone, handed := &outer{}, &outer{}, &outer{}
		var crossings []*Crossing
		for _, o := range []*outer{deaf, gone, handed} {
			c, _ := open(agent, nil)
			c.Outer = o
			all.Enter(c, all.Round())
			crossings = append(crossings, c)
		}
		all.Move(crossings[2], &stream{}, nil)
		judge.deny(agent)
		all.Review()
		all.Leave(crossings[1])
		<-time.After(time.Second)
		if deaf.cuts.Load() != 0 {
			t.Error("it was cut before it could hear")
		}
		<-time.After(time.Minute)
		if deaf.cuts.Load() != 1 || gone.cuts.Load() != 0 || handed.cuts.Load() != 0 {
			t.Errorf("cut %d, %d and %d times, want 1, 0 and 0", deaf.cuts.Load(), gone.cuts.Load(), handed.cuts.Load())
		}
		all.Leave(crossings[0])
		all.Leave(crossings[2])
	})
}

func TestNobodyStandsInNone(t *testing.T) {
	var none *Standing
	c, _ := open(agent, nil)
	none.Enter(c, none.Round())
	none.Move(c, nil, nil)
	none.Show(c, &credential{})
	slimmed := false
	none.Slim(c, func() { slimmed = true })
	none.Review()
	none.Visit(func(*Crossing) { t.Error("visited") }, func() { t.Error("rested") })
	if reason, _ := none.Leave(c); reason != 0 || !slimmed {
		t.Errorf("it was ended for %s, slimmed %t", reason, slimmed)
	}
}

// TestConcurrently: whatever enters and leaves during reviews, each is judged by what
// is denied, and none twice.
func TestConcurrently(t *testing.T) {
	judge, all := newCourt()
	judge.deny(llm)
	stop := make(chan struct{})
	var reviewing, crossing sync.WaitGroup
	reviewing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				all.Review()
			}
		}
	})
	for range 8 {
		crossing.Go(func() {
			for i := range 500 {
				source := []spiffeid.ID{agent, llm}[i%2]
				c, s := open(source, nil)
				round := all.Round()
				all.Enter(c, round)
				if source == llm && s.code.Load() == 0 {
					all.Review()
				}
				reason, _ := all.Leave(c)
				if denied := reason != 0; denied != (source == llm) || denied != (s.code.Load() != 0) {
					t.Errorf("%s left with %v", source, reason)
				}
			}
		})
	}
	crossing.Wait()
	close(stop)
	reviewing.Wait()
}

// TestVisit: each that is open is seen once, by whom it is carried, and whoever rests
// holds nobody up.
func TestVisit(t *testing.T) {
	_, all := newCourt()
	crossings := make([]*Crossing, 500)
	for i := range crossings {
		crossings[i], _ = open(agent, nil)
		crossings[i].Bearer = i
		all.Enter(crossings[i], all.Round())
	}
	all.Leave(crossings[7])
	seen := map[int]int{}
	all.Visit(func(c *Crossing) { seen[c.Bearer.(int)]++ }, func() {
		late, _ := open(agent, nil)
		late.Bearer = -1
		all.Enter(late, all.Round())
		all.Leave(late)
	})
	for i := range crossings {
		want := 1
		if i == 7 {
			want = 0
		}
		if seen[i] != want {
			t.Errorf("number %d was seen %d times", i, seen[i])
		}
	}
	if seen[-1] != 0 {
		t.Error("one was seen after it had left")
	}
}

// BenchmarkVisitTenThousand is what it costs to look at so many crossings.
func BenchmarkVisitTenThousand(b *testing.B) {
	_, all := newCourt()
	for range 10_000 {
		c, _ := open(agent, nil)
		all.Enter(c, all.Round())
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		all.Visit(func(*Crossing) { n++ }, func() {})
		if n != 10_000 {
			b.Fatal(n)
		}
	}
}
