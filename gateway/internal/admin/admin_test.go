package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var self = spiffeid.RequireFromString("spiffe://onprem.demo/sallyport/gateway/onprem-1")

func meter(t *testing.T, m *Metrics) *Meter {
	t.Helper()
	r, err := recorder.New(recorder.Config{
		Dir: t.TempDir(), Gateway: self,
		Connect: func(context.Context) (controlv1.CrossingServiceClient, error) { return nil, errors.New("nobody") },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.CloseSpool() })
	return m.Meter(r)
}

// serve answers until the test ends.
func serve(t *testing.T, m *Metrics, state func() State) string {
	t.Helper()
	s, err := Listen("127.0.0.1:0", nil, m, state)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + s.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHealthAndReadiness(t *testing.T) {
	var bad error
	url := serve(t, NewMetrics(), func() State { return State{NotReady: bad} })
	if code, _ := get(t, url+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz = %d", code)
	}
	if code, body := get(t, url+"/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("/readyz = %d %q", code, body)
	}
	bad = errors.New("there is no policy yet")
	if code, body := get(t, url+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no policy") {
		t.Errorf("/readyz = %d %q, want 503 and why", code, body)
	}
	if code, _ := get(t, url+"/debug/pprof/goroutine?debug=1"); code != http.StatusOK {
		t.Errorf("goroutine profile = %d", code)
	}
}

func TestMetricsCountRecords(t *testing.T) {
	m := NewMetrics()
	spool := meter(t, m)
	run := spool.RunID()
	half := func(seq uint64, d crossingv1.Decision, r crossingv1.Reason) *crossingv1.Half {
		return &crossingv1.Half{
			Id: crossing.NewID(time.Now()), Key: &crossingv1.Key{Egress: self.String(), Run: run, Sequence: seq},
			Side: crossingv1.Side_EGRESS, End: &crossingv1.End{Gateway: self.String(), Decision: d, Reason: r},
		}
	}
	allowed := half(1, crossingv1.Decision_ALLOW, 0)
	for _, h := range []*crossingv1.Half{allowed, half(2, crossingv1.Decision_DENY, crossingv1.Reason_NO_INTENT)} {
		if err := spool.Open(h, false, false); err != nil {
			t.Fatal(err)
		}
	}
	err := spool.Close(&crossingv1.Close{
		Id: allowed.GetId(), Key: allowed.GetKey(), Side: crossingv1.Side_EGRESS, Cause: crossingv1.Cause_DONE,
		RequestBytes: 10, ResponseBytes: 200,
	})
	if err != nil {
		t.Fatal(err)
	}
	spool.Refuse(crossingv1.Reason_NO_IDENTITY, netip.MustParseAddrPort("192.0.2.1:1"), "attach", "nothing shown")
	m.Chose(tunnel.QUIC, tunnel.Interactive, tunnel.Lossy)
	m.Delayed(crossingv1.Side_EGRESS, 300*time.Microsecond)
	m.Moved(tunnel.QUIC, tunnel.Interactive)
	m.Stated(crossingv1.Side_EGRESS, false)
	m.Stated(crossingv1.Side_EGRESS, true)
	m.Differed(crossingv1.Difference_UNSEEN, 3)
	m.Mistold("malformed")
	peer := spiffeid.RequireFromString("spiffe://azure.demo/sallyport/gateway/azure-1")
	url := serve(t, m, func() State {
		return State{Serial: 7, Spooled: 99, Silent: 2, Outage: &crossingv1.Outage{Cause: crossingv1.Outage_STALLED, Refused: 3, Unrecorded: 4}, Tunnels: []tunnel.Info{
			{Peer: peer, Carrier: tunnel.TCP, Streams: 2, Loss: 0.5}, {Peer: peer, Carrier: tunnel.TCP, Streams: 3},
		}, Bundles: []*controlv1.BundleStatus{{
			TrustDomain: "azure.demo", Sequence: 5, Refreshed: &timestamppb.Timestamp{Seconds: 11}, Ends: &timestamppb.Timestamp{Seconds: 12}, Stale: true,
		}}}
	})
	_, text := get(t, url+"/metrics")
	for _, want := range []string{
		`sallyport_gateway_crossings_opened_total{decision="allow",side="egress"} 1`,
		`sallyport_gateway_crossings_opened_total{decision="deny",side="egress"} 1`,
		`sallyport_gateway_crossings_opened_total{decision="allow",side="ingress"} 0`,
		`sallyport_gateway_crossings_closed_total{cause="done",side="egress"} 1`,
		`sallyport_gateway_payload_bytes_total{direction="request",side="egress"} 10`,
		`sallyport_gateway_payload_bytes_total{direction="response",side="egress"} 200`,
		`sallyport_gateway_denials_total{reason="no_intent"} 1`,
		`sallyport_gateway_refusals_total{reason="no_identity"} 1`,
		`sallyport_gateway_carrier_choices_total{carrier="quic",choice="lossy",class="interactive"} 1`,
		`sallyport_gateway_carrier_moves_total{carrier="quic",class="interactive"} 1`,
		`sallyport_gateway_event_delay_seconds_bucket{side="egress",le="0.0005"} 1`,
		`sallyport_gateway_event_delay_seconds_bucket{side="egress",le="0.00025"} 0`,
		`sallyport_gateway_epochs_stated_total{side="egress"} 1`,
		`sallyport_gateway_epochs_alone_total{side="egress"} 1`,
		`sallyport_gateway_statement_differences_total{kind="unseen"} 3`,
		`sallyport_gateway_statement_refusals_total{reason="malformed"} 1`,
		`sallyport_gateway_silent_pairs 2`,
		`sallyport_gateway_policy_serial 7`,
		`sallyport_gateway_spool_bytes 99`,
		`sallyport_gateway_spool_outage{cause="stalled"} 1`,
		`sallyport_gateway_spool_outage{cause="full"} 0`,
		`sallyport_gateway_spool_outage_crossings{outcome="refused"} 3`,
		`sallyport_gateway_spool_outage_crossings{outcome="unrecorded"} 4`,
		`sallyport_gateway_bundle_sequence{trust_domain="azure.demo"} 5`,
		`sallyport_gateway_bundle_refreshed_seconds{trust_domain="azure.demo"} 11`,
		`sallyport_gateway_bundle_ends_seconds{trust_domain="azure.demo"} 12`,
		`sallyport_gateway_bundle_alarm{alarm="stale",trust_domain="azure.demo"} 1`,
		`sallyport_gateway_bundle_alarm{alarm="expiring",trust_domain="azure.demo"} 0`,
		`sallyport_gateway_bundle_alarm{alarm="refused",trust_domain="azure.demo"} 0`,
		`sallyport_gateway_tunnels{carrier="tcp",class="interactive",peer="spiffe://azure.demo/sallyport/gateway/azure-1"} 2`,
		`sallyport_gateway_streams{carrier="tcp",class="interactive",peer="spiffe://azure.demo/sallyport/gateway/azure-1"} 5`,
		`sallyport_gateway_tunnel_loss_ratio{carrier="tcp",class="interactive",peer="spiffe://azure.demo/sallyport/gateway/azure-1"} 0.5`,
		`go_goroutines `, `process_open_fds `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestOnlyOnLoopback(t *testing.T) {
	if s, err := Listen("0.0.0.0:0", nil, NewMetrics(), nil); err == nil {
		s.Close()
		t.Error("administration listens everywhere")
	}
}
