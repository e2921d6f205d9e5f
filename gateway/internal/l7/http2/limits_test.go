package http2

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/http2/fieldblock"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// wantCalm checks that the connection ended for too much of something, no earlier.
func (p *peer) wantCalm(code Code) {
	p.t.Helper()
	got := p.take()
	if len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "GOAWAY") || !strings.HasSuffix(got[len(got)-1], code.String()) {
		p.t.Errorf("got %q, want GOAWAY with %s at the end", got, code)
	}
	told := p.told()
	if !slices.ContainsFunc(told, func(s string) bool { return strings.HasPrefix(s, crossingv1.Reason_TOO_LARGE.String()) }) {
		p.t.Errorf("told of %q, want TOO_LARGE", told)
	}
}

// Floods end the connection, and what an honest peer does of the same does not.
func TestFloods(t *testing.T) {
	little := Config{
		Chatter: Budget{Burst: 50, PerSecond: 10},
		Resets:  Budget{Burst: 20, PerSecond: 10},
	}
	next := uint32(1)
	stream := func(p *peer) uint32 {
		p.head(next, false, "+")
		next += 2
		return next - 2
	}
	for _, tt := range []struct {
		name  string
		limit int // times that it may be done
		do    func(p *peer)
	}{
		{"ping", 50, func(p *peer) { p.raw(kindPing, 0, 0, "12345678") }},
		{"answers to no ping", 50, func(p *peer) { p.raw(kindPing, flagAck, 0, "12345678") }},
		{"settings", 50, func(p *peer) { p.raw(kindSettings, 0, 0, "\x00\x04\x00\x00\x00\x01") }},
		{"priority", 50, func(p *peer) { p.raw(kindPriority, 0, 9, "\x00\x00\x00\x03\x00") }},
		{"unknown frames", 50, func(p *peer) { p.raw(0x42, 0, 0, "") }},
		{"window updates of 1", 50, func(p *peer) { p.raw(kindWindow, 0, 0, "\x00\x00\x00\x01") }},
		{"empty data", 50, func(p *peer) { p.raw(kindData, 0, 1, "") }},
		{"data that is padding", 50, func(p *peer) { p.raw(kindData, flagPadded, 1, "\x03xxx") }},
		{"resets of what has ended", 50, func(p *peer) { p.raw(kindReset, 0, 1, "\x00\x00\x00\x08") }},
		{"rapid reset", 20, func(p *peer) { p.raw(kindReset, 0, stream(p), "\x00\x00\x00\x08") }},
		{"made you reset", 20, func(p *peer) { p.raw(kindWindow, 0, stream(p), "\x00\x00\x00\x00") }},
		{"made you reset by content", 20, func(p *peer) {
			p.head(next, false, "+", "content-length=1")
			p.data(next, true, "xx")
			next += 2
		}},
		{"malformed heads", 20, func(p *peer) { p.head(next, true, "+", "te=gzip"); next += 2 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := little
			cfg.Refuse = refuseAll
			against(t, cfg, untilGone, func(p *peer) {
				next = 1
				if tt.limit == 50 {
					id := stream(p)
					if tt.name == "resets of what has ended" {
						p.raw(kindReset, 0, id, "\x00\x00\x00\x08")
					}
					p.take()
					p.conn.mu.Lock()
					p.conn.chatter.left = 50
					p.conn.mu.Unlock()
				}
				for range tt.limit {
					tt.do(p)
				}
				if p.take(); p.over() {
					t.Fatal("the connection has ended too early")
				}
				synctestSleep(time.Second)
				for range 10 {
					tt.do(p)
				}
				if p.take(); p.over() {
					t.Fatal("what is given back each second is not")
				}
				for range tt.limit {
					tt.do(p)
				}
				p.wantCalm(EnhanceYourCalm)
			})
		})
	}
}

