package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/asked"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// ask runs the tool against a fake mesh.
func ask(t *testing.T, f *fakeMesh, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return askUntil(t.Context(), t, f, args...)
}

func askUntil(ctx context.Context, t *testing.T, f *fakeMesh, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &err, now: today, connect: f.serve(t)}
	code = a.run(ctx, args)
	return code, out.String(), err.String()
}

func TestCrossingsAskForWhatTheFlagsSay(t *testing.T) {
	f := newFakeMesh(t)
	tests := []struct {
		name string
		args string
		want *controlv1.ListCrossingsRequest
	}{
		{"nothing", "", &controlv1.ListCrossingsRequest{}},
		{"environments", "--from onprem --to azure", &controlv1.ListCrossingsRequest{From: "onprem", To: "azure"}},
		{"identity", "--identity spiffe://a/b", &controlv1.ListCrossingsRequest{Identity: "spiffe://a/b"}},
		{"allowed", "--decision allow", &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_ALLOW}},
		{"in capitals", "--decision DENY", &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_DENY}},
		{"denied", "--decision deny", &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_DENY}},
		{"since a time", "--since 2026-11-23T10:15:00+01:00", &controlv1.ListCrossingsRequest{
			Since: timestamppb.New(time.Date(2026, 11, 23, 9, 15, 0, 0, time.UTC)),
		}},
		{"since a while", "--since 10m", &controlv1.ListCrossingsRequest{Since: timestamppb.New(today().Add(-10 * time.Minute))}},
		{"a state", "--state joined", &controlv1.ListCrossingsRequest{State: crossingv1.Record_JOINED}},
		{"a state of two words", "--state ONE-sided", &controlv1.ListCrossingsRequest{State: crossingv1.Record_ONE_SIDED}},
		{"a time", "--since 2026-11-23T10:15:00Z --until 5m", &controlv1.ListCrossingsRequest{
			Since: timestamppb.New(time.Date(2026, 11, 23, 10, 15, 0, 0, time.UTC)), Until: timestamppb.New(today().Add(-5 * time.Minute)),
		}},
		{"a page", "--limit 2 --before 01A207E6-e4d8-7d3e-9a54-000000000002", &controlv1.ListCrossingsRequest{
			Limit: 2, Before: "01a207e6-e4d8-7d3e-9a54-000000000002",
		}},
		{"AI services", "--ai", &controlv1.ListCrossingsRequest{Ai: true}},
		{"what they are asked for", "--model gpt- --tool search --data-class internal", &controlv1.ListCrossingsRequest{
			ModelPrefix: "gpt-", Tool: "search", DataClass: "internal",
		}},
		{"owner and limit", "--owner ml-platform --limit 3", &controlv1.ListCrossingsRequest{Owner: "ml-platform", Limit: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ask(t, f, append([]string{"crossings"}, strings.Fields(tt.args)...)...)
			if diff := cmp.Diff(tt.want, f.asked, protocmp.Transform()); diff != "" {
				t.Errorf("crossings %s asked (-want +got):\n%s", tt.args, diff)
			}
		})
	}
}

// A follower gets each record when it comes, one on each line, and ends well when
// it is interrupted.
func TestFollowIsALineForEachRecord(t *testing.T) {
	for _, format := range []string{"table", "json", "yaml"} {
		t.Run(format, func(t *testing.T) {
			f := newFakeMesh(t)
			lines := &lineCounter{want: len(f.records) - 1, mark: "01a207e6"} // one of them is open
			ctx, cancel := context.WithCancel(t.Context())
			lines.done = cancel
			f.onFollow = func() {}
			a := &app{stdin: strings.NewReader(""), stdout: lines, stderr: &bytes.Buffer{}, now: today, connect: f.serve(t)}
			if code := a.run(ctx, []string{"crossings", "--follow", "-o", format}); code != yes {
				t.Errorf("exit %d after an interrupt, want 0: %s", code, a.stderr)
			}
			if format != "json" {
				return
			}
			for line := range strings.Lines(lines.text.String()) {
				var record map[string]any
				if err := json.Unmarshal([]byte(line), &record); err != nil || record["id"] == nil {
					t.Errorf("line %q is no record: %v", line, err)
				}
			}
		})
	}
}

