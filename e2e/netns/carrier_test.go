package netns

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// The carriers, as tunnels and records name them.
const (
	overTCP  = "TCP"
	overQUIC = "QUIC"
)

const (
	tunnelPort = 8445
	// outage is how long a path is cut: 3 s and a little, when TCP by itself has
	// just resent in vain and would not do so again for another three.
	outage = 3300 * time.Millisecond
	// prompt is how soon new crossings must go on.
	prompt = time.Second
)

// chat is the call that crosses in these tests.
var chat = call{"orchestrator", "llm", http.MethodPost, "/v1/chat/completions"}

// TestCarrier takes the network away under the tunnels of a mesh, one fault at a
// time. Onprem dials out, so that it is always the one who dials its tunnels.
func TestCarrier(t *testing.T) {
	m := Deploy(t, Options{DialOut: []string{"onprem"}})
	onprem, azure := m.At("onprem"), m.At("azure")
	quic := hasQUIC(t, m)
	t.Logf("tunnels over QUIC: %t", quic)
	for _, f := range []fault{
		{"UDP blocked", func() *Cut { return m.Block("udp", tunnelPort) }, overTCP},
		{"TCP blocked", func() *Cut { return m.Block("tcp", tunnelPort) }, overQUIC},
		{"path cut", func() *Cut { return m.Cut(onprem, azure) }, ""},
	} {
		t.Run(f.name, func(t *testing.T) { f.run(t, m, quic) })
	}
	t.Run("UDP blocked as TCP is back", func(t *testing.T) {
		if !quic {
			t.Skip("needs tunnels over QUIC")
		}
		cut := m.Block("tcp", tunnelPort)
		m.goesOn(t, overQUIC, prompt)
		cut.Heal()
		cut = m.Block("udp", tunnelPort)
		m.goesOn(t, overTCP, 2*prompt) // TCP by itself takes a moment to go on
		cut.Heal()
	})
	first := onprem.Link("eth0")
	second := onprem.Connect(m.Router(), netip.MustParsePrefix("10.1.9.10/24"))
	t.Run("path changed, address kept", func(t *testing.T) {
		long := begin(t, m)
		first.MoveRoute(second)
		m.goesOn(t, "", prompt)
		long.survives(t)
	})
	t.Run("path changed, address changed", func(t *testing.T) {
		if !quic {
			t.Skip("needs tunnels over QUIC: TCP is bound to the address that it began with")
		}
		long := begin(t, m)
		second.MoveAddress(onprem.Connect(m.Router(), netip.MustParsePrefix("10.1.10.10/24")))
		m.goesOn(t, overQUIC, prompt)
		m.goesOn(t, "", prompt)
		long.ends(t)
	})
}

// hasQUIC says whether any gateway holds a tunnel over QUIC, some seconds after
// the first crossing: by then every gateway has reported what it came to hold.
func hasQUIC(t *testing.T, m *Mesh) bool {
	t.Helper()
	m.goesOn(t, "", prompt)
	crossed := time.Now()
	var gateways []*controlv1.GatewayStatus
	Await(t, 30*time.Second, "reports of all gateways", func() (err error) {
		gateways, err = m.Gateways(t)
		for _, g := range gateways {
			if !g.GetReported().AsTime().After(crossed) {
				return fmt.Errorf("%s has not reported", g.GetName())
			}
		}
		return err
	})
	for _, g := range gateways {
		for _, other := range gateways {
			if HasTunnel(g, other.GetId(), overQUIC) {
				return true
			}
		}
	}
	return false
}

// fault is one that heals.
type fault struct {
	name string
	cut  func() *Cut
	// carrier is what is left for new crossings meanwhile; empty if nothing is.
	carrier string
}

// run holds that a crossing in flight survives the fault, that new ones go on over
// what is left, those too that begin before anybody can know of the fault, and at
// once when it has healed.
func (f fault) run(t *testing.T, m *Mesh, quic bool) {
	long := begin(t, m)
	healed := time.After(outage)
	cut := f.cut()
	var waiting sync.WaitGroup
	if f.carrier == overTCP || f.carrier == overQUIC && quic {
		m.goesOn(t, f.carrier, prompt)
		m.goesOn(t, f.carrier, prompt)
	} else {
		waiting.Go(func() { m.goesOn(t, f.carrier, outage+prompt) })
	}
	<-healed
	cut.Heal()
	m.goesOn(t, "", prompt)
	waiting.Wait()
	long.survives(t)
}