// synctestSleep lets time pass in a bubble.
func synctestSleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// Work pays for chatter and for streams that are reset: peers that measure paths,
// grant credit bit by bit, or often give up, go on for ever if they work too.
func TestWorkPays(t *testing.T) {
	cfg := Config{Chatter: Budget{10, 0}, Resets: Budget{5, 0}}
	against(t, cfg, greet, func(p *peer) {
		for i := range uint32(200) {
			p.head(4*i+1, false, "+")
			p.data(4*i+1, true, "x")
			p.raw(kindPing, 0, 0, "12345678")
			p.raw(kindWindow, 0, 0, "\x00\x00\x00\x0c")
			p.take()
			p.head(4*i+3, false, "+")
			p.raw(kindReset, 0, 4*i+3, "\x00\x00\x00\x08")
			p.take()
		}
		if p.over() {
			t.Errorf("the connection has ended: %q", p.told())
		}
	})
}

func TestStreamLimit(t *testing.T) {
	against(t, Config{MaxStreams: 3, Resets: Budget{4, 0}}, untilGone, func(p *peer) {
		for i := range uint32(5) {
			p.head(2*i+1, false, "+")
		}
		p.want("RST_STREAM 7 REFUSED_STREAM", "RST_STREAM 9 REFUSED_STREAM")
		if n := p.conn.Streams(); n != 3 {
			t.Errorf("%d streams", n)
		}
		p.data(7, true, "on its way") // before the refusal was known
		p.raw(kindReset, 0, 1, "\x00\x00\x00\x08")
		p.head(11, false, "+")
		p.want()
		p.head(13, false, "+")
		p.want("RST_STREAM 13 REFUSED_STREAM")
		p.head(15, false, "+")
		p.wantCalm(EnhanceYourCalm)
	})
}

// Streams that were reset count until nobody works for them any more.
func TestServedStreamsCount(t *testing.T) {
	var let chan struct{}
	against(t, Config{MaxStreams: 2}, func(*Stream) { <-let }, func(p *peer) {
		let = make(chan struct{})
		for i := range uint32(5) {
			p.head(2*i+1, false, "+")
			p.raw(kindReset, 0, 2*i+1, "\x00\x00\x00\x08")
		}
		p.want("RST_STREAM 9 REFUSED_STREAM")
		close(let)
		p.take()
		p.head(11, false, "+")
		p.want("RST_STREAM 11 INTERNAL_ERROR")
	})
}

func TestHeadLimits(t *testing.T) {
	big := "x=" + strings.Repeat("y", 3000)
	for _, tt := range []struct {
		name string
		do   func(p *peer)
		code Code
	}{
		{"continuations", func(p *peer) {
			p.raw(kindHeaders, 0, 1, "")
			for range 17 {
				p.raw(kindContinuation, 0, 1, "")
			}
		}, EnhanceYourCalm},
		{"a field that does not end", func(p *peer) {
			p.raw(kindHeaders, 0, 1, "\x40\x01x\x7f\xff\xff\x07")
		}, EnhanceYourCalm},
		{"twice the limit", func(p *peer) {
			p.longHead(1, true, "+", "x="+strings.Repeat("y", l7.MaxHeadBytes), "z="+strings.Repeat("y", l7.MaxHeadBytes))
		}, EnhanceYourCalm},
		{"a bomb", func(p *peer) { // one byte each for a field of 3,000
			block := p.encode("+", big)
			p.raw(kindHeaders, flagEndHeaders|flagEndStream, 1, string(block)+strings.Repeat("\xbe", 10_000))
		}, EnhanceYourCalm},
	} {
		t.Run(tt.name, func(t *testing.T) {
			against(t, Config{Refuse: refuseAll}, greet, func(p *peer) {
				tt.do(p)
				p.wantCalm(tt.code)
			})
		})
	}
}

// A bomb of a size between the limits is refused, and holds no more than a head.
func TestSmallBomb(t *testing.T) {
	var fields int
	refuse := func(h *l7.RequestHead, r fieldblock.Refusal) (*l7.ResponseHead, []byte) {
		fields = len(h.Fields)
		return &l7.ResponseHead{Status: r.Status}, nil
	}
	against(t, Config{Refuse: refuse}, greet, func(p *peer) {
		block := p.encode("+", "x="+strings.Repeat("y", 3000))
		p.raw(kindHeaders, flagEndHeaders|flagEndStream, 1, string(block)+strings.Repeat("\xbe", 30))
		p.want("HEADERS 1 :status=431 END")
		if fields > l7.MaxHeadBytes/3000 {
			t.Errorf("%d fields were kept", fields)
		}
	})
}

