package exchange

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// arrive lets a header arrive at the far gateway, and gives why its stream was
// reset. The near gateway may have let go of it by then.
func (w *world) arrive(t *testing.T, h *crossingv1.Header, letGo bool) *tunnel.ResetError {
	t.Helper()
	s, far := newStream(h)
	if letGo {
		s.Reset(tunnel.Repeated)
	}
	w.ingress.ServeStream(t.Context(), &fakeTunnel{peer: near}, far, func() {})
	_, err := s.Read(make([]byte, 1))
	reset, _ := errors.AsType[*tunnel.ResetError](err)
	return reset
}

// TestRepeated: a crossing that is said again is refused as that, and is no fault
// unless it is said once more; nothing of it is recorded.
func TestRepeated(t *testing.T) {
	w := newWorld(t, policytest.Estate(t, 1, nil))
	var h *crossingv1.Header
	w.tunnel.lied = func(said *crossingv1.Header) { h = said }
	w.ask(t, request("POST", "/v1/chat", "hello"))
	stale := proto.CloneOf(h)
	if reset := w.arrive(t, h, false); reset == nil || reset.Code != tunnel.Repeated || !reset.Remote {
		t.Errorf("said again: %v, want the code %s", reset, tunnel.Repeated)
	}
	if len(w.far.refused) != 0 {
		t.Errorf("refused %v, want nothing", w.far.refused)
	}
	if reset := w.arrive(t, h, false); reset == nil || reset.Code != tunnel.ProtocolError {
		t.Errorf("said a third time: %v, want the code %s", reset, tunnel.ProtocolError)
	}
	if want := []crossingv1.Reason{crossingv1.Reason_MALFORMED}; !slices.Equal(w.far.refused, want) {
		t.Errorf("refused %v, want %v", w.far.refused, want)
	}
	h.Sequence += crossing.WindowSize + 1
	w.arrive(t, h, true) // it is taken: who lets go of a crossing has said it all the same
	w.far.refused = nil
	w.arrive(t, stale, true)
	if len(w.far.refused) != 0 {
		t.Errorf("refused %v of a stream that was let go of, want nothing", w.far.refused)
	}
	if reset := w.arrive(t, stale, false); reset == nil || reset.Code != tunnel.ProtocolError || len(w.far.refused) != 1 {
		t.Errorf("stale: %v, refused %v", reset, w.far.refused)
	}
	if len(w.far.opened) != 2 {
		t.Errorf("%d crossings were recorded, want 2", len(w.far.opened))
	}
}