// goesOn holds that a new crossing is over in time and recorded at both ends,
// with its carrier and why it was chosen. An empty carrier stands for any.
func (m *Mesh) goesOn(t *testing.T, carrier string, within time.Duration) {
	t.Helper()
	began := time.Now()
	a := chat.make(t, m)
	took := time.Since(began)
	if a.Status != http.StatusOK || took > within {
		t.Errorf("a new crossing was answered %d after %s, want 200 within %s: %s", a.Status, took, within, a.Body)
	}
	r := m.Record(t, a.Crossing)
	got := r.GetTunnel()
	t.Logf("a new crossing was answered after %s over %s", took, got.GetCarrier())
	if r.GetState() != crossingv1.Record_JOINED || got.GetCarrier() == "" || carrier != "" && got.GetCarrier() != carrier {
		t.Errorf("the record of the new crossing is %s over %q, want it over %q", r.GetState(), got.GetCarrier(), carrier)
	}
	if got.GetChoice() == crossingv1.Tunnel_CHOICE_UNSPECIFIED || got.GetClass() != crossingv1.Tunnel_INTERACTIVE {
		t.Errorf("the record of the new crossing does not say why it was carried so: %v", got)
	}
}

const (
	ticks = 160
	every = 50 * time.Millisecond
)

// flight is a crossing that goes on for longer than any fault.
type flight struct {
	m        *Mesh
	crossing string
	done     chan struct{} // closed when its answer has ended

	// Readable after done is closed.
	err   error
	pause time.Duration // the longest between two ticks
}

// begin begins a crossing and waits until its answer comes.
func begin(t *testing.T, m *Mesh) *flight {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	url := fmt.Sprintf("%s?ticks=%d&every=%s", chat.url(t), ticks, every)
	req, err := http.NewRequestWithContext(ctx, chat.method, url, strings.NewReader("?"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := m.As(t, chat.from).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	f := &flight{m: m, crossing: resp.Header.Get("sallyport-crossing"), done: make(chan struct{})}
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != "0" {
		t.Fatalf("answered %d, and not its first tick: %q, %v", resp.StatusCode, lines.Text(), lines.Err())
	}
	go func() {
		defer close(f.done)
		defer resp.Body.Close()
		f.pause, f.err = count(lines)
	}()
	t.Cleanup(func() {
		cancel()
		<-f.done
	})
	return f
}

// count reads all ticks but the first, to the answer's end.
func count(lines *bufio.Scanner) (pause time.Duration, err error) {
	last := time.Now()
	for n := 1; lines.Scan(); n++ {
		pause, last = max(pause, time.Since(last)), time.Now()
		if lines.Text() != strconv.Itoa(n) {
			return pause, fmt.Errorf("tick %d is %q", n, lines.Text())
		}
		if n == ticks-1 && !lines.Scan() && lines.Err() == nil {
			return pause, nil
		}
	}
	return pause, fmt.Errorf("it ended too early or too late: %w", lines.Err())
}

// survives holds that the crossing comes to its own end, whole, and is recorded
// so.
func (f *flight) survives(t *testing.T) {
	t.Helper()
	if r := f.ends(t); f.err != nil || !r.GetAgree() {
		t.Errorf("the crossing in flight, over %s: %v; both ends agree: %t %v",
			r.GetTunnel().GetCarrier(), f.err, r.GetAgree(), r.GetDifferences())
	}
}

// ends holds that the crossing ends, over QUIC by itself, and that its record says
// why.
func (f *flight) ends(t *testing.T) *crossingv1.Record {
	t.Helper()
	select {
	case <-f.done:
	case <-time.After(ticks*every + 20*time.Second):
		t.Fatalf("the crossing in flight does not end")
	}
	r := f.m.Record(t, f.crossing)
	t.Logf("in flight over %s: %v; egress %s, ingress %s; paused for %s at most",
		r.GetTunnel().GetCarrier(), f.err, r.GetEgress().GetClose(), r.GetIngress().GetClose(), f.pause)
	if r.GetTunnel().GetCarrier() == overQUIC && f.err != nil {
		t.Errorf("the crossing in flight over QUIC: %v", f.err)
	}
	return r
}
