package exchange

import (
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const kib, mib = 1 << 10, 1 << 20

// metering is two gateways that count bytes, for one exchange after another.
type metering struct {
	p         *policy.Policy
	near, far *budget.Ledger
}

func meter(t testing.TB, bytes string) *metering {
	p := policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["raw"] = "tcp://:7000"
		p.Workloads["llm"].Serves["files"] = "http://:8001"
		p.Intents = []*policyv1.Intent{{
			Name: "any", Allow: &policyv1.Match{From: "environment:near", To: "environment:far"},
			When: `data.class in ["internal"]`, Condition: is("data.class", "internal"), Limits: map[string]string{"bytes": bytes},
		}}
	})
	return &metering{p, budget.New(), budget.New()}
}

// world is for the next exchange, whose answer has so many bytes.
func (m *metering) world(t *testing.T, answers int) *world {
	w := newWorld(t, m.p)
	w.egress.cfg.Budgets, w.ingress.cfg.Budgets = m.near, m.far
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		if _, err := readAll(r); err != nil {
			return nil, err
		}
		a := answer(200, "")
		a.Body = said{&io.LimitedReader{R: zeros{}, N: int64(answers)}, nil, false}
		return a, nil
	}
	return w
}

// unevenly uses so many bytes that the gateway of one side alone knows of.
func (m *metering) unevenly(t *testing.T, side string, n int) {
	w := m.world(t, n)
	if side == "near" {
		w.ingress.cfg.Budgets = budget.New()
	} else {
		w.egress.cfg.Budgets = budget.New()
	}
	w.ask(t, request("GET", "/v1/x", ""))
}

// used is what a ledger has counted in the windows that are now.
func used(l *budget.Ledger) (total int64) {
	for _, u := range l.Tell(1000, time.Now()).Uses {
		total += u.Used
	}
	l.TellAll()
	return total
}

// brokenOff holds that both gateways say that the exchange was broken off for its budget,
// and one of them that it did so.
func brokenOff(t *testing.T, w *world) (near, far *crossingv1.Close) {
	t.Helper()
	near, far = w.near.account(t).Close, w.far.account(t).Close
	causes := map[crossingv1.Cause]int{near.GetCause(): 1}
	causes[far.GetCause()]++
	if causes[crossingv1.Cause_REFUSED] == 0 || causes[crossingv1.Cause_REFUSED]+causes[crossingv1.Cause_REFUSED_BY_PEER] != 2 {
		t.Errorf("near %s, far %s", near.GetCause(), far.GetCause())
	}
	for side, c := range map[string]*crossingv1.Close{"near": near, "far": far} {
		if c.GetReason() != crossingv1.Reason_OVER_BUDGET {
			t.Errorf("%s: %v", side, c)
		}
		if c.GetCause() == crossingv1.Cause_REFUSED && !strings.Contains(c.GetDetail(), "bytes of intent any, ") {
			t.Errorf("%s says %q", side, c.GetDetail())
		}
	}
	if r := w.joined(t); !r.GetAgree() {
		t.Errorf("record %v", r)
	}
	return near, far
}

// TestThrottledThenBrokenOff: of a download that is larger than what is left, as much
// passes as is left and no byte more, the last tenth of it slowly; and then nothing is let in
// until the window is over.
func TestThrottledThenBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, "4MiB/minute")
		w, began := m.world(t, 8*mib), time.Now()
		r := w.ask(t, request("POST", "/v1/x", "0123456789"))
		if took := time.Since(began); !r.aborted || r.body.Len() != 4*mib-10 || took < 5*time.Second || took > 9*time.Second {
			t.Errorf("aborted %t, %d bytes, after %v", r.aborted, r.body.Len(), took)
		}
		near, far := brokenOff(t, w)
		if far.GetResponseBytes() != 4*mib-10 || near.GetResponseBytes() != 4*mib-10 || near.GetRequestBytes() != 10 {
			t.Errorf("near %v, far %v", near, far)
		}
		if d := far.GetThrottled().AsDuration(); d < 5*time.Second || d > 9*time.Second {
			t.Errorf("far waited for %v", d)
		}
		r = m.world(t, 0).ask(t, request("GET", "/v1/x", ""))
		again, err := strconv.Atoi(r.head.Fields.Get("retry-after"))
		if r.head.Status != 429 || err != nil {
			t.Fatalf("the next one: %+v", r.head)
		}
		<-time.After(time.Duration(again) * time.Second)
		if r := m.world(t, mib).ask(t, request("GET", "/v1/x", "")); r.head.Status != 200 || r.body.Len() != mib || !r.ended {
			t.Errorf("in the next window: %+v, %d bytes", r.head, r.body.Len())
		}
		if near, far := used(m.near), used(m.far); near != mib || far != mib {
			t.Errorf("%d and %d are counted of it", near, far)
		}
	})
}

