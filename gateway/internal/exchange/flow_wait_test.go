package exchange

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestWaitEnds: who waits for a budget goes as soon as the caller leaves or a gateway
// stops, and no limit of silence counts meanwhile.
func TestWaitEnds(t *testing.T) {
	type ends struct {
		leave, stop context.CancelFunc
		reset       func(tunnel.ResetCode) // of the egress gateway
	}
	for _, c := range []struct {
		name  string
		end   func(ends)
		waits string // the gateway where there is less left
		far   crossingv1.Cause
	}{
		{"the caller leaves the egress gateway", func(e ends) { e.leave() }, "near", crossingv1.Cause_CALLER_GONE},
		{"the ingress gateway hears that the caller left", func(e ends) { e.reset(tunnel.CallerGone) }, "far", crossingv1.Cause_CALLER_GONE},
		{"the ingress gateway stops", func(e ends) { e.stop() }, "far", crossingv1.Cause_GATEWAY_STOPPED},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := meter(t, "4MiB/minute")
				m.unevenly(t, c.waits, mib)
				w := m.world(t, 8*mib)
				w.egress.cfg.Limits.Silence, w.ingress.cfg.Limits.Silence = 2100*time.Millisecond, 2100*time.Millisecond
				calling, leave := context.WithCancel(t.Context())
				running, stop := context.WithCancel(t.Context())
				defer leave()
				defer stop()
				e := ends{leave: leave, stop: stop}
				w.tunnel.serve = func(s tunnel.Stream) {
					there := *s.(*halfStream)
					e.reset = there.Reset
					w.ingress.ServeStream(running, &fakeTunnel{peer: near}, s, func() { close(w.served) })
				}
				const at = 3*time.Second + 700*time.Millisecond
				time.AfterFunc(at, func() { c.end(e) })
				began := time.Now()
				w.egress.ServeExchange(calling, request("GET", "/v1/x", ""), &reply{journal: w.journal})
				<-w.served
				near, far := w.near.account(t).Close, w.far.account(t).Close
				if took := time.Since(began); took != at || far.GetCause() != c.far {
					t.Errorf("it took %v: near %v, far %v", took, near, far)
				}
				if waited := map[string]*crossingv1.Close{"near": near, "far": far}[c.waits].GetThrottled().AsDuration(); waited != at {
					t.Errorf("%s has waited for %v", c.waits, waited)
				}
			})
		})
	}
}
