package tcptunnel

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
)

// plan is what one end of a stream does: writes of these sizes, then it ends
// its direction or resets the stream; it reads with buffers of this size.
type plan struct {
	writes []int
	buffer int
	reset  bool
}

func drawPlan(t *rapid.T, name string) plan {
	return plan{
		writes: rapid.SliceOfN(rapid.IntRange(0, 300<<10), 0, 4).Draw(t, name+" writes"),
		buffer: rapid.SampledFrom([]int{1 << 10, 4 << 10, 33 << 10, 100 << 10}).Draw(t, name+" buffer"),
		reset:  rapid.IntRange(0, 7).Draw(t, name+" resets") == 0,
	}
}

func (p plan) total() int {
	n := 0
	for _, w := range p.writes {
		n += w
	}
	return n
}

// content is bytes that say where they belong.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// drive does what the plan says on one end and checks what arrives there.
func drive(s tunnel.Stream, own, other plan, ownSeed, otherSeed uint64) (failure string) {
	var wg sync.WaitGroup
	wg.Go(func() {
		data := content(ownSeed, own.total())
		for _, n := range own.writes {
			if m, err := s.Write(data[:n]); err != nil || m != n {
				return // the other end reset it; the reader judges
			}
			data = data[n:]
		}
		if own.reset {
			s.Reset(tunnel.CallerGone)
		} else {
			s.CloseWrite()
		}
	})
	var got bytes.Buffer
	_, err := io.CopyBuffer(&got, struct{ io.Reader }{s}, make([]byte, own.buffer))
	wg.Wait()
	want := content(otherSeed, other.total())
	switch reset := own.reset || other.reset; {
	case !bytes.HasPrefix(want, got.Bytes()):
		return "other bytes arrived than were sent"
	case err == nil && got.Len() != len(want):
		return "the end came before all bytes"
	case err != nil && !reset:
		return "stream failed: " + err.Error()
	}
	return ""
}

// TestStreamsAreLikePipes: many streams at once, each with writes, ends and
// resets at both ends in any order, opened by either end. Each delivers what
// was written to it, all of it unless it was reset, and nothing else.
func TestStreamsAreLikePipes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 1 << 20}
		a, b := pair(t, limits)
		defer b.Close()
		defer a.Close()
		var wg sync.WaitGroup
		failures := make(chan string, 100)
		for i := range rapid.IntRange(1, 12).Draw(rt, "streams") {
			from, to := a, b
			if rapid.Bool().Draw(rt, "acceptor opens") {
				from, to = b, a
			}
			near, far := streams(t, from, to)
			x, y := drawPlan(rt, "near"), drawPlan(rt, "far")
			wg.Go(func() { failures <- drive(near, x, y, uint64(2*i), uint64(2*i+1)) })
			wg.Go(func() { failures <- drive(far, y, x, uint64(2*i+1), uint64(2*i)) })
		}
		wg.Wait()
		close(failures)
		for f := range failures {
			if f != "" {
				rt.Fatal(f)
			}
		}
	})
}

// TestStreamsTakeTurns: an interactive stream is not kept waiting by bulk ones
// for more than what is on its way already.
func TestStreamsTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{StreamWindow: 16 << 20, TunnelWindow: 64 << 20})
		for range 4 {
			near, far := streams(t, a, b)
			go near.Write(make([]byte, 8<<20))
			go io.Copy(io.Discard, far)
		}
		near, far := streams(t, a, b)
		go io.Copy(far, far)
		for range 20 {
			write(t, near, "token")
			wantRead(t, near, "token")
		}
		a.mu.Lock()
		pending := len(a.out.pending)
		a.mu.Unlock()
		if pending > outLimit {
			t.Errorf("%d bytes are queued before the next frame, want at most %d", pending, outLimit)
		}
	})
}
