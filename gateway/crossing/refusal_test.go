package crossing

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

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

// TestRefusalsAreReadable: whatever strangers sent, what is kept of it is short and
// can be shown, and a gateway that was stolen cannot deliver anything else.
func TestRefusalsAreReadable(t *testing.T) {
	writer := spiffeid.RequireFromString("spiffe://aws.example/sallyport/gateway/gw-1")
	frame := func(change func(*crossingv1.Refusal)) error {
		r := NewRefusals()
		now := time.Now()
		r.Add(crossingv1.Reason_BAD_IDENTITY, netip.MustParseAddrPort("192.0.2.1:1"), "attach", "\x1b[2J\r\n\u202e\xff"+strings.Repeat("\u00e9", 4096), now)
		c := r.Take(now.Add(2 * time.Second))[0]
		if d := c.GetDetail(); len(d) > maxDetail || !visible(d) || !strings.HasPrefix(d, `\x1b[2J\r\n\u202e\xff`) {
			t.Errorf("detail of %d bytes: %q", len(d), d)
		}
		change(c)
		return CheckFrame(&crossingv1.Frame{Gateway: writer.String(), Run: NewRun(), Refusal: c}, writer)
	}
	if err := frame(func(*crossingv1.Refusal) {}); err != nil {
		t.Errorf("what Take gave is refused: %v", err)
	}
	for name, change := range map[string]func(*crossingv1.Refusal){
		"a long detail":    func(r *crossingv1.Refusal) { r.Detail = strings.Repeat("x", maxDetail+1) },
		"a colour":         func(r *crossingv1.Refusal) { r.Detail = "\x1b[31m" },
		"another alphabet": func(r *crossingv1.Refusal) { r.Prefix = "\u0661" },
		"a line break":     func(r *crossingv1.Refusal) { r.Listener = "attach\nattach" },
	} {
		if err := frame(change); err == nil {
			t.Errorf("a refusal with %s is accepted", name)
		}
	}
}
