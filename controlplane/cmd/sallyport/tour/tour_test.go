package tour

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/deploy/local"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/source"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// joined is a record as a step that was allowed must leave it.
func joined() *crossingv1.Record {
	end := func() *crossingv1.End {
		return &crossingv1.End{
			Decision: crossingv1.Decision_ALLOW, Intent: "plan-with-the-llm",
			Policy: &crossingv1.PolicyRef{Serial: 1, Revision: "sha256:ab"},
		}
	}
	return &crossingv1.Record{
		State: crossingv1.Record_JOINED, Agree: proto.Bool(true), Egress: end(), Ingress: end(),
		Transition: &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform"},
	}
}

// denied is a record as a step that was denied must leave it.
func denied(reason crossingv1.Reason, intent string) *crossingv1.Record {
	r := joined()
	r.State, r.Agree, r.Ingress = crossingv1.Record_DENIED, nil, nil
	r.Egress.Decision, r.Egress.Reason, r.Egress.Intent = crossingv1.Decision_DENY, reason, intent
	return r
}

func TestCheck(t *testing.T) {
	noIntent := denied(crossingv1.Reason_NO_INTENT, "")
	for _, c := range []struct {
		name    string
		record  *crossingv1.Record
		change  func(r *crossingv1.Record)
		allowed bool
		want    string // empty for good
	}{
		{"allowed", joined(), nil, true, ""},
		{"denied", noIntent, nil, false, ""},
		{"allowed though it must not be", joined(), nil, false, "its record is JOINED (), want DENIED"},
		{"denied though it must not be", noIntent, nil, true, "its record is DENIED (), want JOINED"},
		{
			"the halves differ", joined(),
			func(r *crossingv1.Record) {
				r.State, r.Differences = crossingv1.Record_DISAGREE, []string{"requestBytes", "intent"}
			},
			true, "its record is DISAGREE (requestBytes, intent), want JOINED",
		},
		{
			"refused at the far end", joined(),
			func(r *crossingv1.Record) { r.Ingress.Decision = crossingv1.Decision_DENY },
			true, "its record says DENY, want ALLOW",
		},
		{
			"nobody owns it", joined(),
			func(r *crossingv1.Record) { r.Transition.Owner = "" },
			true, "its record names no owner",
		},
		{
			"no policy", noIntent,
			func(r *crossingv1.Record) { r.Egress.Policy = nil },
			false, "its record names no policy revision",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := proto.CloneOf(c.record)
			if c.change != nil {
				c.change(r)
			}
			got := ""
			if err := check(r, &outcome{allowed: c.allowed}); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("check(%v) = %q, want %q", r, got, c.want)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		record *crossingv1.Record
		want   string
	}{
		{"allowed", joined(), "allowed by plan-with-the-llm"},
		{"an intent denies it", denied(crossingv1.Reason_DENIED_BY_INTENT, "llm-is-closed"), "denied by llm-is-closed. Owner: ml-platform"},
		{"no intent allows it", denied(crossingv1.Reason_NO_INTENT, ""), "denied: no intent allows it. Owner: ml-platform"},
		{"another reason", denied(crossingv1.Reason_NO_POLICY, ""), "denied: NO_POLICY. Owner: ml-platform"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := verdict(c.record); got != c.want {
				t.Errorf("verdict(%v) = %q, want %q", c.record, got, c.want)
			}
		})
	}
}

var errBroken = errors.New("status 403, want 200")

// TestWalkGoesOn shows that a step which fails does not hide the next one.
func TestWalkGoesOn(t *testing.T) {
	tried := 0
	fails := func(*Tour, context.Context) (*outcome, error) {
		tried++
		return nil, errBroken
	}
	var out bytes.Buffer
	tour := &Tour{out: &out, mesh: new(localmesh.Mesh), trace: randomHex(16)}
	err := tour.walk(t.Context(), []step{{"one", fails}, {"two", fails}})
	if tried != 2 {
		t.Errorf("%d steps tried, want 2", tried)
	}
	f, ok := errors.AsType[*StepError](err)
	if !ok || f.Step != 1 || f.Title != "one" || !errors.Is(err, errBroken) {
		t.Errorf("walk() = %#v, want a StepError of step 1", err)
	}
	if want := "step 1, one: status 403, want 200\nstep 2, two: status 403, want 200"; err == nil || err.Error() != want {
		t.Errorf("walk() = %v, want %q", err, want)
	}
	if said := out.String(); !strings.Contains(said, "2. two") || !strings.Contains(said, tour.trace) || strings.Contains(said, "agreeing") {
		t.Errorf("walk() wrote %q", said)
	}
}

// TestWalkEndsWithTheMesh shows that steps of a mesh that goes down are no
// failures of theirs.
func TestWalkEndsWithTheMesh(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	steps := []step{{"one", func(*Tour, context.Context) (*outcome, error) {
		cancel()
		return nil, errBroken
	}}, {"two", func(*Tour, context.Context) (*outcome, error) {
		t.Error("a step was tried in a mesh that is down")
		return nil, nil
	}}}
	err := (&Tour{out: new(bytes.Buffer), mesh: new(localmesh.Mesh)}).walk(ctx, steps)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("walk() = %v, want %v", err, context.Canceled)
	}
	if _, failed := errors.AsType[*StepError](err); failed {
		t.Errorf("walk() = %v, which blames a step", err)
	}
}

// TestMisfit: the tour fits the policy that the demo begins with, and no policy
// that decides one of its calls otherwise.
func TestMisfit(t *testing.T) {
	text, err := local.Policy(local.Values{ReviewBy: "2999-01-01", Tunnels: map[string]string{
		"onprem-1": "127.0.0.1:1", "aws-1": "127.0.0.1:2", "azure-1": "127.0.0.1:3",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, old, replacement, want string }{
		{"the demo's", "", "", ""},
		{"the llm is shut", "intents:\n", "intents:\n  - {name: no-llm, deny: {to: llm}}\n", "orchestrator asks the llm in azure: denied by no-llm"},
		{"the registry is open", "intents:\n", "intents:\n  - {name: pull, allow: {from: orchestrator, to: registry}}\n", "orchestrator asks the registry in aws: allowed by pull"},
		{
			"the llm wants a proof", "# and no larger one\n", "\n    require: workload-proof\n",
			"orchestrator asks the llm in azure: allowed by plan-with-the-llm, with a proof of the caller's own",
		},
	} {
		changed, _, _ := strings.Cut(string(text), "\n# Run by") // its own tests would fail
		p, err := source.Load("policy.yaml", []byte(strings.Replace(changed, c.old, c.replacement, 1)))
		if err != nil {
			t.Fatal(err)
		}
		compiled, err := policy.Compile(p, policy.Ref{})
		if err != nil {
			t.Fatal(err)
		}
		if got := Misfit(compiled, time.Now()); got != c.want {
			t.Errorf("%s: Misfit = %q, want %q", c.name, got, c.want)
		}
	}
}
