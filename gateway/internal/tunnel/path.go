package tunnel

import "time"

// The carriers, by the names in Info, records and metrics.
const (
	TCP  = "TCP"
	QUIC = "QUIC"
)

const (
	// lossSeen is the share of lost packets from which QUIC carries interactive
	// traffic: a packet that TCP lost holds up every stream behind it for a round
	// trip, one that QUIC lost only its own.
	lossSeen = 0.003
	// lossGone and lossHold are when TCP, which costs less, carries it again.
	lossGone = 0.001
	lossHold = 30 * time.Second
	// silentFor is how long a peer may owe an answer before others are preferred:
	// with pings each 250 ms, new streams leave a dead path within a second.
	silentFor = 400 * time.Millisecond
	// leastTrip is the shortest round trip that counts: below it, it is the number
	// of streams that tells tunnels apart.
	leastTrip = time.Millisecond
)

// Choice is why a crossing went by the carrier it did.
type Choice uint8

// The choices. 0 is none.
const (
	Usual    Choice = 1 // TCP, which costs least
	Lossy    Choice = 2 // QUIC, because the path loses packets
	Failover Choice = 3 // the other one, because the preferred one is down or does not answer
)

// String is the choice's name in metrics.
func (c Choice) String() string {
	switch c {
	case Usual:
		return "usual"
	case Lossy:
		return "lossy"
	case Failover:
		return "failover"
	}
	return "none"
}

// path is what the tunnels to a peer have told of the network in between.
type path struct {
	only  string // the carrier, if there is but one; else empty
	lossy bool
	quiet time.Time // since when it has lost next to nothing; zero if it does
}

// saw takes the loss that was measured lately, as a share of what was sent.
func (p *path) saw(loss float64, now time.Time) {
	switch {
	case loss >= lossSeen:
		p.lossy, p.quiet = true, time.Time{}
	case loss >= lossGone:
		p.quiet = time.Time{}
	case p.quiet.IsZero():
		p.quiet = now
	case now.Sub(p.quiet) >= lossHold:
		p.lossy = false
	}
}

// prefers is the carrier for a class of traffic.
func (p *path) prefers(c Class) string {
	switch {
	case p.only != "":
		return p.only
	case c == Interactive && p.lossy:
		return QUIC
	}
	return TCP
}

// rank places tunnels of one class: those whose peer answers first, then those
// of the preferred carrier, then by streams and round trip.
type rank struct {
	carrier string
	class   Class
	silent  bool
	other   bool // not the preferred carrier
	streams int
	load    time.Duration
	trip    time.Duration
}

// mute says that the peer has owed an answer for too long.
func (i *Info) mute() bool { return i.Silent > max(silentFor, 4*i.RoundTrip) }

// rank places a tunnel, into which streams will come soon that are not open yet.
func (p *path) rank(i *Info, soon int) rank {
	streams := max(i.Streams, soon)
	return rank{
		carrier: i.Carrier, class: i.Class,
		silent:  i.mute(),
		other:   i.Carrier != p.prefers(i.Class),
		streams: streams,
		load:    time.Duration(streams+1) * max(i.RoundTrip, leastTrip),
		trip:    i.RoundTrip,
	}
}

func (r rank) less(o rank) bool {
	switch {
	case r.silent != o.silent:
		return !r.silent
	case r.other != o.other:
		return !r.other
	case r.load != o.load:
		return r.load < o.load
	}
	return r.trip < o.trip
}

// choice is why m, which stands at a rank, carries traffic of a class. The caller
// holds mu.
func (p *Pool) choice(m *member, r rank, c Class) Choice {
	preferred := p.peers[m.id].path.prefers(c)
	switch {
	case r.carrier != preferred || r.class != c:
		return Failover
	case p.peers[m.id].path.only == "" && preferred == QUIC:
		return Lossy
	}
	return Usual
}
