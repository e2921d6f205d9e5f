package crossing

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	egressGateway  = "spiffe://onprem.acme.example/sallyport/gateway/onprem-1"
	ingressGateway = "spiffe://azure.acme.example/sallyport/gateway/azure-1"
	crossingID     = "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88"
	egressRun      = "b41f0c9a7d5e43218f6a2b3c4d5e6f70"
	ingressRun     = "5c0ffee0c0ffee0c0ffee0c0ffee0c0f"
)

// revision is a policy's, with one digit for all 64.
func revision(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

func key() *crossingv1.Key {
	return &crossingv1.Key{Egress: egressGateway, Ingress: ingressGateway, Run: egressRun, Sequence: 90214}
}

func openedAt() *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 11, 23, 10, 15, 2, 104331000, time.UTC))
}

// egressHalf is an allowed crossing as its egress gateway opened it.
func egressHalf() *crossingv1.Half {
	return &crossingv1.Half{
		Id:          crossingID,
		Key:         key(),
		Side:        crossingv1.Side_EGRESS,
		Transition:  &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "siem"},
		Source:      "spiffe://onprem.acme.example/ai/orchestrator",
		Destination: "spiffe://azure.acme.example/ai/llm",
		Trace:       "4bf92f3577b34da6a3ce929d0e0e4736",
		Span:        "00f067aa0ba902b7",
		Operation:   &crossingv1.Operation{Protocol: "openai", Name: "POST /v1/chat/completions", Service: "chat", Authority: "llm.azure.mesh:8000"},
		End: &crossingv1.End{
			Gateway:     egressGateway,
			Decision:    crossingv1.Decision_ALLOW,
			Policy:      &crossingv1.PolicyRef{Serial: 41, Revision: revision("9")},
			Intent:      "plan-with-the-llm",
			Peer:        &crossingv1.Peer{Attach: crossingv1.Attach_MTLS, Svid: revision("5"), Tls: "TLS 1.3 X25519MLKEM768", Address: "10.1.0.7:40312"},
			ContentSeen: true,
			Open:        openedAt(),
		},
		Tunnel: &crossingv1.Tunnel{Carrier: "TCP", Tls: "TLS 1.3 X25519MLKEM768", RoundTrip: durationpb.New(24 * time.Millisecond)},
	}
}

// ingressHalf is the same crossing as its ingress gateway opened it.
func ingressHalf() *crossingv1.Half {
	h := egressHalf()
	h.Side = crossingv1.Side_INGRESS
	h.End.Gateway = ingressGateway
	h.End.Peer = nil
	h.End.Open = timestamppb.New(openedAt().AsTime().Add(27 * time.Millisecond))
	h.Tunnel.RoundTrip = durationpb.New(23 * time.Millisecond)
	return h
}

// refusedHalf is a crossing that its egress gateway refused.
func refusedHalf() *crossingv1.Half {
	h := egressHalf()
	h.Key.Ingress, h.Key.Sequence = "", 7
	h.End.Decision, h.End.Reason, h.End.Intent = crossingv1.Decision_DENY, crossingv1.Reason_NO_INTENT, ""
	h.End.Close, h.End.Duration = crossingv1.Cause_REFUSED, durationpb.New(80*time.Microsecond)
	h.Tunnel = nil
	return h
}

// unreachableHalf is a crossing that the policy allowed, and for which its
// egress gateway found no tunnel.
func unreachableHalf() *crossingv1.Half {
	h := refusedHalf()
	h.End.Decision, h.End.Reason, h.End.Intent = crossingv1.Decision_ALLOW, crossingv1.Reason_UNREACHABLE, "plan-with-the-llm"
	h.End.Detail = "reach environment \"azure\": connection refused"
	return h
}

func closing(side crossingv1.Side) *crossingv1.Close {
	c := &crossingv1.Close{
		Id: crossingID, Key: key(), Side: side,
		Duration: durationpb.New(1904 * time.Millisecond), FirstByte: durationpb.New(213 * time.Millisecond),
		RequestBytes: 2210, ResponseBytes: 9433, Status: 200, Streamed: true, Cause: crossingv1.Cause_DONE,
	}
	if side == crossingv1.Side_INGRESS {
		c.Duration = durationpb.New(1871 * time.Millisecond)
		c.Peer = &crossingv1.Peer{Attach: crossingv1.Attach_MTLS, Svid: revision("c"), Tls: "TLS 1.3 X25519MLKEM768", Address: "10.3.0.9:8000"}
	}
	return c
}

func egressFrame(h *crossingv1.Half, c *crossingv1.Close) *crossingv1.Frame {
	return &crossingv1.Frame{Gateway: egressGateway, Run: egressRun, Open: h, Close: c}
}

func ingressFrame(h *crossingv1.Half, c *crossingv1.Close) *crossingv1.Frame {
	return &crossingv1.Frame{Gateway: ingressGateway, Run: ingressRun, Open: h, Close: c}
}

func refusal() *crossingv1.Frame {
	return &crossingv1.Frame{Gateway: ingressGateway, Run: ingressRun, Refusal: &crossingv1.Refusal{
		Reason: crossingv1.Reason_BAD_IDENTITY, Prefix: "203.0.113.0/24", Second: &timestamppb.Timestamp{Seconds: 1795428902},
		Count: 412, Detail: "TLS handshake: remote error: bad certificate", Listener: "tunnel",
	}}
}

