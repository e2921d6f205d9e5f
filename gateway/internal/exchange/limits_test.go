package exchange

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/quota"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// refused holds how a caller was refused, and why its egress half ended.
func refused(t *testing.T, w *world, r *reply, status int, cause crossingv1.Cause, reason crossingv1.Reason) {
	t.Helper()
	if r.head == nil || r.head.Status != status || !strings.Contains(r.body.String(), reason.String()) || r.aborted {
		t.Errorf("answer %+v, %q, aborted %t; want %d %s", r.head, r.body.String(), r.aborted, status, reason)
	}
	e := w.near.account(t)
	gotCause, gotReason := e.Open.GetEnd().GetClose(), e.Open.GetEnd().GetReason()
	if e.Close != nil {
		gotCause, gotReason = e.Close.GetCause(), e.Close.GetReason()
	}
	if gotCause != cause || gotReason != reason || e.Open.GetEnd().GetDecision() != crossingv1.Decision_ALLOW {
		t.Errorf("near: %s, %s, decision %s; want %s, %s", gotCause, gotReason, e.Open.GetEnd().GetDecision(), cause, reason)
	}
}

func TestQuotaAtEgress(t *testing.T) {
	w := newWorld(t, nil)
	w.egress.cfg.Quota = quota.New(1)
	if !w.egress.cfg.Quota.Enter(agent.String()) {
		t.Fatal("no room for one")
	}
	r := w.ask(t, request("POST", "/v1/chat", "hello"))
	refused(t, w, r, 429, crossingv1.Cause_REFUSED, crossingv1.Reason_OVER_LIMIT)
	w.journal.never(t, "far open")
	if rec := crossing.Join(w.near.account(t), nil); rec.GetState() != crossingv1.Record_REFUSED {
		t.Errorf("record %v", rec)
	}
}

func TestQuotaAtIngress(t *testing.T) {
	w := newWorld(t, nil)
	w.ingress.cfg.Quota = quota.New(1)
	if !w.ingress.cfg.Quota.Enter(agent.String()) {
		t.Fatal("no room for one")
	}
	r := w.ask(t, request("POST", "/v1/chat", "hello"))
	refused(t, w, r, 429, crossingv1.Cause_REFUSED_BY_PEER, crossingv1.Reason_OVER_LIMIT)
	w.journal.never(t, "destination asked")
	if c := w.far.account(t).Close; c.GetCause() != crossingv1.Cause_REFUSED || c.GetReason() != crossingv1.Reason_OVER_LIMIT {
		t.Errorf("far %v", c)
	}
}

// TestQuotaIsGivenBack: however a crossing ends, it no longer counts.
func TestQuotaIsGivenBack(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"well":              func(*world) {},
		"not recorded":      func(w *world) { w.near.fail = errors.New("disk") },
		"not recorded, far": func(w *world) { w.far.fail = errors.New("disk") },
		"no tunnel":         func(w *world) { w.unreachable = errors.New("nobody there") },
		"tunnel lost":       func(w *world) { w.tunnel.open = errors.New("lost") },
		"destination": func(w *world) {
			w.destination = func(*upstream.Request) (*upstream.Response, error) { return nil, upstream.ErrNoEndpoint }
		},
		"denied at far": func(w *world) { w.tunnel.lied = func(h *crossingv1.Header) { h.Policy.Serial = 9 } },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			near, far := quota.New(1), quota.New(1)
			w.egress.cfg.Quota, w.ingress.cfg.Quota = near, far
			spoil(w)
			w.ask(t, request("POST", "/v1/chat", "hello"))
			if !near.Enter(agent.String()) || !far.Enter(agent.String()) {
				t.Error("it still counts")
			}
		})
	}
	t.Run("byte stream", func(t *testing.T) {
		w := rawWorld(t, echo)
		near, far := quota.New(1), quota.New(1)
		w.egress.cfg.Quota, w.ingress.cfg.Quota = near, far
		w.ask(t, request("CONNECT", "", "hello"))
		if !near.Enter(agent.String()) || !far.Enter(agent.String()) {
			t.Error("it still counts")
		}
	})
}

