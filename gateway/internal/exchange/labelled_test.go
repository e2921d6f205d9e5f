package exchange

import (
	"crypto/sha256"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/protocols"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var (
	llm        = spiffeid.RequireFromString("spiffe://far.test/ai/llm")
	classifier = spiffeid.RequireFromString("spiffe://far.test/classifier")
)

// labels are made by labelers of either environment. What is restricted does not leave far.
type labels struct{ mesh map[string]*certstest.Domain }

func newLabels(t testing.TB) labels {
	return labels{certstest.Mesh(t, "near.test", "far.test")}
}

func (l labels) policy(t testing.TB) *policy.Policy { return l.policyWhen(t, nil) }

// policyWhen has it stay only where a condition holds.
func (l labels) policyWhen(t testing.TB, when *policyv1.Condition) *policy.Policy {
	return policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.DataClasses = []string{"public", "internal", "restricted"}
		p.Workloads["classifier"] = &policyv1.Workload{Id: classifier.String(), Owner: "team", Data: &policyv1.DataRule{Class: "internal", MayLabel: true}}
		stays := &policyv1.Intent{Name: "stays", Deny: &policyv1.Match{Data: "restricted", Leaving: "environment:far"}, Condition: when}
		if when != nil {
			stays.When = "x"
		}
		p.Intents = append(p.Intents, stays)
	})
}

// world is one in which both gateways verify labels, whose destination gives that answer.
func (l labels) world(t testing.TB, answer *upstream.Response) *world {
	w := newWorld(t, l.policy(t))
	w.egress.cfg.Authz.(*authz.Authorizer).TakeLabels(l.mesh["near.test"].Source("/sallyport/gateway/near-1"))
	w.ingress.cfg.Authz.(*authz.Authorizer).TakeLabels(l.mesh["far.test"].Source("/sallyport/gateway/far-1"))
	w.destination = func(r *upstream.Request) (*upstream.Response, error) {
		_, err := readAll(r)
		return answer, err
	}
	return w
}

// of is the classifier's label that the answer to POST /v1/chat is of a class.
func (l labels) of(t testing.TB, class, content string) string {
	t.Helper()
	return l.on(t, "POST /v1/chat", class, content)
}

