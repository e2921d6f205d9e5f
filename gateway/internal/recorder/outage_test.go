package recorder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// delivered waits until nothing waits.
func (r running) delivered(t *testing.T) {
	t.Helper()
	for r.Pending() > 0 {
		_, moved := r.spool.Acknowledged()
		if r.Pending() == 0 {
			return
		}
		select {
		case <-moved:
		case <-time.After(5 * time.Minute): // of the bubble
			t.Fatalf("%d bytes wait", r.Pending())
		}
	}
}

// TestBadAnswers: after each, delivery goes on over another stream and from the
// last position that was rightly acknowledged.
func TestBadAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		tell func(*plane)
		took time.Duration // at least
	}{
		{"none", func(p *plane) { p.silent = 1 }, ackTimeout},
		{"none, twice", func(p *plane) { p.silent = 2 }, ackTimeout},
		{"an error", func(p *plane) { p.failures = 1 }, minDelay / 2},
		{"another position", func(p *plane) { p.wrong = 1 }, minDelay / 2},
		{"a rejected frame that is none", func(p *plane) { p.outside = 1 }, minDelay / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlane(t)
				c.tell(p)
				dir := t.TempDir()
				began := time.Now()
				r := start(t, dir, spool.SegmentSize, p)
				r.crossings(t, 20)
				r.delivered(t)
				if took := time.Since(began); took < c.took || took > 2*(c.took+maxDelay) {
					t.Errorf("delivered after %s, want little more than %s", took, c.took)
				}
				if p.streams < 2 || len(p.frames) != 40 {
					t.Errorf("%d streams, %d frames; want two and 40", p.streams, len(p.frames))
				}
				if text, err := os.ReadFile(filepath.Join(dir, rejectedFile)); err == nil && len(text) > 0 {
					t.Errorf("rejected: %q", text)
				}
				r.stop()
			})
		})
	}
}

// TestAnswerTwice: an acknowledgement for nothing ends the stream and harms
// nobody.
func TestAnswerTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		p.twice = 1
		r := start(t, t.TempDir(), spool.SegmentSize, p)
		for range 3 {
			r.crossings(t, 1)
			r.delivered(t)
			<-time.After(time.Second)
		}
		if p.streams != 2 || len(p.frames) != 6 {
			t.Errorf("%d streams, %d frames; want 2 and 6", p.streams, len(p.frames))
		}
		r.stop()
	})
}

// TestPatience: acknowledgements that come in time are not given up on, however
// long the stream lasts or is idle.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		r := start(t, t.TempDir(), spool.SegmentSize, p)
		for range 5 {
			r.crossings(t, 3)
			<-time.After(2 * ackTimeout)
		}
		if p.streams != 1 || r.Pending() != 0 {
			t.Errorf("%d streams, %d bytes wait; want one and none", p.streams, r.Pending())
		}
		r.stop()
	})
}

// unreachable runs a recorder without a control plane.
func unreachable(t *testing.T, log *zap.Logger) (r running, ended <-chan time.Time) {
	t.Helper()
	rec, err := New(Config{Dir: t.TempDir(), Gateway: self, Connect: nobody, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan time.Time, 1)
	go func() {
		if err := rec.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		end <- time.Now()
	}()
	return running{rec, cancel}, end
}

// TestStopUnreachable: a gateway that cannot deliver stops all the same, at
// once when nothing waits.
func TestStopUnreachable(t *testing.T) {
	for _, c := range []struct {
		name  string
		waits int
		want  time.Duration
	}{
		{"nothing waits", 0, 0},
		{"something waits", 1, finalDelivery},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, ended := unreachable(t, nil)
				r.crossings(t, c.waits)
				<-time.After(time.Minute)
				began := time.Now()
				r.stop()
				if took := (<-ended).Sub(began); took != c.want {
					t.Errorf("stopping took %s, want %s", took, c.want)
				}
				if err := r.Open(half(r.RunID(), 9), false, false); !errors.Is(err, ErrClosed) {
					t.Errorf("Open = %v after Run", err)
				}
			})
		})
	}
}

// TestStopAfterAck: the last acknowledgement finishes a segment; a stop that
// waited for it does not wait on.
func TestStopAfterAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		r := start(t, t.TempDir(), 1, p) // a segment for each group
		r.crossings(t, 10)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took >= finalDelivery || r.Pending() > 0 {
			t.Errorf("stopping took %s, %d bytes wait", took, r.Pending())
		}
	})
}

// TestWarnOnce: one outage is one warning, and none while nothing waits.
func TestWarnOnce(t *testing.T) {
	for _, c := range []struct {
		name        string
		waits, want int
	}{
		{"nothing waits", 0, 0},
		{"something waits", 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				r, ended := unreachable(t, zap.New(core))
				r.crossings(t, c.waits)
				<-time.After(10 * time.Minute)
				r.stop()
				<-ended
				if logs.Len() != c.want {
					t.Errorf("%d warnings, want %d: %v", logs.Len(), c.want, logs.All())
				}
			})
		})
	}
}

// TestRoomAgain: a spool that is full takes crossings again once the control
// plane has taken some, even one that is smaller than a segment.
func TestRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		dir := t.TempDir()
		r, err := New(Config{Dir: dir, Gateway: self, MaxBytes: 4000, Connect: p.connect})
		if err != nil {
			t.Fatal(err)
		}
		fill := func() {
			for n := 0; ; n++ {
				err := r.Open(half(r.RunID(), r.Next(peer.String())), false, false)
				if errors.Is(err, ErrFull) && n > 0 {
					return
				}
				if err != nil {
					t.Fatalf("Open = %v after %d", err, n)
				}
			}
		}
		fill()
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		running{r, nil}.delivered(t)
		synctest.Wait()
		for range 20 {
			if err := r.Open(half(r.RunID(), r.Next(peer.String())), false, false); err != nil {
				t.Errorf("Open = %v, though all was taken", err)
			}
			running{r, nil}.delivered(t)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestOneIDTwice: crossings of two gateways that chose one id are both closed
// when this one stops.
func TestOneIDTwice(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, spool.SegmentSize)
	for _, run := range []string{r.RunID(), "0123456789abcdef0123456789abcdef"} {
		h := half(run, 1)
		h.Id, h.Side = "0197f2d0-0000-7000-8000-000000000001", crossingv1.Side_INGRESS
		h.Key.Egress, h.Key.Ingress, h.End.Gateway = peer.String(), self.String(), self.String()
		if err := r.Open(h, false, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir, spool.SegmentSize).CloseSpool(); err != nil {
		t.Fatal(err)
	}
	runs := map[string]bool{}
	for _, f := range spooled(t, dir) {
		if f.GetClose().GetCause() == crossingv1.Cause_GATEWAY_STOPPED {
			runs[f.GetClose().GetKey().GetRun()] = true
		}
	}
	if len(runs) != 2 {
		t.Errorf("closed: %v, want both", runs)
	}
}
