package exchange

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/standing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// quarantine denies the agent at both gateways.
func (w *world) quarantine(t *testing.T) {
	t.Helper()
	sa, err := act.Sign(&policyv1.Act{
		Policy: "local", Kind: policyv1.Act_QUARANTINE, Subject: agent.String(), Reason: "leaked",
		Author: "spiffe://mesh.test/sallyport/operator/ann", Made: timestamppb.New(time.Now()), ReviewBy: "2026-12-04",
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := act.Read(sa)
	if err != nil {
		t.Fatal(err)
	}
	set, err := w.acts.Load().With(a)
	if err != nil {
		t.Fatal(err)
	}
	w.acts.Store(set)
}

// standing is what a side's gateway knows of open crossings.
func (w *world) standing(side string) *standing.Standing {
	if side == "near" {
		return w.stands
	}
	return w.standsFar
}

// endedAt holds that one gateway ended a crossing for a reason, which both records
// say and the one that ended it explains, and that they agree.
func endedAt(t *testing.T, w *world, side string, reason crossingv1.Reason, detail string) {
	t.Helper()
	near, far := w.near.account(t), w.far.account(t)
	here, there := near.Close, far.Close
	if side == "far" {
		here, there = there, here
	}
	if here.GetCause() != crossingv1.Cause_REFUSED || here.GetReason() != reason || !strings.Contains(here.GetDetail(), detail) {
		t.Errorf("at %s %v", side, here)
	}
	if there.GetCause() != crossingv1.Cause_REFUSED_BY_PEER || there.GetReason() != reason {
		t.Errorf("at the other gateway than %s %v", side, there)
	}
	if r := crossing.Join(near, far); r.GetState() != crossingv1.Record_JOINED {
		t.Errorf("the halves are %s: %v", r.GetState(), r.GetDifferences())
	}
}

// TestEndedInMidExchange: whichever gateway hears first of a quarantine ends what is
// open, before the answer with a problem, and after it has begun by breaking it off.
func TestEndedInMidExchange(t *testing.T) {
	for _, side := range []string{"near", "far"} {
		for _, c := range []struct {
			name  string
			sent  func(*listener.Request) *listener.Request
			begun bool
		}{{"before the answer", asItComes, false}, {"before the answer to what is at hand", whole, false}, {"in mid-answer", asItComes, true}} {
			t.Run(c.name+" at "+side, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil)
					w.destination = func(r *upstream.Request) (*upstream.Response, error) {
						if _, err := readAll(r); err != nil {
							return nil, err
						}
						if !c.begun {
							<-time.After(time.Hour)
						}
						a := answer(200, "")
						a.Body = said{&slow{100, time.Hour}, nil, false}
						return a, nil
					}
					time.AfterFunc(90*time.Minute, func() {
						w.quarantine(t)
						w.standing(side).Review()
					})
					if !c.begun {
						time.AfterFunc(time.Minute, func() {
							w.quarantine(t)
							w.standing(side).Review()
						})
					}
					r := &reply{journal: w.journal}
					w.egress.ServeExchange(t.Context(), c.sent(request("POST", "/v1/chat", "hello")), r)
					<-w.served
					if c.begun && (!r.aborted || r.ended) {
						t.Errorf("aborted %t, ended %t", r.aborted, r.ended)
					}
					if !c.begun && (r.head.Status != 403 || !strings.Contains(r.body.String(), `"reason":"QUARANTINED"`) || strings.Contains(r.body.String(), "by act")) {
						t.Errorf("answer %d %s", r.head.Status, r.body.String())
					}
					endedAt(t, w, side, crossingv1.Reason_QUARANTINED, agent.String()+" was quarantined by act ")
				})
			})
		}
	}
}

// TestEndedByteStream: a byte stream ends in mid-silence.
func TestEndedByteStream(t *testing.T) {
	for _, side := range []string{"near", "far"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := rawWorld(t, nil)
				near, far := net.Pipe()
				defer far.Close()
				w.plugged = near
				req := request("CONNECT", "", "")
				req.Body = silent{make(chan struct{})}
				time.AfterFunc(time.Hour, func() {
					w.quarantine(t)
					w.standing(side).Review()
				})
				began := time.Now()
				if r := w.ask(t, req); !r.aborted {
					t.Error("not aborted")
				}
				if took := time.Since(began); took > time.Hour+3*time.Second {
					t.Errorf("it went on for %v", took-time.Hour)
				}
				endedAt(t, w, side, crossingv1.Reason_QUARANTINED, "by act ")
			})
		})
	}
}

