package hostile

import (
	"crypto/tls"
	wire "encoding/binary"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Kinds of frames in a stream (gateway/internal/l7/FRAMING.md).
const (
	kindRequestHead  = 1
	kindResponseHead = 2
	kindRefusal      = 5
)

// goodHeader is what onprem's gateway says of a crossing that the policy allows.
func goodHeader(m *meshtest.Mesh) *crossingv1.Header {
	now := time.Now()
	in := m.Gateways["azure-1"].Policy()
	return &crossingv1.Header{
		Id: crossing.NewID(now), Run: crossing.NewRun(), Sequence: 1,
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Source:      localmesh.ID("orchestrator").String(), SourceSvid: "sha256:" + strings.Repeat("ab", 32), Attach: crossingv1.Attach_MTLS,
		Destination: localmesh.ID("llm").String(), Workload: "llm", Service: "chat",
		Policy: &crossingv1.PolicyRef{Serial: in.Serial, Revision: in.Revision}, Intent: "list-the-models",
		Kind: crossingv1.Header_HTTP, Opened: timestamppb.New(now),
	}
}

// headless is a good header of a crossing whose content is only thrown away: its
// head is none.
func headless(run string, sequence uint64) []byte {
	b, err := proto.Marshal(&crossingv1.Header{
		Id: crossing.NewID(time.Now()), Run: run, Sequence: sequence, Kind: crossingv1.Header_HTTP,
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Source:      localmesh.ID("orchestrator").String(), Destination: localmesh.ID("llm").String(),
	})
	if err != nil {
		panic(err)
	}
	return b
}

// headFrame is a request's head without content, as gateways frame it.
func headFrame(method, authority, path string) []byte {
	payload := []byte{1} // END
	for _, s := range [...]string{method, "", authority, path} {
		payload = append(wire.AppendUvarint(payload, uint64(len(s))), s...)
	}
	payload = append(payload, 0) // fields
	return append([]byte{kindRequestHead, 0, byte(len(payload) >> 8), byte(len(payload))}, payload...)
}

// answerOf is the first frame that comes back in stream 1; kind 0 is a reset.
func answerOf(t *testing.T, conn *tls.Conn) (kind byte, payload []byte) {
	t.Helper()
	var data []byte
	for {
		h, p, err := meshtest.NextFrame(conn)
		switch {
		case err != nil:
			t.Fatalf("no answer: %v", err)
		case h.Stream == 1 && h.Type == mux.Reset:
			return 0, nil
		case h.Stream == 1 && h.Type == mux.Data:
			data = append(data, p...)
		}
		if len(data) >= 4 && len(data) >= 4+int(data[1])<<16+int(data[2])<<8+int(data[3]) {
			return data[0], data[4:]
		}
	}
}

// TestForgedCrossings opens streams as a gateway that was stolen might. What
// it may not say is denied and recorded, or counted where there is nothing that
// a record could be of.
func TestForgedCrossings(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	models := headFrame(http.MethodGet, "llm.azure.mesh:8000", "/v1/models")
	for n, c := range []struct {
		name   string
		say    func(h *crossingv1.Header)
		head   []byte
		reason crossingv1.Reason // none: it crosses, which shows that nothing else was wrong
		owner  string
	}{
		{"nothing forged", func(*crossingv1.Header) {}, models, crossingv1.Reason_REASON_UNSPECIFIED, "ml-platform"},
		{"identity of another trust domain", func(h *crossingv1.Header) { h.Source = localmesh.ID("retriever").String() }, models, crossingv1.Reason_FOREIGN_IDENTITY, "ml-platform"},
		{"identity of the destination's trust domain", func(h *crossingv1.Header) { h.Source = localmesh.ID("llm").String() }, models, crossingv1.Reason_FOREIGN_IDENTITY, "ml-platform"},
		{"identity that no intent is for", func(h *crossingv1.Header) { h.Source = "spiffe://onprem.demo/ai/other" }, models, crossingv1.Reason_DENIED_BY_INTENT, "ml-platform"},
		{"policy that was never published", func(h *crossingv1.Header) { h.Policy.Serial = 99 }, models, crossingv1.Reason_POLICY_MISMATCH, "ml-platform"},
		{"revision that is not the serial's", func(h *crossingv1.Header) { h.Policy.Revision = "sha256:" + strings.Repeat("00", 32) }, models, crossingv1.Reason_POLICY_MISMATCH, "ml-platform"},
		{"service other than the head's", func(h *crossingv1.Header) { h.Service = "health" }, models, crossingv1.Reason_MALFORMED, "ml-platform"},
		{"destination other than the head's", func(h *crossingv1.Header) { h.Destination = "spiffe://azure.demo/ai/other" }, models, crossingv1.Reason_MALFORMED, "ml-platform"},
		{"destination in a third environment", func(h *crossingv1.Header) {
			h.Destination, h.Workload, h.Service = localmesh.ID("registry").String(), "registry", "models"
		}, headFrame(http.MethodGet, "registry.aws.mesh:5000", "/v2/"), crossingv1.Reason_UNKNOWN_DESTINATION, "ml-platform"},
		{"path that no intent is for", func(*crossingv1.Header) {}, headFrame(http.MethodGet, "llm.azure.mesh:8000", "/v1/files"), crossingv1.Reason_NO_INTENT, "ml-platform"},
		{"head that is none", func(*crossingv1.Header) {}, []byte{kindRequestHead, 0, 0, 2, 0xff, 0xff}, crossingv1.Reason_MALFORMED, "ml-platform"},
		{"path with dots", func(*crossingv1.Header) {}, headFrame(http.MethodGet, "llm.azure.mesh:8000", "/v1/../models"), crossingv1.Reason_MALFORMED, "ml-platform"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := goodHeader(m)
			c.say(h)
			conn := meshtest.Admitted(t, m, meshtest.Intruder(n+1))
			openStream(t, conn, h, c.head)
			switch kind, payload := answerOf(t, conn); {
			case c.reason == crossingv1.Reason_REASON_UNSPECIFIED:
				if kind != kindResponseHead || wire.BigEndian.Uint16(payload[1:]) != http.StatusOK {
					t.Errorf("answered with kind %d, %x", kind, payload)
				}
			case kind != kindRefusal || payload[0] != byte(c.reason):
				t.Errorf("answered with kind %d, %x, want a refusal for %s", kind, payload, c.reason)
			}
			r := m.Follow(t, &controlv1.ListCrossingsRequest{Id: h.GetId()}, func(r *crossingv1.Record) bool {
				return r.GetState() == crossingv1.Record_ONE_SIDED // the true gateway of that name knows nothing of it
			})
			if r.GetEgress() != nil || r.GetIngress().GetReason() != c.reason || r.GetTransition().GetOwner() != c.owner || r.GetSource() != h.GetSource() {
				t.Errorf("record: %v", r)
			}
			meshtest.WantCrossing(t, m)
		})
	}
}

