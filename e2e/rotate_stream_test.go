package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// openUnending opens streams without end, one in each way to attach.
func openUnending(t *testing.T, m *meshtest.Mesh) map[string]*unending {
	t.Helper()
	l := &load{m: m, ctx: m.Context, messages: 1}
	l.serve(t, nil)
	l.h2 = m.As(t, "orchestrator")
	l.awaitUp(t)
	all := map[string]*unending{}
	for name, c := range map[string]*http.Client{"HTTP/1.1": l.http1(t), "HTTP/2": l.h2, "JWT-SVID": l.bearer(t)} {
		all[name] = l.endlessBy(t, c)
	}
	return all
}

// wantCut holds that streams are cut by a time, none as if it had come to its end,
// and that the records say so.
func wantCut(t *testing.T, m *meshtest.Mesh, streams map[string]*unending, by time.Time) {
	t.Helper()
	for name, e := range streams {
		select {
		case <-e.cut:
		case <-time.After(time.Until(by)):
			t.Errorf("%s: a stream goes on", name)
			continue
		}
		if e.err == nil {
			t.Errorf("%s: a stream that was cut came to its end", name)
		}
		r := m.Record(t, e.id)
		t.Logf("%s: cut %s before its time was up: %s, %s", name, by.Sub(e.at).Round(time.Millisecond), r.GetEgress().GetClose(), r.GetEgress().GetReason())
		for _, end := range []*crossingv1.End{r.GetEgress(), r.GetIngress()} {
			if end.GetClose() == crossingv1.Cause_DONE || end.GetClose() == crossingv1.Cause_CAUSE_UNSPECIFIED {
				t.Errorf("%s: recorded as %s: %v", name, end.GetClose(), r)
			}
		}
	}
}

// TestStreamsOutliveRenewalAndNotTheirSVID: that an SVID is renewed cuts no stream;
// one that goes on beyond the end of what it was made with is cut then.
func TestStreamsOutliveRenewalAndNotTheirSVID(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.X509TTL = rotated })
	streams := openUnending(t, m)
	by := time.Now().Add(rotated + 2*time.Second)
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	before, err := source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	wantCut(t, m, streams, by)
	after, err := source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	if after.Certificates[0].Equal(before.Certificates[0]) {
		t.Error("streams were cut before SVIDs were renewed")
	}
}

// TestStreamsDoNotOutliveTheirRoot: a new root cuts no stream, and one that stands on
// a root is cut when that is taken away.
func TestStreamsDoNotOutliveTheirRoot(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	awaitHeld(t, m, "onprem")
	streams := openUnending(t, m)
	start := takeAwayRoot(t, m, "onprem")
	wantCut(t, m, streams, start.Add(removalBound))
	for name, e := range streams {
		select {
		case <-e.cut:
			if e.at.Before(start) {
				t.Errorf("%s: a stream was cut %s before its root was taken away", name, start.Sub(e.at))
			}
		default:
		}
	}
	awaitHeld(t, m, "onprem") // until then, a call may begin in a tunnel that ends
	meshtest.WantCrossing(t, m)
}