// Whoever follows those of one state is shown the crossings that end in it, and not
// each that was in it for a moment: the mesh has to tell of all.
func TestFollowOfAState(t *testing.T) {
	f := newFakeMesh(t)
	wanted := f.records[0].GetState()
	lines := &lineCounter{mark: "01a207e6"}
	for _, r := range f.records {
		if r.GetState() == wanted {
			lines.want++
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	lines.done = cancel
	f.onFollow = func() {}
	a := &app{stdin: strings.NewReader(""), stdout: lines, stderr: &bytes.Buffer{}, now: today, connect: f.serve(t)}
	if code := a.run(ctx, []string{"crossings", "--follow", "--state", asked.Word(wanted), "-o", "json"}); code != yes {
		t.Errorf("exit %d after an interrupt, want 0: %s", code, a.stderr)
	}
	if lines.want == 0 || lines.want == len(f.records) {
		t.Fatalf("%d of %d records are %s: it shows nothing", lines.want, len(f.records), wanted)
	}
	text := lines.text.String()
	if n := strings.Count(text, `"state":"`+wanted.String()+`"`); n != lines.want || n != strings.Count(text, "\n") {
		t.Errorf("%d of them:\n%s", n, text)
	}
	if f.asked.GetState() != crossingv1.Record_STATE_UNSPECIFIED {
		t.Errorf("the mesh was asked for %s alone", f.asked.GetState())
	}
}

// An interrupt is no answer, so it is not a yes.
func TestInterruptedIsNotAYes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range []string{"transitions", "crossings", "gateways", "workloads register llm --address 10.2.3.9"} {
		code, stdout, stderr := askUntil(ctx, t, newFakeMesh(t), strings.Fields(args)...)
		if code != couldNotSay || stdout != "" || !strings.Contains(stderr, "interrupted") {
			t.Errorf("%s = %d, %q, %q; want exit 2 that says it was interrupted", args, code, stdout, stderr)
		}
	}
}

// lineCounter calls done when a mark was written so many times.
type lineCounter struct {
	text strings.Builder
	mark string
	want int
	done func()
}

func (c *lineCounter) Write(p []byte) (int, error) {
	c.text.Write(p)
	if strings.Count(c.text.String(), c.mark) >= c.want {
		c.done()
	}
	return len(p), nil
}

func TestTraceIsInTimeOrder(t *testing.T) {
	f := newFakeMesh(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, r := range f.records {
		r.Trace = trace
	}
	f.records[0], f.records[2] = f.records[2], f.records[0]
	code, stdout, stderr := ask(t, f, "trace", trace, "-o", "json")
	if code != yes {
		t.Fatalf("trace = %d, %s", code, stderr)
	}
	var records []struct{ ID string }
	if err := json.Unmarshal([]byte(stdout), &records); err != nil {
		t.Fatal(err)
	}
	var last []string
	for _, r := range records[2:] { // the first two have no time
		last = append(last, r.ID[len(r.ID)-1:])
	}
	if diff := cmp.Diff([]string{"8", "2", "3", "4", "7", "8"}, last); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestCompletionOffersFormats(t *testing.T) {
	code, stdout, _ := ask(t, newFakeMesh(t), "__complete", "transitions", "-o", "")
	if code != yes || !strings.HasPrefix(stdout, "table\njson\nyaml\n") {
		t.Errorf("completion of -o = %d, %q", code, stdout)
	}
	if code, stdout, _ := ask(t, newFakeMesh(t), "completion", "bash"); code != yes || !strings.Contains(stdout, "sallyport") {
		t.Errorf("completion bash = %d, %d bytes", code, len(stdout))
	}
}

// A control plane that shows a policy which the operator's keys did not sign is
// not believed.
func TestAnUnsignedPolicyIsNotShown(t *testing.T) {
	f := newFakeMesh(t)
	enter(t, "testdata/sessions/policy")
	if code, _, stderr := ask(t, f, "policy", "apply", "policy.yaml"); code != yes {
		t.Fatalf("apply = %d, %s", code, stderr)
	}
	f.signed.Signatures[0].Ed25519[0] ^= 1
	for _, args := range [][]string{{"policy", "show"}, {"workloads", "list"}, {"policy", "diff", "policy.yaml"}, {"policy", "apply", "next.yaml"}} {
		code, stdout, stderr := ask(t, f, args...)
		if code != couldNotSay || stdout != "" || !strings.Contains(stderr, "under your key set") {
			t.Errorf("%v = %d, %q, %q; want exit 2 that says it did not verify", args, code, stdout, stderr)
		}
	}
}

// What show writes can be applied again and is the same policy.
func TestShownPolicyCanBeAppliedAgain(t *testing.T) {
	f := newFakeMesh(t)
	enter(t, "testdata/sessions/policy")
	if code, _, stderr := ask(t, f, "policy", "apply", "policy.yaml"); code != yes {
		t.Fatalf("apply = %d, %s", code, stderr)
	}
	_, shown, _ := ask(t, f, "policy", "show", "-o", "yaml")
	write(t, "shown.yaml", []byte(shown))
	code, stdout, stderr := ask(t, f, "policy", "apply", "shown.yaml")
	if code != yes || !strings.Contains(stdout, "in force already") {
		t.Errorf("apply what was shown = %d, %q, %q; want that it is in force already", code, stdout, stderr)
	}
}