// TestEachEndMeters: either gateway breaks off by its own count what the other would let pass.
func TestEachEndMeters(t *testing.T) {
	for _, side := range []string{"near", "far"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := meter(t, "1MiB/minute")
				m.unevenly(t, side, mib/2)
				w := m.world(t, mib)
				r := w.ask(t, request("GET", "/v1/x", ""))
				near, far := brokenOff(t, w)
				if cut := map[string]*crossingv1.Close{"near": near, "far": far}[side]; cut.GetCause() != crossingv1.Cause_REFUSED || cut.GetThrottled() == nil {
					t.Errorf("%s: %v", side, cut)
				}
				if r.body.Len() != mib/2 {
					t.Errorf("%d bytes passed", r.body.Len())
				}
			})
		})
	}
}

// TestUploadIsBrokenOff: a request that does not tell its length is answered as one that
// there was no room for from the beginning.
func TestUploadIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, "1MiB/minute")
		w := m.world(t, 0)
		w.destination = func(r *upstream.Request) (*upstream.Response, error) {
			_, err := io.Copy(io.Discard, r.Body)
			return nil, err
		}
		req := request("POST", "/v1/x", "")
		req.Body = io.NopCloser(io.LimitReader(zeros{}, 2*mib))
		r := w.ask(t, req)
		if r.head == nil || r.head.Status != 429 || r.head.Fields.Get("retry-after") == "" {
			t.Errorf("answer %+v", r.head)
		}
		if near, _ := brokenOff(t, w); near.GetRequestBytes() != mib {
			t.Errorf("near %v", near)
		}
	})
}

// TestUploadCountsAtBothEnds: what the ingress gateway had no room for has left the egress
// gateway, and counts there.
func TestUploadCountsAtBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, "1MiB/minute")
		m.unevenly(t, "far", mib/2)
		w := m.world(t, 0)
		req := request("POST", "/v1/x", "")
		req.Body = io.NopCloser(io.LimitReader(zeros{}, 2*mib))
		if r := w.ask(t, req); r.head == nil || r.head.Status != 429 {
			t.Errorf("answer %+v", r.head)
		}
		near, far := brokenOff(t, w)
		if n := used(m.near); near.GetRequestBytes() < mib/2 || uint64(n) != near.GetRequestBytes() || far.GetCause() != crossingv1.Cause_REFUSED {
			t.Errorf("near counts %d, and says %v", n, near)
		}
	})
}

// TestTwoShareWhatIsLeft: two transfers at once get as much together as one alone, and
// neither gets it all.
func TestTwoShareWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, "4MiB/minute")
		var got [2]int
		var both sync.WaitGroup
		for i := range got {
			w := m.world(t, 4*mib)
			both.Go(func() {
				got[i] = w.ask(t, request("GET", "/v1/x", "")).body.Len()
				brokenOff(t, w)
			})
		}
		both.Wait()
		if got[0]+got[1] != 4*mib || min(got[0], got[1]) == 0 {
			t.Errorf("%d and %d bytes passed", got[0], got[1])
		}
	})
}