func openStream(t *testing.T, conn *tls.Conn, h *crossingv1.Header, data []byte) {
	t.Helper()
	b, err := proto.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(mux.AppendData(mux.AppendOpen(nil, 1, b), 1, data, true)); err != nil {
		t.Fatal(err)
	}
}

// TestForgedHeaders opens streams with headers that no record could be of: each
// is reset, and the tunnel goes on.
func TestForgedHeaders(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	cases := []struct {
		name string
		say  func(h *crossingv1.Header)
	}{
		{"id that is none", func(h *crossingv1.Header) { h.Id = "01a207e6" }},
		{"id that is not a UUIDv7", func(h *crossingv1.Header) { h.Id = "9b2f1c3e-0000-4000-8000-000000000000" }},
		{"run that is none", func(h *crossingv1.Header) { h.Run = strings.Repeat("0", 32) }},
		{"no sequence", func(h *crossingv1.Header) { h.Sequence = 0 }},
		{"no trace", func(h *crossingv1.Header) { h.Traceparent = "" }},
		{"source that is no SPIFFE ID", func(h *crossingv1.Header) { h.Source = "orchestrator" }},
		{"unknown kind", func(h *crossingv1.Header) { h.Kind = 7 }},
		{"endless digest", func(h *crossingv1.Header) { h.SourceSvid = hex.EncodeToString(make([]byte, 4096)) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := goodHeader(m)
			c.say(h)
			conn := meshtest.Admitted(t, m, 1)
			openStream(t, conn, h, headFrame(http.MethodGet, "llm.azure.mesh:8000", "/v1/models"))
			if kind, payload := answerOf(t, conn); kind != 0 {
				t.Errorf("answered with kind %d, %x, want a reset", kind, payload)
			}
			// The tunnel itself goes on.
			if _, err := conn.Write(mux.AppendPing(nil, mux.Probe{Opaque: 7, Clock: time.Now()})); err != nil {
				t.Fatal(err)
			}
			for {
				frame, _, err := meshtest.NextFrame(conn)
				if err != nil {
					t.Fatalf("no PONG: %v", err)
				}
				if frame.Type == mux.Pong {
					break
				}
			}
		})
	}
	awaitHeaders(t, m, uint64(len(cases)))
	if got := m.Crossings(t, &controlv1.ListCrossingsRequest{}); len(got) != 0 {
		t.Errorf("records of what cannot be recorded: %v", got)
	}
	meshtest.WantCrossing(t, m)
}

