package crossing

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestRefusals(t *testing.T) {
	r := NewRefusals()
	now := time.Date(2026, 11, 23, 12, 0, 0, 500, time.UTC)
	add := func(addr string, at time.Time) {
		r.Add(crossingv1.Reason_NO_IDENTITY, netip.MustParseAddrPort(addr), "attach", "no certificate", at)
	}
	add("192.0.2.1:1", now)
	add("192.0.2.200:2", now)
	add("[2001:db8::1]:3", now)
	add("192.0.2.1:4", now.Add(time.Second))
	if got := r.Take(now); len(got) != 0 {
		t.Errorf("a second that is not over was told of: %v", got)
	}
	counts := map[string]uint64{}
	for _, c := range r.Take(now.Add(time.Second)) {
		counts[c.GetPrefix()] = c.GetCount()
	}
	if len(counts) != 2 || counts["192.0.2.0/24"] != 2 || counts["2001:db8::/64"] != 1 {
		t.Errorf("counts: %v", counts)
	}
	for i := range 3 * maxRefusals {
		add(fmt.Sprintf("10.%d.%d.1:1", i/256%256, i%256), now.Add(time.Duration(i/65536)*time.Second))
	}
	total := uint64(0)
	rows := r.Take(now.Add(time.Hour))
	for _, c := range rows {
		total += c.GetCount()
	}
	if len(rows) > maxRefusals+1 || total != 3*maxRefusals+1 {
		t.Errorf("%d rows count %d, want at most %d and %d", len(rows), total, maxRefusals+1, 3*maxRefusals+1)
	}
}
