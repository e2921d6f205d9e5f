// Package tour shows a local mesh at work: it makes calls that must cross and
// calls that must not, and holds each against its record. It is the demo's
// script and a test of the whole: a step that does not do what it should fails
// the tour.
package tour

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// recordTimeout bounds the wait for both halves of a record.
const recordTimeout = 10 * time.Second

// column is where a step's outcome is written.
const column = 51

// Tour is one walk through a mesh.
type Tour struct {
	out     io.Writer
	mesh    *localmesh.Mesh
	tool    string
	client  *http.Client
	trace   string // W3C trace id of all the tour's calls
	records []*crossingv1.Record
}

// step is one call and what must come of it.
type step struct {
	title string
	run   func(t *Tour, ctx context.Context) (*outcome, error)
}

// outcome is what a step says, once its record is there.
type outcome struct {
	crossing string // id
	allowed  bool   // what must have been decided
	detail   string // second line, left
	measured string // second line, right; or the first line's end
	// holds says of the record what is measured, or what is wrong with it; nil if nothing
	// beyond the decision is.
	holds func(r *crossingv1.Record) (measured string, err error)
}

var steps = []step{
	{"orchestrator asks the llm in azure", (*Tour).ask},
	{"the answer streams", (*Tour).stream},
	{"the caller leaves in the middle of one", (*Tour).leave},
	{"it asks for a larger model", (*Tour).larger},
	{"it asks the retriever in aws for its tools", (*Tour).tools},
	{"it calls the one that it does not see", (*Tour).delete},
	{"it embeds twice, where once a second is allowed", (*Tour).embed},
	{"orchestrator asks the registry in aws", (*Tour).denied},
}

// StepError is a step that did not do what it should. It is an answer about the
// mesh, and no error of the tour.
type StepError struct {
	// Step is its number, from 1.
	Step int
	// Title says what was tried.
	Title string
	// Err is what came instead.
	Err error
}

// Error names the step.
func (f *StepError) Error() string { return fmt.Sprintf("step %d, %s: %v", f.Step, f.Title, f.Err) }

// Unwrap is what came instead.
func (f *StepError) Unwrap() error { return f.Err }

// Misfit says what a policy decides otherwise than the tour needs, "" if nothing.
// A policy is its owner's to change; the tour is written for the one that the mesh
// began with.
func Misfit(p *policy.Policy, now time.Time) string {
	chat := func(model string) map[string]string {
		return map[string]string{"ai.operation": "chat", "ai.model": model}
	}
	for i, need := range []struct {
		to, service string
		with        map[string]string
		allow       bool
		limited     bool
	}{
		{"llm", "chat", chat(small), true, false},
		{"llm", "chat", chat(small), true, false},
		{"llm", "chat", chat(small), true, false},
		{"llm", "chat", chat(large), false, false},
		{"retriever", "mcp", map[string]string{"ai.operation": "list_tools"}, true, false},
		{"retriever", "mcp", map[string]string{"ai.operation": "call_tool", "ai.tool": "delete_document"}, false, false},
		{"llm", "chat", map[string]string{"ai.operation": "embeddings", "ai.model": small}, true, true},
		{"registry", "models", map[string]string{"http.method": http.MethodGet, "http.path": "/v2/"}, false, false},
	} {
		e, err := policy.Explain(p, "orchestrator", need.to, need.service, need.with, now)
		d := e.Decision
		switch {
		case err != nil:
			return fmt.Sprintf("%s: %v", steps[i].title, err)
		case (d.Allow && !d.Digest && !d.Proof) != need.allow || d.Limited != need.limited:
			return fmt.Sprintf("%s: %s", steps[i].title, e.Summary)
		}
	}
	return ""
}

// Run walks through the mesh and writes what it sees to out. tool is how the
// operator's tool is called to ask this mesh. A step that fails does not keep the
// others from being tried: the error joins a *StepError for each. Any other error
// means that the tour could not be made.
func Run(ctx context.Context, out io.Writer, m *localmesh.Mesh, tool string) error {
	client, err := m.Client(ctx, "orchestrator")
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	t := &Tour{out: out, mesh: m, tool: tool, client: client, trace: randomHex(16)}
	return t.walk(ctx, steps)
}