func applied() *crossingv1.Frame {
	return &crossingv1.Frame{Gateway: ingressGateway, Run: ingressRun, Applied: &crossingv1.Applied{
		Act: "sha256:" + strings.Repeat("3f", 32), Kind: policyv1.Act_QUARANTINE, Subject: "spiffe://onprem.acme.example/ai/orchestrator",
		At: &timestamppb.Timestamp{Seconds: 1795428902, Nanos: 250_000_000},
	}}
}

var (
	egressID  = spiffeid.RequireFromString(egressGateway)
	ingressID = spiffeid.RequireFromString(ingressGateway)
)

// progress is a side's word on a crossing that goes on.
func progress(side crossingv1.Side) *crossingv1.Frame {
	f := egressFrame(nil, nil)
	if side == crossingv1.Side_INGRESS {
		f = ingressFrame(nil, nil)
	}
	f.Progress = &crossingv1.Progress{
		Id: crossingID, Key: key(), Side: side, At: &timestamppb.Timestamp{Seconds: openedAt().GetSeconds() + 60},
		RequestBytes: 512, ResponseBytes: 1 << 20,
	}
	return f
}

func outage() *crossingv1.Frame {
	return &crossingv1.Frame{Gateway: ingressGateway, Run: ingressRun, Outage: &crossingv1.Outage{
		Began: &timestamppb.Timestamp{Seconds: 1795428902}, Ended: &timestamppb.Timestamp{Seconds: 1795428931, Nanos: 500_000_000},
		Cause: crossingv1.Outage_FULL, Detail: "no space left on device", Refused: 12, Unrecorded: 340,
	}}
}

func TestIDs(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 15, 2, 0, time.UTC)
	var ids []string
	for i := range 50 {
		id := NewID(at.Add(time.Duration(i) * time.Millisecond))
		if err := CheckID(id); err != nil {
			t.Error(err)
		}
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) {
		t.Error("ids do not sort as crossings opened")
	}
	// The first 48 bits are the time (RFC 9562 section 5.7).
	if want := "019ab041-9970"; !strings.HasPrefix(NewID(time.UnixMilli(0x019ab0419970)), want) {
		t.Errorf("NewID does not begin with its time %s", want)
	}
	if first, second := NewID(at), NewID(at); first == second {
		t.Error("two ids of one time are the same")
	}
}

func TestCheckID(t *testing.T) {
	tests := []struct{ name, id string }{
		{"empty", ""},
		{"version 4", "01a207e6-e4d8-4d3e-9a54-1f0e6b7c2d88"},
		{"another variant", "01a207e6-e4d8-7d3e-1a54-1f0e6b7c2d88"},
		{"upper case", strings.ToUpper(crossingID)},
		{"without hyphens", strings.ReplaceAll(crossingID, "-", "")},
		{"in braces", "{" + crossingID + "}"},
		{"as a URN", "urn:uuid:" + crossingID},
		{"too long", crossingID + "0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if CheckID(tt.id) == nil {
				t.Errorf("CheckID(%q) accepted it", tt.id)
			}
		})
	}
	if err := CheckID(crossingID); err != nil {
		t.Error(err)
	}
}

func TestRuns(t *testing.T) {
	if a, b := NewRun(), NewRun(); a == b || CheckRun(a) != nil || CheckRun(b) != nil {
		t.Errorf("NewRun() = %s, then %s", a, b)
	}
	for _, bad := range []string{"", "b41f", strings.ToUpper(egressRun), strings.Repeat("0", 32), egressRun[:31] + "g", egressRun + "0"} {
		if CheckRun(bad) == nil {
			t.Errorf("CheckRun(%q) accepted it", bad)
		}
	}
}

// TestParseIDAsTheLibrary: what is a UUIDv7 for the library, in lower case and with
// dashes, is a crossing's id, and nothing else.
func TestParseIDAsTheLibrary(t *testing.T) {
	good := NewID(time.UnixMilli(0x019ab0419970))
	parsed := 0
	for at := range len(good) {
		for c := range 256 {
			s := good[:at] + string([]byte{byte(c)}) + good[at+1:]
			want, err := uuid.Parse(s)
			valid := err == nil && want.String() == s && want.Version() == 7 && want.Variant() == uuid.RFC4122
			got, err := ParseID(s)
			if valid != (err == nil) || valid && got != want {
				t.Fatalf("ParseID(%q) = %v, %v, want %v, %t", s, got, err, want, valid)
			}
			if valid {
				parsed++
			}
		}
	}
	if want := 30*16 + 4 + 1 + 4; parsed != want { // digits, of the variant, of the version, dashes
		t.Errorf("%d ids were read, want %d", parsed, want)
	}
	for _, s := range []string{"", good[1:], good + "0", "{" + good + "}", "urn:uuid:" + good, strings.ToUpper(good)} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %v", s, id)
		}
	}
}

func BenchmarkParseID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckID(crossingID); err != nil {
			b.Fatal(err)
		}
	}
}
