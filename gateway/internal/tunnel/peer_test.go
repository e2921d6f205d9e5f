package tunnel

import (
	"context"
	"errors"
	"testing"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestPickPeer(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		other := peerAt("azure", "azure:2")
		other.ID = gatewayID("other")
		p.SetPeers([]Peer{peerAt("azure", "azure:1"), other})
		picked, err := p.PickPeer(t.Context(), gatewayID("azure"), Interactive)
		if err != nil {
			t.Fatal(err)
		}
		if peer := picked.Info().Peer; peer != gatewayID("azure") {
			t.Fatalf("picked a tunnel to %s", peer)
		}
		open := func() *fakeStream {
			t.Helper()
			s, err := picked.Open(t.Context(), &crossingv1.Header{Kind: crossingv1.Header_STATEMENTS})
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			return s.(*fakeStream) // and not one that may move
		}
		old := p.dialer.last("azure:1")
		if s := open(); s.tunnel != old {
			t.Error("stream is in another tunnel than was picked")
		} else {
			s.CloseWrite()
		}
		old.setDraining()
		if s := open(); s.tunnel == old {
			t.Error("stream is in the tunnel that drains")
		} else {
			s.CloseWrite()
		}
		p.dialer.set(func() { p.dialer.down["azure:1"] = true })
		p.dialer.last("azure:1").setDraining()
		if _, err := picked.Open(t.Context(), new(crossingv1.Header)); !errors.Is(err, ErrDraining) || !errors.Is(err, errDown) {
			t.Errorf("Open without another tunnel: %v, want ErrDraining and why", err)
		}
	})
}

func TestPickPeerOfNoPeer(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.PickPeer(ctx, gatewayID("gcp"), Interactive); err == nil {
			t.Error("a tunnel was picked to a gateway that is no peer")
		}
	})
}
