package exchange

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/guard"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// underGuard is a policy whose chat a guard on that side must let pass.
func underGuard(t testing.TB, at string) *policy.Policy {
	return policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Guards = map[string]*policyv1.Guard{"dlp": {Owner: "team", At: at}}
		p.Intents[0].Require = &policyv1.Require{Guard: "dlp"}
	})
}

// scanner is a guard that refuses what has a marker in it.
func scanner(w http.ResponseWriter, r *http.Request) {
	content, _ := io.ReadAll(r.Body)
	if strings.Contains(string(content), "s3cr3t") {
		io.WriteString(w, `{"verdict":"refuse","rule":"secrets","findings":["marker"],"detail":"s3cr3t"}`)
		return
	}
	io.WriteString(w, `{"verdict":"pass","rule":"none.found"}`)
}

// guards are those of a gateway whose dlp is served by h.
func guards(t testing.TB, h http.HandlerFunc) *guard.Guards {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return guardsAt(t, s.URL)
}

func guardsAt(t testing.TB, url string) *guard.Guards {
	t.Helper()
	p, err := guard.ParsePlace(&configv1.Guard{Url: url})
	if err != nil {
		t.Fatal(err)
	}
	g := guard.New(map[string]guard.Place{"dlp": p}, nil)
	t.Cleanup(g.Close)
	return g
}

// TestGuarded: what a guard lets pass crosses, what it does not never leaves the gateway
// that asks; and the record of that one names guard, verdict and rule, and nothing of
// the content.
func TestGuarded(t *testing.T) {
	for _, c := range []struct {
		name, at, content string
		status            int
		reason            crossingv1.Reason
		verdict           crossingv1.Guarded_Verdict
		rule              string
	}{
		{"passes at egress", "", `{"model":"small"}`, 200, 0, crossingv1.Guarded_PASS, "none.found"},
		{"passes at ingress", "ingress", `{"model":"small"}`, 200, 0, crossingv1.Guarded_PASS, "none.found"},
		{"refused at egress", "egress", `{"model":"small","x":"s3cr3t"}`, 403, crossingv1.Reason_GUARD_REFUSED, crossingv1.Guarded_REFUSE, "secrets"},
		{"refused at ingress", "ingress", `{"model":"small","x":"s3cr3t"}`, 403, crossingv1.Reason_GUARD_REFUSED, crossingv1.Guarded_REFUSE, "secrets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := reading(t, underGuard(t, c.at))
			g := guards(t, scanner)
			if c.at == "ingress" {
				w.ingress.cfg.Guards = g
			} else {
				w.egress.cfg.Guards = g
			}
			r := w.ask(t, chat(c.content))
			rec := w.record(t)
			asked, other := rec.GetEgress(), rec.GetIngress()
			if c.at == "ingress" {
				asked, other = other, asked
			}
			if r.head.Status != c.status || asked.GetReason() != c.reason {
				t.Fatalf("status %d, record %v", r.head.Status, rec)
			}
			if all := asked.GetGuarded(); len(all) != 1 || all[0].GetGuard() != "dlp" || all[0].GetVerdict() != c.verdict || all[0].GetRule() != c.rule || all[0].GetTook() == nil {
				t.Errorf("it asked %v", all)
			}
			if len(other.GetGuarded()) > 0 || strings.Contains(rec.String(), "s3cr3t") {
				t.Errorf("record %v", rec)
			}
			if c.reason == 0 {
				return
			}
			w.journal.never(t, "destination asked")
			if text := sdkError(t, r); !strings.Contains(text, rec.GetId()) || strings.Contains(text, "secrets") || strings.Contains(text, "dlp") {
				t.Errorf("the caller reads %q", text)
			}
		})
	}
}

// record is that of the one crossing, which may have gone no further than the egress gateway.
func (w *world) record(t *testing.T) *crossingv1.Record {
	t.Helper()
	near := w.near.account(t)
	if near.Open.GetKey().GetIngress() == "" {
		w.journal.never(t, "far open")
		return crossing.Join(near, nil)
	}
	return crossing.Join(near, w.far.account(t))
}