// TestWindowEndsInTheMiddle: what passes after a window's end counts in the next one.
func TestWindowEndsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, "4MiB/minute")
		w := m.world(t, 0)
		w.destination = func(*upstream.Request) (*upstream.Response, error) {
			a := answer(200, "")
			a.Body = said{io.MultiReader(
				io.LimitReader(zeros{}, 3*mib), later(time.Minute), io.LimitReader(zeros{}, 3*mib)), nil, false}
			return a, nil
		}
		r := w.ask(t, request("GET", "/v1/x", ""))
		if !r.ended || r.body.Len() != 6*mib {
			t.Errorf("ended %t, %d bytes", r.ended, r.body.Len())
		}
		for side, l := range map[string]*budget.Ledger{"near": m.near, "far": m.far} {
			if n := used(l); n > 3*mib || n < 3*mib-256*kib {
				t.Errorf("%s counts %d of it in its last window", side, n)
			}
		}
		if c := w.near.account(t).Close; c.GetThrottled() != nil || c.GetCause() != crossingv1.Cause_DONE {
			t.Errorf("near %v", c)
		}
	})
}

// later is content that says nothing for so long.
type later time.Duration

func (l later) Read([]byte) (int, error) {
	<-time.After(time.Duration(l))
	return 0, io.EOF
}

// TestManySmallCalls: a budget of two environments and a class of data is one for all
// services and protocols, and all calls: also those that are small.
func TestManySmallCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, "1MiB/minute")
		calls := []func() *listener.Request{
			func() *listener.Request { return request("POST", "/v1/x", strings.Repeat("x", kib)) },
			func() *listener.Request { return to("llm.far.mesh:8001", request("GET", "/part", "")) },
			func() *listener.Request {
				return to("llm.far.mesh:9000", request("POST", "/s/m", strings.Repeat("x", kib), l7.Field{Name: "content-type", Value: "application/grpc"}))
			},
			func() *listener.Request {
				return to("llm.far.mesh:7000", request("CONNECT", "", strings.Repeat("x", kib)))
			},
		}
		total, status := int64(0), map[int]int{}
		for i := 0; i < 200 && status[429] == 0; i++ {
			w := m.world(t, 7*kib)
			req := calls[i%len(calls)]()
			if req.Head.Method == "CONNECT" {
				w.plugged = plugged(7 * kib)
			}
			r := w.ask(t, req)
			if w.plugged != nil {
				w.plugged.Close()
			}
			if status[r.head.Status]++; r.head.Status == 200 {
				c := w.near.account(t).Close
				total += int64(c.GetRequestBytes() + c.GetResponseBytes())
			}
		}
		if total != mib || status[429] != 1 || status[200] < 128 || len(status) != 2 {
			t.Errorf("%d bytes passed, %v", total, status)
		}
	})
}

func to(authority string, r *listener.Request) *listener.Request {
	r.Head.Authority = authority
	return r
}

// plugged is a connection to a destination that says so many bytes once it has heard all.
func plugged(says int) net.Conn {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		io.CopyN(io.Discard, far, kib)
		io.CopyN(far, zeros{}, int64(says))
	}()
	return stillOpen{near}
}

// stillOpen is a connection that can end one direction, and does nothing then.
type stillOpen struct{ net.Conn }

func (stillOpen) CloseWrite() error { return nil }

// TestChatDoesNotTrip: calls of the size of a chat's neither wait nor are refused where
// there is room for them.
func TestChatDoesNotTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, began := meter(t, "4MiB/minute"), time.Now()
		for range 100 {
			w := m.world(t, 8*kib)
			if r := w.ask(t, request("POST", "/v1/x", strings.Repeat("x", kib))); r.head.Status != 200 || !r.ended {
				t.Fatalf("%+v", r.head)
			}
			if c := w.near.account(t).Close; c.GetThrottled() != nil {
				t.Errorf("record %v", c)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("they took %v", took)
		}
	})
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestByteStreamIsMetered: a byte stream is slowed and broken off as any other exchange.
func TestByteStreamIsMetered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter(t, "1MiB/minute")
		w := m.world(t, 0)
		w.plugged = plugged(2 * mib)
		r := w.ask(t, to("llm.far.mesh:7000", request("CONNECT", "", strings.Repeat("x", kib))))
		near, far := brokenOff(t, w)
		if r.body.Len() != mib-kib || !r.aborted || far.GetResponseBytes() != mib-kib || near.GetThrottled() == nil && far.GetThrottled() == nil {
			t.Errorf("%d bytes, near %v, far %v", r.body.Len(), near, far)
		}
	})
}