// walk tries each step, whatever became of the one before.
func (t *Tour) walk(ctx context.Context, steps []step) error {
	var failures []error
	for i, s := range steps {
		err := t.step(ctx, i+1, s)
		if ctx.Err() != nil {
			return ctx.Err() // the mesh is going down: nothing is learnt from its steps
		}
		if err != nil {
			t.line(fmt.Sprintf("%d. %s", i+1, s.title), "did not do what it should")
			failures = append(failures, &StepError{Step: i + 1, Title: s.title, Err: err})
		}
	}
	if len(failures) > 0 {
		fmt.Fprintf(t.out, "\nWhat was recorded of it:\n  $ %s trace %s\n", t.tool, t.trace)
		return errors.Join(failures...)
	}
	return t.summary()
}

func (t *Tour) step(ctx context.Context, n int, s step) error {
	o, err := s.run(t, ctx)
	if err != nil {
		return err
	}
	r, err := t.record(ctx, o.crossing)
	if err != nil {
		return err
	}
	if err := check(r, o); err != nil {
		return err
	}
	if o.holds != nil {
		if o.measured, err = o.holds(r); err != nil {
			return err
		}
	}
	t.records = append(t.records, r)
	right := verdict(r)
	if o.detail == "" && o.measured != "" {
		right = o.measured
	}
	t.line(fmt.Sprintf("%d. %s", n, s.title), right)
	if o.detail != "" {
		t.line("   "+o.detail, o.measured)
	}
	return nil
}

func (t *Tour) line(left, right string) {
	fmt.Fprintf(t.out, "%s%s%s\n", left, strings.Repeat(" ", max(1, column-len([]rune(left)))), right)
}

// record waits until the crossing's record is whole.
func (t *Tour) record(ctx context.Context, id string) (*crossingv1.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	stream, err := controlv1.NewCrossingServiceClient(t.mesh.API()).ListCrossings(ctx,
		&controlv1.ListCrossingsRequest{Id: id, Follow: true}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("ask for the record of %s: %w", id, err)
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("wait for the record of %s: %w", id, err)
		}
		switch r.GetState() {
		case crossingv1.Record_JOINED, crossingv1.Record_DENIED, crossingv1.Record_REFUSED, crossingv1.Record_DISAGREE:
			return r, nil
		}
	}
}

// check holds a record against what the step must have come to.
func check(r *crossingv1.Record, o *outcome) error {
	state, decision := crossingv1.Record_DENIED, crossingv1.Decision_DENY
	if o.allowed {
		state, decision = crossingv1.Record_JOINED, crossingv1.Decision_ALLOW
	}
	switch {
	case r.GetState() != state:
		return fmt.Errorf("its record is %s (%s), want %s", r.GetState(), strings.Join(r.GetDifferences(), ", "), state)
	case render.Decision(r) != decision:
		return fmt.Errorf("its record says %s, want %s", render.Decision(r), decision)
	case r.GetTransition().GetOwner() == "":
		return fmt.Errorf("its record names no owner")
	case r.GetEgress().GetPolicy().GetRevision() == "":
		return fmt.Errorf("its record names no policy revision")
	}
	return nil
}

func verdict(r *crossingv1.Record) string {
	e := r.GetEgress()
	switch {
	case e.GetDecision() == crossingv1.Decision_ALLOW:
		return "allowed by " + e.GetIntent()
	case e.GetReason() == crossingv1.Reason_DENIED_BY_INTENT:
		return "denied by " + e.GetIntent() + ". Owner: " + r.GetTransition().GetOwner()
	case e.GetReason() == crossingv1.Reason_NO_INTENT:
		return "denied: no intent allows it. Owner: " + r.GetTransition().GetOwner()
	}
	return "denied: " + e.GetReason().String() + ". Owner: " + r.GetTransition().GetOwner()
}

// summary traces the whole tour, and counts.
func (t *Tour) summary() error {
	fmt.Fprintf(t.out, "\nEvery attempt has one record:\n  $ %s trace %s\n", t.tool, t.trace)
	if err := render.Trace(t.out, t.records, false); err != nil {
		return err
	}
	crossed, denied := 0, 0
	for _, r := range t.records {
		if r.GetState() == crossingv1.Record_DENIED {
			denied++
		} else {
			crossed++
		}
	}
	fmt.Fprintf(t.out, "\n  %d attempts: %d crossed, recorded at both ends and agreeing; %d denied at the near gateway, which is all there is to record.\n",
		len(t.records), crossed, denied)
	fmt.Fprintf(t.out, "\nEach can be proven to somebody who trusts nobody:\n"+
		"  $ %[1]s log keys > keys\n  $ %[1]s log prove %[2]s > crossing.tlog-proof\n  $ sallyport-verify --keys keys crossing.tlog-proof\n",
		t.tool, t.records[0].GetId())
	return nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // it never fails (crypto/rand)
	return hex.EncodeToString(b)
}
