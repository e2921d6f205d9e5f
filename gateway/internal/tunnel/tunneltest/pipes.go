package tunneltest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

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
	finish bool // the last write is the end too
}

func drawPlan(t *rapid.T, name string) plan {
	return plan{
		writes: rapid.SliceOfN(rapid.IntRange(0, 150<<10), 0, 4).Draw(t, name+" writes"),
		buffer: rapid.SampledFrom([]int{1 << 10, 4 << 10, 33 << 10, 100 << 10}).Draw(t, name+" buffer"),
		reset:  rapid.IntRange(0, 7).Draw(t, name+" resets") == 0,
		finish: rapid.Bool().Draw(t, name+" finishes"),
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
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) //nolint:errcheck // it never fails
	return b
}

// drive does what the plan says on one end and checks what arrives there.
func drive(s tunnel.Stream, own, other plan, ownSeed, otherSeed uint64) (failure string) {
	var wg sync.WaitGroup
	wg.Go(func() { own.write(s, content(ownSeed, own.total())) })
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

func (p plan) write(s tunnel.Stream, data []byte) {
	for i, n := range p.writes {
		if i == len(p.writes)-1 && p.finish && !p.reset {
			tunnel.Finish(s, data) //nolint:errcheck // the reader judges
			return
		}
		if m, err := s.Write(data[:n]); err != nil || m != n {
			return // the other end reset it; the reader judges
		}
		data = data[n:]
	}
	if p.reset {
		s.Reset(tunnel.CallerGone)
	} else {
		s.CloseWrite() //nolint:errcheck // the reader judges
	}
}

// streamsAreLikePipes: many streams at once, each with writes, ends and resets
// at both ends in any order, opened by either end. Each delivers what was
// written to it, all of it unless it was reset, and nothing else.
func streamsAreLikePipes(t *testing.T, pair Maker) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(rt, "streams")
		turned := make([]bool, n)
		plans := make([][2]plan, n)
		for i := range n {
			turned[i] = rapid.Bool().Draw(rt, "acceptor opens")
			plans[i] = [2]plan{drawPlan(rt, "near"), drawPlan(rt, "far")}
		}
		failures := make(chan string, 2*n+1)
		synctest.Test(t, func(t *testing.T) {
			a, b := pair(t, carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 1 << 20})
			var wg sync.WaitGroup
			for i, p := range plans {
				from, to := a, b
				if turned[i] {
					from, to = b, a
				}
				near, far := Streams(t, from, to)
				x, y := uint64(2*i), uint64(2*i+1)
				wg.Go(func() { failures <- drive(near, p[0], p[1], x, y) })
				wg.Go(func() { failures <- drive(far, p[1], p[0], y, x) })
			}
			wg.Wait()
			settle()
			if n, m := a.Info().Streams, b.Info().Streams; n != 0 || m != 0 {
				failures <- "streams are left open"
			}
		})
		close(failures)
		for f := range failures {
			if f != "" {
				rt.Fatal(f)
			}
		}
	})
}