// on is the same of the answer to another request.
func (l labels) on(t testing.TB, line, class, content string) string {
	t.Helper()
	svid, err := l.mesh["far.test"].Source("/classifier").GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	token, err := label.SignAnswer(svid, label.Answer{Callee: llm, Caller: agent, Line: line}, class, sha256.Sum256([]byte(content)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// shown is an answer that comes with those labels.
func shown(status int, content string, tokens ...string) *upstream.Response {
	a := answer(status, content)
	for _, token := range tokens {
		a.Head.Fields = append(a.Head.Fields, l7.Field{Name: label.Field, Value: token})
	}
	return a
}

// TestLabelledAnswer: a label of an answer raises its class, and only that; both gateways
// come to the same, however the content is cut.
func TestLabelledAnswer(t *testing.T) {
	l := newLabels(t)
	const content = "rows of a data set"
	const forbidden, bad = crossingv1.Reason_FORBIDDEN_ANSWER, crossingv1.Reason_BAD_LABEL
	for _, c := range []struct {
		name   string
		status int
		tokens []string
		want   crossingv1.Reason
		class  string // in the record; "" for none
		head   bool   // the caller is refused before it has anything
	}{
		{"none", 200, nil, 0, "", false},
		{"raised to what may not leave", 200, []string{l.of(t, "restricted", content)}, forbidden, "restricted", true},
		{"the same", 200, []string{l.of(t, "internal", content)}, 0, "internal", false},
		{"lower", 200, []string{l.of(t, "public", content)}, 0, "internal", false},
		{"of another content", 200, []string{l.of(t, "internal", content+"!")}, bad, "internal", false},
		{"of a shorter content", 200, []string{l.of(t, "internal", content[1:])}, bad, "internal", false},
		{"of an unknown class", 200, []string{l.of(t, "harmless", content)}, bad, "", true},
		{"two", 200, []string{l.of(t, "internal", content), l.of(t, "internal", content)}, bad, "", true},
		{"words", 200, []string{"public"}, bad, "", true},
		{"nothing", 200, []string{""}, bad, "", true},
		{"with an error", 500, []string{l.of(t, "internal", content)}, bad, "", true},
	} {
		for cut, how := range map[string]func(io.Reader) io.Reader{"as a whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			t.Run(c.name+", "+cut, func(t *testing.T) {
				a := shown(c.status, content, c.tokens...)
				a.Body = said{how(a.Body), nil, false}
				w := l.world(t, a)
				r := w.ask(t, request("POST", "/v1/chat", "hello"))
				near, far := w.near.account(t).Close, w.far.account(t).Close
				if far.GetReason() != c.want || near.GetReason() != c.want || far.GetAnswerClass() != c.class {
					t.Errorf("near %v, far %v", near, far)
				}
				if c.class != "" && far.GetAnswerLabeler() != classifier.String() {
					t.Errorf("signed by %q", far.GetAnswerLabeler())
				}
				if rec := w.joined(t); !rec.GetAgree() {
					t.Errorf("record %v", rec)
				}
				switch whole := gotWhole(r); {
				case c.want == 0 && (!whole || r.body.String() != content || r.head.Fields.Has(label.Field)):
					t.Errorf("the caller has %+v, %q", r.head, r.body.String())
				case c.head && (r.head.Status != 403 || !strings.Contains(r.body.String(), c.want.String())):
					t.Errorf("the caller is told %d, %q", r.head.Status, r.body.String())
				case c.want != 0 && !c.head && (whole || len(r.body.String()) >= len(content)):
					t.Errorf("of what the label does not speak of, the caller has %q, whole: %t", r.body.String(), whole)
				}
			})
		}
	}
}

// TestEgressHoldsLabels: the egress gateway takes nobody's word for an answer's label.
func TestEgressHoldsLabels(t *testing.T) {
	l := newLabels(t)
	const content = "rows of a data set"
	for name, c := range map[string]struct {
		token string
		want  crossingv1.Reason
		class string
	}{
		"raised":             {l.of(t, "restricted", content), crossingv1.Reason_FORBIDDEN_ANSWER, "restricted"},
		"bad":                {"public", crossingv1.Reason_BAD_LABEL, ""},
		"of another content": {l.of(t, "internal", "other"), crossingv1.Reason_BAD_LABEL, "internal"},
	} {
		w := l.world(t, shown(200, content, c.token))
		w.ingress.cfg.Authz = deaf{w.ingress.cfg.Authz}
		r := w.ask(t, request("POST", "/v1/chat", "hello"))
		got := w.near.account(t).Close
		if got.GetCause() != crossingv1.Cause_REFUSED || got.GetReason() != c.want || got.GetAnswerClass() != c.class || gotWhole(r) && r.head.Status == 200 {
			t.Errorf("%s: %v; the caller has %+v, %q", name, got, r.head, r.body.String())
		}
	}
}

// TestLabelOfAnswerToUnread: a deny that asks for what the content tells counts the
// model that a request names, and any if the request was not read to its end.
func TestLabelOfAnswerToUnread(t *testing.T) {
	l := newLabels(t)
	const content = "rows of a data set"
	for name, c := range map[string]struct {
		asked string
		want  crossingv1.Reason
	}{
		"of the model that is denied": {`{"model":"large"}`, crossingv1.Reason_FORBIDDEN_ANSWER},
		"of another":                  {`{"model":"small"}`, 0},
		"of another, and endless":     {long(2*hold.Usual, `"}`), crossingv1.Reason_FORBIDDEN_ANSWER},
	} {
		w := l.world(t, nil)
		w.policies.Current = l.policyWhen(t, is("ai.model", "large"))
		w.egress.cfg.Authz.(*authz.Authorizer).ReadBy(protocols.Of)
		w.ingress.cfg.Authz.(*authz.Authorizer).ReadBy(protocols.Of)
		token := l.on(t, "POST /v1/chat/completions", "restricted", content)
		w.destination = func(r *upstream.Request) (*upstream.Response, error) {
			_, err := readAll(r)
			return shown(200, content, token), err
		}
		r := w.ask(t, request("POST", "/v1/chat/completions", c.asked, l7.Field{Name: "content-type", Value: "application/json"}))
		if near, far := w.near.account(t).Close, w.far.account(t).Close; near.GetReason() != c.want || far.GetReason() != c.want || (r.head.Status == 200) != (c.want == 0) {
			t.Errorf("%s: near %v, far %v, status %d", name, near, far, r.head.Status)
		}
	}
}

// deaf takes every answer for one without a label.
type deaf struct{ authorizer }

func (deaf) Answer(*authz.Verdict, *l7.ResponseHead, time.Time) *authz.Answer { return nil }

// TestLabelOfNothing: an answer without content is what a label of no bytes speaks of.
func TestLabelOfNothing(t *testing.T) {
	l := newLabels(t)
	for content, want := range map[string]crossingv1.Reason{"": 0, "x": crossingv1.Reason_BAD_LABEL} {
		a := shown(200, "", l.of(t, "internal", content))
		a.Ended = true
		w := l.world(t, a)
		r := w.ask(t, request("POST", "/v1/chat", "hello"))
		if got := w.far.account(t).Close; got.GetReason() != want || (r.head.Status == 200) != (want == 0) {
			t.Errorf("of %q: %v, status %d", content, got, r.head.Status)
		}
	}
}

// TestNoLabelCostsNothing, of an answer.
func TestNoLabelCostsNothing(t *testing.T) {
	w := newLabels(t).world(t, nil)
	a := account{cfg: &w.egress.cfg}
	req, head, v := new(l7.RequestHead), &answer(200, "").Head, new(authz.Verdict)
	if n := testing.AllocsPerRun(100, func() {
		if !a.begins(v, req, head, false) || a.labelled != nil {
			t.Error("it may not go on")
		}
	}); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