// asItComes and whole are the ways in which a request is sent: while more of it
// may come, and in one goroutine when all of it is at hand.
func asItComes(req *listener.Request) *listener.Request { return req }

func whole(req *listener.Request) *listener.Request {
	req.Body = atHand{req.Body}
	return req
}

// TestContentIsTooLarge at each of the gateways, whether its length is told or not.
func TestContentIsTooLarge(t *testing.T) {
	t.Run("as it comes", func(t *testing.T) { testTooLarge(t, asItComes, true) })
	// What is at hand fits into a stream's window, and this tunnel has none: the
	// ingress gateway could not say a word meanwhile.
	t.Run("at hand", func(t *testing.T) { testTooLarge(t, whole, false) })
}

func testTooLarge(t *testing.T, sent func(*listener.Request) *listener.Request, alsoFar bool) {
	told := l7.Field{Name: "content-length", Value: "100000"}
	content := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name   string
		near   bool
		fields []l7.Field
		cause  crossingv1.Cause // at near
		asked  bool             // the destination
	}{
		{"at egress", true, nil, crossingv1.Cause_REFUSED, true},
		{"at egress, told", true, []l7.Field{told}, crossingv1.Cause_REFUSED, false},
		{"at ingress", false, nil, crossingv1.Cause_REFUSED_BY_PEER, true},
		{"at ingress, told", false, []l7.Field{told}, crossingv1.Cause_REFUSED_BY_PEER, false},
	} {
		if !c.near && !alsoFar {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			if c.near {
				w.egress.cfg.Limits.RequestBytes = 99_999
			} else {
				w.ingress.cfg.Limits.RequestBytes = 99_999
			}
			taken := false
			w.destination = func(r *upstream.Request) (*upstream.Response, error) {
				_, err := io.Copy(io.Discard, r.Body)
				taken = err == nil
				return nil, err
			}
			r := w.ask(t, sent(request("POST", "/v1/chat", content, c.fields...)))
			refused(t, w, r, 413, c.cause, crossingv1.Reason_TOO_LARGE)
			if taken {
				t.Error("the destination took it for whole")
			}
			if !c.asked {
				w.journal.never(t, "destination asked")
			}
			if c.near && c.asked {
				if i := w.far.account(t).Close; i.GetCause() != crossingv1.Cause_REFUSED_BY_PEER {
					t.Errorf("far %v", i)
				}
			}
		})
	}
	t.Run("as large as may be", func(t *testing.T) {
		w := newWorld(t, nil)
		w.egress.cfg.Limits.RequestBytes, w.ingress.cfg.Limits.RequestBytes = 100_000, 100_000
		if r := w.ask(t, sent(request("POST", "/v1/chat", content, told))); r.head.Status != 200 || !r.ended {
			t.Errorf("answer %+v", r.head)
		}
	})
}

// slow is an answer whose pieces come so far apart.
type slow struct {
	pieces int
	every  time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	if s.pieces == 0 {
		return 0, io.EOF
	}
	s.pieces--
	<-time.After(s.every)
	return copy(p, "."), nil
}

// TestTimeLimits: what takes too long, or is silent for too long, ends; what is
// slow and goes on does not.
func TestTimeLimits(t *testing.T) {
	t.Run("as it comes", func(t *testing.T) { testTimeLimits(t, asItComes) })
	t.Run("at hand", func(t *testing.T) { testTimeLimits(t, whole) })
}

