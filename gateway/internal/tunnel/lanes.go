package tunnel

import "time"

const (
	// lanes is how many connections share a peer's bulk traffic once several
	// streams of it run at a time: on a path that loses packets one connection
	// falls behind its share of the rate again and again, and one of four does so
	// for a quarter of the traffic.
	lanes = 4
	// lanePatience is how long a bulk stream waits for a lane of its own. It is
	// longer than a handshake takes, and next to nothing for a large object.
	lanePatience = time.Second
	// opening is the time from a pick to its stream: until it has passed, a pick
	// counts as a stream.
	opening = 100 * time.Millisecond
)

// picks counts what was picked a moment ago, and is open or will be soon.
type picks struct {
	count int
	last  time.Time
}

// recent is how many there were.
func (p *picks) recent(now time.Time) int {
	if now.Sub(p.last) > opening {
		p.count = 0
	}
	return p.count
}

func (p *picks) add(now time.Time) {
	p.count, p.last = p.recent(now)+1, now
}

// widen dials the lanes that the peer has not got yet, if the best of those it
// has is in use, and says whether one is on its way. The caller holds mu.
func (p *Pool) widen(best *member, r rank) bool {
	pr := p.peers[best.id]
	if r.carrier != TCP || r.class != Bulk || r.streams == 0 || pr.Address == "" {
		return false
	}
	var free []way
	coming := 0
	for lane := range lanes {
		w := way{carrier: TCP, class: Bulk, lane: lane}
		if d := pr.dialling(w); d.flight != nil {
			coming++
		} else if !time.Now().Before(d.retry) {
			free = append(free, w)
		}
	}
	if p.count(pr.ID) < maxTunnels-lanes {
		missing := lanes - p.links(pr, way{carrier: TCP, class: Bulk}) - coming
		for _, w := range free[:max(0, min(missing, len(free)))] {
			p.dial(pr, w, 0)
			coming++
		}
	}
	return coming > 0
}