// A peer that makes this end answer, and reads no answer, is cut off.
func TestAnswersNotRead(t *testing.T) {
	serverAlone(t, Config{Chatter: Budget{1 << 20, 0}}, func(p *peer) {
		for range 30_000 {
			if err := p.fr.WritePing(false, [8]byte{}); err != nil {
				break
			}
		}
		if !p.over() {
			t.Fatal("the connection goes on")
		}
		p.conn.mu.Lock()
		defer p.conn.mu.Unlock()
		if n := len(p.conn.out.pending); n > outHard+1<<10 {
			t.Errorf("%d bytes of answers were kept", n)
		}
	})
}

// serverAlone is against, with a peer that reads nothing.
func serverAlone(t *testing.T, cfg Config, f func(p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { silentPeer(t, cfg, untilGone, f) })
}

// Faults are told of at a bounded rate.
func TestFaultsAreBounded(t *testing.T) {
	against(t, Config{Faults: Budget{3, 1}}, untilGone, func(p *peer) {
		for i := range uint32(10) {
			p.head(2*i+1, false, "+")
			p.raw(kindWindow, 0, 2*i+1, "\x00\x00\x00\x00")
		}
		if n := len(p.told()); n != 3 {
			t.Errorf("told of %d faults, want 3", n)
		}
		synctestSleep(time.Second)
		p.raw(kindSettings, 0, 0, "x")
		if n := len(p.told()); n != 4 {
			t.Errorf("told of %d faults, want 4", n)
		}
	})
}

// A connection with idle streams and one without streams hold no buffers.
func TestIdleHoldsNothing(t *testing.T) {
	against(t, Config{}, echo, func(p *peer) {
		p.head(1, false, "+")
		p.data(1, false, strings.Repeat("x", 9000))
		p.take()
		p.conn.mu.Lock()
		s := p.conn.streams[1]
		p.conn.mu.Unlock()
		s.mu.Lock()
		if s.in.Len() > 0 {
			t.Error("a stream whose data was read holds a block")
		}
		s.mu.Unlock()
		p.data(1, true, "")
		p.take()
		synctestSleep(20 * time.Second)
		p.conn.mu.Lock()
		if p.conn.in.buf != nil || p.conn.out.pending != nil || p.conn.out.spare != nil {
			t.Error("an idle connection holds buffers")
		}
		p.conn.mu.Unlock()
		p.take()
		p.head(3, true, "+") // and wakes
		p.want("HEADERS 3 :status=200 x-path=/ END")
	})
}

// The memory of what this end has reset is bounded, and errs for the peer.
func TestResetMemory(t *testing.T) {
	m := resetMemory{size: 4}
	for id := uint32(1); id < 21; id += 2 {
		m.add(id)
	}
	if len(m.ids) != 4 || !m.has(1) || !m.has(19) || m.has(21) {
		t.Errorf("memory = %+v", m)
	}
	if got := fmt.Sprint(m.forgot); got != "11" {
		t.Errorf("forgot up to %s", got)
	}
}

// Streams that have ended are no way to make frames pay for themselves.
func TestLateFramesPay(t *testing.T) {
	for name, late := range map[string]func(p *peer){
		"data": func(p *peer) { p.data(1, false, "x") },
		"head": func(p *peer) { p.head(1, true, "x=y") },
	} {
		t.Run(name, func(t *testing.T) {
			against(t, Config{Chatter: Budget{30, 0}}, untilGone, func(p *peer) {
				p.head(1, false, "+")
				p.raw(kindWindow, 0, 1, "\x00\x00\x00\x00")
				p.take()
				for range 20 {
					late(p)
				}
				if p.take(); p.over() {
					t.Fatal("the connection has ended too early")
				}
				for range 20 {
					late(p)
				}
				p.wantCalm(EnhanceYourCalm)
			})
		})
	}
}
