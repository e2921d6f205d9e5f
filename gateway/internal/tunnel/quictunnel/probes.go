package quictunnel

import (
	"math"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

const (
	// mostUnanswered is how many PINGs are remembered: more than fit into the
	// idle timeout.
	mostUnanswered = 256
	// lossHalfLife is how soon what was lost counts half.
	lossHalfLife = 30 * time.Second
	// lossLeast is how many packets tell anything, and by itself one that is lost
	// never does: it may have been a probe for the path's MTU.
	lossLeast = 200
)

// probes is what PINGs and the library's counters have told.
type probes struct {
	unanswered []mux.Probe // by number
	last       uint64      // number of the last PING
	packets    uint64      // received, as of the last look
	heard      time.Time   // when they had become more
	offset     time.Duration
	measured   bool // offset was
	loss       loss
}

// next is the PING to send now.
func (p *probes) next(now time.Time) mux.Probe {
	p.last++
	probe := mux.Probe{Opaque: p.last, Clock: now}
	if len(p.unanswered) < mostUnanswered {
		p.unanswered = append(p.unanswered, probe)
	}
	return probe
}

// answered takes a PONG. One that nobody asked for is ignored. One that waited
// for a lost packet says nothing of the clocks.
func (p *probes) answered(a mux.Probe, now time.Time, roundTrip time.Duration) {
	var sent mux.Probe
	for len(p.unanswered) > 0 && p.unanswered[0].Opaque <= a.Opaque && a.Opaque <= p.last {
		sent = p.unanswered[0]
		p.unanswered = p.unanswered[1:]
	}
	took := now.Sub(sent.Clock)
	if sent.Opaque != a.Opaque || p.measured && took > roundTrip+roundTrip/2 {
		return
	}
	p.offset, p.measured = a.Clock.Sub(sent.Clock.Add(took/2)), true
}

// silent is how long the peer has owed an answer, with nothing else heard.
// packets is how many the connection has received.
func (p *probes) silent(now time.Time, packets uint64) time.Duration {
	if packets != p.packets {
		p.packets, p.heard = packets, now
	}
	if len(p.unanswered) == 0 {
		return 0
	}
	since := p.unanswered[0].Clock
	if p.heard.After(since) {
		since = p.heard
	}
	return now.Sub(since)
}

// loss is the share of packets lost lately. Packets that hold acknowledgments
// only count as sent and are never known to be lost, so for an end that mostly
// receives the share is too low.
type loss struct {
	at                   time.Time
	sentBefore           uint64
	lostBefore           uint64
	sentLately, lostHere float64
}

func (l *loss) look(now time.Time, s quic.ConnectionStats) {
	fade := math.Exp2(-now.Sub(l.at).Seconds() / lossHalfLife.Seconds())
	// The counter goes back when a packet that counted as lost arrives late.
	l.sentLately = l.sentLately*fade + float64(s.PacketsSent-l.sentBefore)
	l.lostHere = max(0, l.lostHere*fade+float64(int64(s.PacketsLost-l.lostBefore)))
	l.at, l.sentBefore, l.lostBefore = now, s.PacketsSent, s.PacketsLost
}

func (l *loss) share() float64 {
	if l.sentLately < lossLeast {
		return 0
	}
	return min(1, max(0, l.lostHere-1)/l.sentLately)
}
