package tunnel

import (
	"testing"
	"testing/synctest"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestExpel closes a gateway's tunnels at once, and nobody else's.
func TestExpel(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("aws", "a:1"), peerAt("azure", "b:1")})
		for _, env := range []string{"aws", "azure"} {
			if _, err := p.Pick(t.Context(), env, Interactive); err != nil {
				t.Fatal(err)
			}
		}
		p.SetPeers([]Peer{peerAt("aws", "a:1")})
		p.Expel()
		p.Expel(gatewayID("azure"))
		synctest.Wait()
		for _, i := range p.Tunnels() {
			if i.Peer == gatewayID("azure") {
				t.Error("a tunnel to a gateway that was expelled is still there")
			}
		}
		select {
		case <-p.dialer.last("b:1").done:
		default:
			t.Error("its tunnel was not closed")
		}
		select {
		case <-p.dialer.last("a:1").done:
			t.Error("another gateway's tunnel was closed")
		default:
		}
	})
}

func TestDeniedCodesCarryTheReason(t *testing.T) {
	for n, name := range crossingv1.Reason_name {
		reason := crossingv1.Reason(n)
		code := Denied(reason)
		if got := code.Reason(); got != reason {
			t.Errorf("Denied(%s).Reason() = %s", name, got)
		}
		if reason != 0 && code.String() != "denied by now: "+name {
			t.Errorf("Denied(%s) is %q", name, code)
		}
	}
	for _, code := range []ResetCode{0, TunnelClosed, Repeated, denied, denied + 10_000, ^ResetCode(0)} {
		if got := code.Reason(); got != 0 {
			t.Errorf("code %d has reason %s", code, got)
		}
	}
}