// TestNumbersComeOnce: a stolen gateway can neither say a crossing again under
// its number, nor leave numbers out beyond what tunnels lose. To say it again is
// refused, and to do so once is what gateways do whose path fails, so that it
// counts as malformed from the third time on.
func TestNumbersComeOnce(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	first := goodHeader(m)
	first.Sequence = 7
	head := headFrame(http.MethodGet, "llm.azure.mesh:8000", "/v1/models")
	conn := meshtest.Admitted(t, m, 1)
	openStream(t, conn, first, head)
	if kind, _ := answerOf(t, conn); kind == 0 {
		t.Fatal("a number that is new was refused")
	}
	for _, c := range []struct {
		name     string
		sequence uint64
	}{
		{"again", 7},
		{"a third time", 7},
		{"a jump", 8 + crossing.MaxJump},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := goodHeader(m)
			h.Run, h.Sequence = first.Run, c.sequence
			conn := meshtest.Admitted(t, m, 1)
			openStream(t, conn, h, head)
			if kind, payload := answerOf(t, conn); kind != 0 {
				t.Errorf("answered with kind %d, %x, want a reset", kind, payload)
			}
		})
	}
	awaitHeaders(t, m, 2)
	meshtest.WantCrossing(t, m)
}

// malformedHeaders is how many headers of that peer azure's gateway has counted.
func malformedHeaders(t *testing.T, m *meshtest.Mesh) uint64 {
	t.Helper()
	var n uint64
	for _, r := range m.Refusals(t) {
		f := r.GetRefusal()
		if r.GetGateway() == localmesh.GatewayID("azure").String() && f.GetListener() == "tunnel" &&
			f.GetReason() == crossingv1.Reason_MALFORMED && strings.HasPrefix(f.GetDetail(), localmesh.GatewayID("onprem").String()) {
			n += f.GetCount()
		}
	}
	return n
}

func awaitHeaders(t *testing.T, m *meshtest.Mesh, n uint64) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond) // a gateway tells of each second when it is over
	defer ticker.Stop()
	for deadline := time.Now().Add(30 * time.Second); malformedHeaders(t, m) < n; <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d malformed headers counted, want %d", malformedHeaders(t, m), n)
		}
	}
}