func testTimeLimits(t *testing.T, sent func(*listener.Request) *listener.Request) {
	for _, c := range []struct {
		name   string
		limits Limits
		think  time.Duration // before the answer
		answer slow
		begun  bool // the answer has begun when it ends
		whole  bool
		took   time.Duration
	}{
		{"slow and steady", Limits{Silence: time.Minute}, 50 * time.Second, slow{100, 50 * time.Second}, true, true, 5050 * time.Second},
		{"silent before it answers", Limits{Silence: time.Minute}, time.Hour, slow{}, false, false, time.Minute},
		{"silent in mid-answer", Limits{Silence: time.Minute}, 0, slow{3, 2 * time.Minute}, true, false, time.Minute},
		{"total before it answers", Limits{Total: time.Minute}, time.Hour, slow{}, false, false, time.Minute},
		{"total in mid-answer", Limits{Total: time.Minute, Silence: 50 * time.Second}, 0, slow{100, 11 * time.Second}, true, false, time.Minute},
		{"without limits", Limits{}, 100 * time.Hour, slow{1, 100 * time.Hour}, true, true, 200 * time.Hour},
	} {
		for _, side := range []string{"near", "far"} {
			t.Run(c.name+" at "+side, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil)
					if side == "near" {
						w.egress.cfg.Limits = c.limits
					} else {
						w.ingress.cfg.Limits = c.limits
					}
					w.destination = func(r *upstream.Request) (*upstream.Response, error) {
						if _, err := readAll(r); err != nil {
							return nil, err
						}
						<-time.After(c.think)
						a, s := answer(200, ""), c.answer
						a.Body = said{&s, nil, false}
						return a, nil
					}
					began := time.Now()
					r := &reply{journal: w.journal}
					w.egress.ServeExchange(t.Context(), sent(request("POST", "/v1/chat", "hello")), r)
					if took := time.Since(began); took != c.took {
						t.Errorf("took %v, want %v", took, c.took)
					}
					<-w.served
					switch {
					case c.whole:
						if !r.ended || r.aborted || !w.joined(t).GetAgree() {
							t.Errorf("ended %t, aborted %t, %v", r.ended, r.aborted, w.joined(t))
						}
					case c.begun:
						if !r.aborted || r.ended {
							t.Errorf("aborted %t, ended %t", r.aborted, r.ended)
						}
					case side == "near":
						refused(t, w, r, 504, crossingv1.Cause_REFUSED, crossingv1.Reason_OVER_LIMIT)
					default:
						refused(t, w, r, 504, crossingv1.Cause_REFUSED_BY_PEER, crossingv1.Reason_OVER_LIMIT)
					}
					if !c.whole {
						beyondAt(t, w, side)
					}
				})
			})
		}
	}
}

// beyondAt holds that the gateway of that side says that it ended the crossing.
func beyondAt(t *testing.T, w *world, side string) {
	t.Helper()
	here, there := w.near.account(t).Close, w.far.account(t).Close
	if side == "far" {
		here, there = there, here
	}
	if here.GetCause() != crossingv1.Cause_REFUSED || here.GetReason() != crossingv1.Reason_OVER_LIMIT || there.GetCause() != crossingv1.Cause_REFUSED_BY_PEER {
		t.Errorf("at %s %v, at the other gateway %v", side, here, there)
	}
}

// TestByteStreamHasAnEnd: a byte stream may be silent, and takes no longer than
// the total.
func TestByteStreamHasAnEnd(t *testing.T) {
	for _, side := range []string{"near", "far"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := rawWorld(t, nil)
				near, far := net.Pipe()
				defer far.Close()
				w.plugged = near
				limits := Limits{Silence: time.Second, Total: time.Hour}
				if side == "near" {
					w.egress.cfg.Limits = limits
				} else {
					w.ingress.cfg.Limits = limits
				}
				req := request("CONNECT", "", "")
				req.Body = silent{make(chan struct{})}
				began := time.Now()
				if r := w.ask(t, req); !r.aborted {
					t.Error("not aborted")
				}
				if took := time.Since(began); took < time.Hour || took > time.Hour+3*time.Second {
					t.Errorf("took %v", took)
				}
				beyondAt(t, w, side)
			})
		})
	}
}