// TestEndedBecauseItsWorkloadIsGone, and not because its intent is.
func TestEndedBecauseItsWorkloadIsGone(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*policyv1.Policy)
		reason crossingv1.Reason
	}{
		{"its intent", func(p *policyv1.Policy) { p.Intents = nil }, 0},
		{"its source", func(p *policyv1.Policy) { delete(p.Workloads, "agent"); p.Intents = nil }, crossingv1.Reason_UNKNOWN_SOURCE},
		{"its destination", func(p *policyv1.Policy) { delete(p.Workloads, "llm"); p.Intents = nil }, crossingv1.Reason_UNKNOWN_DESTINATION},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.destination = func(r *upstream.Request) (*upstream.Response, error) {
					_, err := readAll(r)
					a := answer(200, "")
					a.Body = said{&slow{3, time.Minute}, nil, false}
					return a, err
				}
				time.AfterFunc(90*time.Second, func() {
					w.policies = &xdsclient.Policies{Current: policytest.Estate(t, 2, c.change)}
					w.stands.Review()
				})
				r := w.ask(t, request("POST", "/v1/chat", "hello"))
				if c.reason == 0 {
					if !r.ended || !w.joined(t).GetAgree() {
						t.Errorf("it did not go on to its end: %v", w.joined(t))
					}
					return
				}
				endedAt(t, w, "near", c.reason, "no workload of policy serial 2 any more")
			})
		})
	}
}

// expiring is a credential that ends, or is not trusted any more.
type expiring struct {
	ends  time.Time
	fault error
}

func (e *expiring) Expires() time.Time { return e.ends }
func (e *expiring) Check() error       { return e.fault }

// TestEndedWithTheSVID of the caller at the egress gateway, and of the destination at
// the ingress gateway.
func TestEndedWithTheSVID(t *testing.T) {
	for _, side := range []string{"near", "far"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				shown := &expiring{ends: time.Now().Add(10 * time.Minute)}
				w.destination = func(r *upstream.Request) (*upstream.Response, error) {
					_, err := readAll(r)
					a := answer(200, "")
					a.Body = said{&slow{100, time.Minute}, nil, false}
					if side == "far" {
						a.Credential = shown
					}
					return a, err
				}
				req := request("POST", "/v1/chat", "hello")
				if side == "near" {
					req.Caller.Credential = shown
				}
				time.AfterFunc(10*time.Minute, w.standing(side).Review)
				if r := w.ask(t, req); !r.aborted {
					t.Error("not aborted")
				}
				endedAt(t, w, side, crossingv1.Reason_EXPIRED_IDENTITY, "ended at 2000-01-01T00:10:00Z")
			})
		})
	}
}

// TestDecidedBeforeAnAct: a crossing that was decided on before an act, and has its
// stream only after the gateway has looked at all that is open, does not slip through.
func TestDecidedBeforeAnAct(t *testing.T) {
	w := newWorld(t, nil)
	serve := w.tunnel.serve
	w.tunnel.lied = func(*crossingv1.Header) { // as the stream opens
		w.quarantine(t)
		w.stands.Review()
	}
	w.tunnel.serve = serve
	r := w.ask(t, request("POST", "/v1/chat", "hello"))
	if r.head.Status != 403 || !strings.Contains(r.body.String(), "QUARANTINED") {
		t.Errorf("answer %d %s", r.head.Status, r.body.String())
	}
}

// TestWholeAnswersAreDone: an end that was reached is one, whatever was found out
// since.
func TestWholeAnswersAreDone(t *testing.T) {
	w := newWorld(t, nil)
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		_, err := io.Copy(io.Discard, r.Body)
		return answer(200, "done"), err
	}
	r := w.ask(t, request("POST", "/v1/chat", "hello"))
	w.quarantine(t)
	w.stands.Review()
	w.standsFar.Review()
	if rec := w.joined(t); !r.ended || !rec.GetAgree() || rec.GetEgress().GetClose() != crossingv1.Cause_DONE {
		t.Errorf("record %v", rec)
	}
}
