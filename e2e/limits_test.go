package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// withLimits is a mesh in which one gateway has limits.
func withLimits(t *testing.T, gateway string, policy []byte, l *configv1.Limits) *meshtest.Mesh {
	t.Helper()
	return meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Policy = policy
		cfg.Bootstrap = func(b *configv1.Bootstrap) {
			if b.GetGateway() == gateway {
				b.Limits = l
			}
		}
	})
}

// TestLimitsOfAnExchange: each limit is answered with its own status, at either
// gateway, and has its record.
func TestLimitsOfAnExchange(t *testing.T) {
	t.Parallel()
	for _, gateway := range []string{"onprem-1", "azure-1"} {
		t.Run(gateway, func(t *testing.T) {
			t.Parallel()
			m := withLimits(t, gateway, nil, &configv1.Limits{
				ExchangesPerCaller: 1, RequestBytes: 1 << 20, Total: durationpb.New(2 * time.Second),
			})
			entered := make(chan struct{}, 1)
			m.ServeChat(t, func(_ http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				entered <- struct{}{}
				<-r.Context().Done()
			})
			client := m.As(t, "orchestrator")
			first := make(chan *http.Response, 1)
			go func() { first <- askFor(m.Context, t, client, 10) }()
			<-entered
			limited(t, m, askFor(m.Context, t, client, 10), 429, crossingv1.Reason_OVER_LIMIT)
			limited(t, m, <-first, 504, crossingv1.Reason_OVER_LIMIT)
			limited(t, m, askFor(m.Context, t, client, 2<<20), 413, crossingv1.Reason_TOO_LARGE)
			rejectedNothing(t, m)
		})
	}
}

// askFor calls the llm with a request of that size.
func askFor(ctx context.Context, t *testing.T, c *http.Client, size int) *http.Response {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, meshtest.ChatURL, bytes.NewReader(make([]byte, size)))
	if err != nil {
		t.Error(err)
		return nil
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Error(err)
	}
	return resp
}

// limited holds that an answer says that a gateway's limit was met, and that the
// record does, though the policy allowed the call.
func limited(t *testing.T, m *meshtest.Mesh, resp *http.Response, status int, reason crossingv1.Reason) {
	t.Helper()
	if resp == nil {
		t.Fatal("no answer")
	}
	said, err := meshtest.ReasonOf(meshtest.ReadAll(t, resp))
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status || said != reason.String() {
		t.Errorf("status %d, reason %s; want %d, %s", resp.StatusCode, said, status, reason)
	}
	r := m.Record(t, resp.Header.Get("sallyport-crossing"))
	if r.GetEgress().GetReason() != reason || r.GetEgress().GetDecision() != crossingv1.Decision_ALLOW ||
		r.GetTransition().GetOwner() != "ml-platform" || r.GetState() == crossingv1.Record_DISAGREE {
		t.Errorf("record: %v", r)
	}
}

// TestLimitsOfByteStreams: a byte stream counts for its caller while it is open,
// and ends with the total, which is no good end.
func TestLimitsOfByteStreams(t *testing.T) {
	t.Parallel()
	for _, gateway := range []string{"onprem-1", "azure-1"} {
		t.Run(gateway, func(t *testing.T) {
			t.Parallel()
			m := withLimits(t, gateway, policyWith(t, connectIntent), &configv1.Limits{ExchangesPerCaller: 1, Total: durationpb.New(2 * time.Second)})
			ends := make(chan error, 2)
			serveTCP(t, m, "vectors", func(c *net.TCPConn) {
				defer c.Close()
				_, err := io.Copy(io.Discard, c)
				ends <- err
			})
			open, resp := connect(t, m, "llm.azure.mesh:7000")
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("CONNECT: %s", resp.Status)
			}
			_, more := connect(t, m, "llm.azure.mesh:7000")
			limited(t, m, more, 429, crossingv1.Reason_OVER_LIMIT)
			if n, err := open.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("read %d, %v, want a broken connection", n, err)
			}
			if <-ends == nil {
				t.Error("the destination was shown a good end")
			}
			r := m.Record(t, resp.Header.Get("sallyport-crossing"))
			here, there := r.GetEgress(), r.GetIngress()
			if gateway == "azure-1" {
				here, there = there, here
			}
			if here.GetClose() != crossingv1.Cause_REFUSED || here.GetReason() != crossingv1.Reason_OVER_LIMIT || there.GetClose() != crossingv1.Cause_REFUSED_BY_PEER {
				t.Errorf("record: %v", r)
			}
			again, resp := connect(t, m, "llm.azure.mesh:7000")
			defer again.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("what has ended still counts: %s", resp.Status)
			}
			rejectedNothing(t, m)
		})
	}
}