// TestNoVerdict: what no guard has let pass does not cross, whatever became of the guard.
func TestNoVerdict(t *testing.T) {
	dead := httptest.NewServer(http.HandlerFunc(scanner))
	dead.Close()
	for _, c := range []struct {
		name   string
		guards *guard.Guards
		says   string
	}{
		{"not configured", nil, "does not say where it is"},
		{"another one", guard.New(nil, nil), "does not say where it is"},
		{"dead", guardsAt(t, dead.URL), "cannot be reached"},
		{"broken", guards(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"verdict":"pass"`) }), "one JSON object"},
		{"failing", guards(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }), "status 500"},
	} {
		for _, at := range []string{"egress", "ingress"} {
			t.Run(c.name+" at "+at, func(t *testing.T) {
				w := reading(t, underGuard(t, at))
				w.egress.cfg.Guards, w.ingress.cfg.Guards = c.guards, c.guards
				r := w.ask(t, chat(`{"model":"small"}`))
				rec := w.record(t)
				end := rec.GetEgress()
				if at == "ingress" {
					end = rec.GetIngress()
				}
				if r.head.Status != 503 || end.GetReason() != crossingv1.Reason_GUARD_UNAVAILABLE || !strings.Contains(end.GetDetail(), "guard dlp") {
					t.Errorf("status %d, record %v", r.head.Status, rec)
				}
				if all := end.GetGuarded(); len(all) != 1 || all[0].GetVerdict() != 0 || !strings.Contains(all[0].GetFault(), c.says) {
					t.Errorf("it asked %v", all)
				}
				if again := r.head.Fields.Get("x-should-retry"); again != "" {
					t.Errorf("SDKs hear x-should-retry: %q", again)
				}
				w.journal.never(t, "destination asked")
			})
		}
	}
}

// TestGuardSeesAll: a guard sees all of a content, without its coding, or nothing of it
// goes on.
func TestGuardSeesAll(t *testing.T) {
	packed := new(strings.Builder)
	z := gzip.NewWriter(packed)
	io.WriteString(z, `{"model":"small","x":"s3cr3t"}`)
	z.Close()
	long := func(n int) string { return afterText(n-len(afterText(0, "small")), "small") }
	for _, c := range []struct {
		name   string
		req    *listener.Request
		reason crossingv1.Reason
	}{
		{"in a coding", chat(packed.String(), l7.Field{Name: "content-encoding", Value: "gzip"}), crossingv1.Reason_GUARD_REFUSED},
		{"in an unknown coding", chat("x", l7.Field{Name: "content-encoding", Value: "rot13"}), crossingv1.Reason_GUARD_REFUSED},
		{"as much as is held", chat(long(hold.Usual - 1)), 0},
		{"more than is held", chat(long(hold.Usual)), crossingv1.Reason_GUARD_REFUSED},
		{"much more", chat(long(5 * hold.Usual)), crossingv1.Reason_GUARD_REFUSED},
		{"none", chat(""), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := reading(t, underGuard(t, "egress"))
			w.egress.cfg.Guards = guards(t, scanner)
			w.ask(t, c.req)
			if rec := w.record(t); rec.GetEgress().GetReason() != c.reason {
				t.Errorf("record %v", rec)
			}
		})
	}
}

// TestGuardOfBytes: nobody sees the content of a byte stream, so that none is let through.
func TestGuardOfBytes(t *testing.T) {
	p := policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Guards = map[string]*policyv1.Guard{"dlp": {Owner: "team"}}
		p.Workloads["llm"].Serves["db"] = "tcp://:5432"
		p.Intents[0].Allow = &policyv1.Match{From: "agent", To: "llm", Service: "db"}
		p.Intents[0].Require = &policyv1.Require{Guard: "dlp"}
		p.Intents = p.Intents[:1]
	})
	w := reading(t, p)
	req := request("CONNECT", "", "")
	req.Head.Authority = "llm.far.mesh:5432"
	r := w.ask(t, req)
	if rec := w.record(t); r.head.Status != 403 || rec.GetEgress().GetReason() != crossingv1.Reason_NOT_ENFORCEABLE || !strings.Contains(rec.GetEgress().GetDetail(), "byte stream") {
		t.Errorf("status %d, record %v", r.head.Status, rec)
	}
}

// TestGuardIsAskedByOne: a call that another intent allows without is shown to no guard.
func TestGuardIsAskedByOne(t *testing.T) {
	p := policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Guards = map[string]*policyv1.Guard{"dlp": {Owner: "team"}}
		p.Intents = append(p.Intents, &policyv1.Intent{
			Name: "a-guarded", Allow: p.Intents[0].Allow, Require: &policyv1.Require{Guard: "dlp"},
		})
	})
	w := reading(t, p)
	if r := w.ask(t, chat(`{"model":"small","x":"s3cr3t"}`)); r.head.Status != 200 {
		t.Errorf("status %d", r.head.Status)
	}
	if all := w.record(t).GetEgress().GetGuarded(); all != nil {
		t.Errorf("it asked %v", all)
	}
}

// TestCallerLeavesGuard: nobody is asked for a caller that has left.
func TestCallerLeavesGuard(t *testing.T) {
	w := reading(t, underGuard(t, "egress"))
	asked, over := make(chan struct{}), make(chan struct{})
	w.egress.cfg.Guards = guards(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(asked)
		<-r.Context().Done()
		close(over)
	})
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-asked
		leave()
	}()
	w.egress.ServeExchange(ctx, chat(`{"model":"small"}`), &reply{journal: w.journal})
	<-over
	e := w.record(t).GetEgress()
	if e.GetReason() != crossingv1.Reason_GUARD_UNAVAILABLE || !strings.Contains(e.GetDetail(), "the caller left") {
		t.Errorf("record %v", e)
	}
}

// TestGuardedAtTheEnd: nothing goes on in the name of an intent without a guard that, by
// what comes at the end, is not the one that decides.
func TestGuardedAtTheEnd(t *testing.T) {
	have := authz.Verdict{Guards: []*policy.Guard{{Name: "a", At: crossingv1.Side_EGRESS}}}
	for _, c := range []struct {
		name   string
		guards []*policy.Guard
		covers bool
	}{
		{"none", nil, true},
		{"the same", []*policy.Guard{{Name: "a", At: crossingv1.Side_EGRESS}}, true},
		{"on the other side", []*policy.Guard{{Name: "a", At: crossingv1.Side_INGRESS}}, false},
		{"another", []*policy.Guard{{Name: "b", At: crossingv1.Side_EGRESS}}, false},
	} {
		if got := have.Covers(&authz.Verdict{Guards: c.guards}); got != c.covers {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
