package crossing

import (
	"net/netip"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// maxRefusals is how many counts are kept at once; what comes beyond is
	// counted under the prefix "other", so that no scan fills the memory.
	maxRefusals = 4096
	// maxDetail bounds the words kept of the first failure, in bytes.
	maxDetail = 512
	other     = "other"
)

type refusalKey struct {
	reason   crossingv1.Reason
	prefix   string
	second   int64 // Unix time; 0 for other
	listener string
}

// Refusals counts failures before identity by reason, source prefix, listener
// and second. All methods may be called concurrently.
type Refusals struct {
	mu     sync.Mutex // guards counts
	counts map[refusalKey]*crossingv1.Refusal
}

// NewRefusals counts nothing yet.
func NewRefusals() *Refusals { return &Refusals{counts: map[refusalKey]*crossingv1.Refusal{}} }

// Add counts one failure. detail is for people; that of the first is kept, in
// visible ASCII and cut: what a stranger sent may stand in it.
func (r *Refusals) Add(reason crossingv1.Reason, addr netip.AddrPort, listener, detail string, now time.Time) {
	detail = escaped(detail[:min(len(detail), maxDetail)])
	r.Merge(&crossingv1.Refusal{
		Reason: reason, Prefix: prefix(addr.Addr()), Listener: listener, Count: 1,
		Second: timestamppb.New(time.Unix(now.Unix(), 0)), Detail: detail[:min(len(detail), maxDetail)],
	})
}

// Merge adds a count to its row, or to the row of all others when the table is
// full. It is how what Take gave comes back.
func (r *Refusals) Merge(c *crossingv1.Refusal) {
	key := refusalKey{c.GetReason(), c.GetPrefix(), c.GetSecond().GetSeconds(), c.GetListener()}
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.counts[key]
	if row == nil && (len(r.counts) >= maxRefusals || c.GetPrefix() == other) {
		key.prefix, key.second = other, 0
		row = r.counts[key]
	}
	if row != nil {
		row.Count += c.GetCount()
		return
	}
	c.Prefix = key.prefix
	r.counts[key] = c
}

// prefix is the /24 or /64 that an address is in.
func prefix(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	addr = addr.Unmap()
	bits := 64
	if addr.Is4() {
		bits = 24
	}
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return other
	}
	return p.String()
}

// Take takes the counts of the seconds before a time: those that are complete,
// so that each is told of once.
func (r *Refusals) Take(before time.Time) []*crossingv1.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	var counts []*crossingv1.Refusal
	for key, c := range r.counts {
		if c.GetSecond().GetSeconds() < before.Unix() {
			counts = append(counts, c)
			delete(r.counts, key)
		}
	}
	return counts
}
