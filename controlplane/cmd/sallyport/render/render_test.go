package render

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	yaml "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/dataclass"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Whoever reads our JSON with protojson gets the message back, and so does
// whoever reads our YAML.
func TestMessageIsProtojson(t *testing.T) {
	in, err := os.ReadFile(filepath.Join("testdata", "records", "in.json"))
	if err != nil {
		t.Fatal(err)
	}
	var messages []proto.Message
	for _, r := range list[crossingv1.Record](t, in) {
		messages = append(messages, r)
	}
	messages = append(messages,
		&policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{"b": {0xff, 0xfe}, "a": {}}},
		&controlv1.PublishResponse{Serial: 1<<64 - 1, Behind: []string{"a", ""}, Took: durationpb.New(-41 * time.Millisecond)},
		&policyv1.Comparison{Attribute: "ai.model", Operator: policyv1.Comparison_PREFIX, Literals: []string{"<gpt> & \u2028 \"x\""}},
		&crossingv1.Refusal{Reason: 99, Count: 1 << 53, Second: timestamppb.New(time.Unix(0, 1))},
		&policyv1.Policy{},
	)
	for _, m := range messages {
		roundTrip(t, m, Message(m))
		roundTrip(t, m, Sparse(m))
	}
}

func roundTrip(t *testing.T, m proto.Message, o Object) {
	t.Helper()
	var indented, line, text bytes.Buffer
	for _, err := range []error{WriteJSON(&indented, o), WriteLine(&line, o), WriteYAML(&text, o)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(line.String(), "\n"); n != 1 || !strings.HasSuffix(line.String(), "\n") {
		t.Errorf("WriteLine wrote %d lines: %q", n, line.String())
	}
	for _, doc := range [][]byte{indented.Bytes(), line.Bytes(), fromYAML(t, text.Bytes())} {
		back := m.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal(doc, back); err != nil {
			t.Errorf("protojson does not read %s: %v", doc, err)
			continue
		}
		if diff := cmp.Diff(m, back, protocmp.Transform()); diff != "" {
			t.Errorf("read back otherwise:\n%s", diff)
		}
	}
}

func fromYAML(t *testing.T, text []byte) []byte {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatalf("yaml does not read %q: %v", text, err)
	}
	doc, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// 64-bit numbers are numbers, false booleans are there, and order is the schema's.
func TestMessageDiffersFromProtojsonWhereItSays(t *testing.T) {
	var out bytes.Buffer
	if err := WriteLine(&out, Message(&controlv1.TransitionStatus{To: "aws", Allowed: 1 << 60, From: "onprem"})); err != nil {
		t.Fatal(err)
	}
	const want = `{"from":"onprem","to":"aws","open":false,"allowed":1152921504606846976}` + "\n"
	if out.String() != want {
		t.Errorf("got %s want %s", out.String(), want)
	}
	if o := Sparse(&controlv1.TransitionStatus{}); len(o) != 0 {
		t.Errorf("Sparse of an empty message = %v, want nothing", o)
	}
}

// What a string is in YAML it stays when read back, even if it looks like
// something else, and no text breaks out of its line in JSON.
func TestStringsSurvive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"", "true", "null", "~", "1e3", "0x10", "2026-11-23", "- a", "a: b", "#", " x ", "line\nline\n", "|", "\t", "?", "<<", "=",
		})).Draw(rt, "s")
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r == 0xFEFF || r == 0xFFFE || r == 0xFFFF }) {
			rt.Skip("not text")
		}
		var js, ys bytes.Buffer
		if err := WriteLine(&js, Strings(s)); err != nil {
			rt.Fatal(err)
		}
		if err := WriteYAML(&ys, Strings(s)); err != nil {
			rt.Fatal(err)
		}
		var fromJSON, fromYAML []string
		if err := json.Unmarshal(js.Bytes(), &fromJSON); err != nil || fromJSON[0] != s {
			rt.Errorf("JSON of %q is %q: %v", s, js.String(), err)
		}
		if err := yaml.Unmarshal(ys.Bytes(), &fromYAML); err != nil || fromYAML[0] != s {
			rt.Errorf("YAML of %q is %q: %v", s, ys.String(), err)
		}
	})
}

func TestEmptyListsAreLists(t *testing.T) {
	for f, want := range map[Format]string{JSON: "[]\n", YAML: "[]\n"} {
		var out bytes.Buffer
		write := WriteJSON
		if f == YAML {
			write = WriteYAML
		}
		if err := write(&out, List{}); err != nil || out.String() != want {
			t.Errorf("%s of an empty list = %q, %v", f, out.String(), err)
		}
	}
}

func TestFormatSet(t *testing.T) {
	for _, name := range Formats() {
		var f Format
		if err := f.Set(name); err != nil || f.String() != name {
			t.Errorf("Set(%q) = %v, %s", name, err, f)
		}
	}
	var f Format
	if err := f.Set("xml"); err == nil || !strings.Contains(err.Error(), "table, json, yaml") {
		t.Errorf("Set(xml) = %v, want the choices", err)
	}
}

// No cell, whatever it holds, makes another row, or another column begin elsewhere.
func TestGridLinesUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rows := rapid.SliceOfN(rapid.String(), 1, 6).Draw(rt, "cells")
		g := NewGrid("FIRST", "SECOND")
		for _, c := range rows {
			g.Row(c, "|")
		}
		var out bytes.Buffer
		if err := g.Flush(&out); err != nil {
			rt.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			rt.Fatalf("%d rows became %d lines: %q", len(rows), len(lines)-1, out.String())
		}
		at := columns(lines[0][:strings.Index(lines[0], "SECOND")])
		for _, l := range lines[1:] {
			if got := columns(strings.TrimSuffix(l, "|")); got != at {
				rt.Errorf("second column of %q begins at %d, want %d", l, got, at)
			}
		}
	})
}

func TestGridFlushesAsItGrows(t *testing.T) {
	var out bytes.Buffer
	g := NewGrid("A", "B").Least(3)
	g.Row("1", "x")
	_ = g.Flush(&out)
	g.Row("12345", "y")
	_ = g.Flush(&out)
	if want := "A    B\n1    x\n12345  y\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestWords(t *testing.T) {
	tests := []struct{ name, got, want string }{
		{"long revision", Short("sha256:9d1c0a11"), "sha256:9d1c…"},
		{"short revision", Short("sha256:9d1c"), "sha256:9d1c"},
		{"no algorithm", Short("9d1c0a11"), "9d1c0a11"},
		{"name of an ID", Name("spiffe://aws.demo/sallyport/gateway/aws-1"), "aws-1"},
		{"name of nothing", Name(""), ""},
		{"pair without an end", Pair("onprem", ""), "onprem ─► ?"},
		{"microseconds", Took(800 * time.Microsecond), "800 µs"},
		{"milliseconds", Took(41*time.Millisecond + 999*time.Microsecond), "41 ms"},
		{"seconds", Took(1904 * time.Millisecond), "1.9 s"},
		{"minutes", Took(125*time.Second + time.Millisecond), "2m5s"},
		{"negative", Took(-3 * time.Millisecond), "-3 ms"},
		{"bytes", Size(1023), "1023 B"},
		{"kibibytes", Size(1024), "1.0 KiB"},
		{"everything", Size(1<<64 - 1), "16.0 EiB"},
		{"no policy", Ref(nil), "none"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

// A reason added to the schema needs words.
func TestEveryReasonHasWords(t *testing.T) {
	for n, name := range crossingv1.Reason_name {
		if _, ok := whys()[crossingv1.Reason(n)]; !ok {
			t.Errorf("reason %s has no words", name)
		}
	}
}

func TestPrintable(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "GET /v1/models ─► ü 検", "GET /v1/models ─► ü 検"},
		{"escape", "\x1b[2J", "\ufffd[2J"},
		{"newline and tab", "a\nb\tc\r", "a\ufffdb\ufffdc\ufffd"},
		{"line separator", "a\u2028b", "a\ufffdb"},
		{"right to left", "a\u202eb", "a\ufffdb"},
		{"zero width", "a\u200bb", "a\ufffdb"},
		{"invalid", "a\xffb", "a\ufffdb"},
	}
	for _, tt := range tests {
		if got := Printable(tt.in); got != tt.want {
			t.Errorf("%s: Printable(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
}

func TestDecisionIsDenyIfOneDenied(t *testing.T) {
	allow := &crossingv1.End{Decision: crossingv1.Decision_ALLOW}
	deny := &crossingv1.End{Decision: crossingv1.Decision_DENY}
	tests := []struct {
		name            string
		egress, ingress *crossingv1.End
		want            crossingv1.Decision
	}{
		{"both allow", allow, allow, crossingv1.Decision_ALLOW},
		{"one is there", nil, allow, crossingv1.Decision_ALLOW},
		{"egress denies", deny, allow, crossingv1.Decision_DENY},
		{"ingress denies", allow, deny, crossingv1.Decision_DENY},
		{"no decision is a denial", allow, &crossingv1.End{}, crossingv1.Decision_DENY},
		{"no half", nil, nil, crossingv1.Decision_DECISION_UNSPECIFIED},
	}
	for _, tt := range tests {
		if got := Decision(&crossingv1.Record{Egress: tt.egress, Ingress: tt.ingress}); got != tt.want {
			t.Errorf("%s: Decision = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestSortIsByOpening(t *testing.T) {
	at := func(id string, s int64) *crossingv1.Record {
		return &crossingv1.Record{Id: id, Ingress: &crossingv1.End{Open: timestamppb.New(time.Unix(s, 0))}}
	}
	records := []*crossingv1.Record{at("c", 2), at("b", 1), at("a", 2), {Id: "d"}}
	Sort(records)
	var got []string
	for _, r := range records {
		got = append(got, r.GetId())
	}
	if diff := cmp.Diff([]string{"d", "b", "a", "c"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestExplanationOfDigests: where content must be listed, an explanation says so.
func TestExplanationOfDigests(t *testing.T) {
	for _, required := range []bool{true, false} {
		e := policy.Explanation{Query: policy.Query{To: &policy.Workload{Name: "llm"}}, Decision: policy.Decision{Allow: true, Digest: required}}
		var text bytes.Buffer
		if err := Explanation(&text, e, dataclass.View{}, policy.Ref{}); err != nil {
			t.Fatal(err)
		}
		if said := regexp.MustCompile(`(?m)^ *content .*SHA-256`).MatchString(text.String()); said != required {
			t.Errorf("required %v:\n%s", required, text.String())
		}
	}
}

// TestExplanationOfTheRecord: where calls are recorded in another way than the usual
// one, or go on without a record, an explanation says so, in both forms.
func TestExplanationOfTheRecord(t *testing.T) {
	for _, c := range []struct {
		transition policy.Transition
		want       []string // in a line that begins with "record"; no line if empty
		record     string
		outage     string
	}{
		{policy.Transition{Durable: true}, nil, "durable", "refuse"},
		{policy.Transition{Durable: true, GoesOn: true}, []string{"outage: alarm"}, "durable", "alarm"},
		{policy.Transition{}, []string{"record: async"}, "async", "refuse"},
		{policy.Transition{GoesOn: true}, []string{"record: async", "outage: alarm"}, "async", "alarm"},
	} {
		e := policy.Explanation{Query: policy.Query{To: &policy.Workload{Name: "llm"}}, Decision: policy.Decision{Transition: &c.transition}}
		var text, value bytes.Buffer
		if err := Explanation(&text, e, dataclass.View{}, policy.Ref{}); err != nil {
			t.Fatal(err)
		}
		line := regexp.MustCompile(`(?m)^ *record .*$`).FindString(text.String())
		if (line == "") != (len(c.want) == 0) {
			t.Errorf("%+v: %q", c.transition, line)
		}
		for _, want := range c.want {
			if !strings.Contains(line, want) {
				t.Errorf("%+v: %q, want %q in it", c.transition, line, want)
			}
		}
		if err := WriteJSON(&value, ExplanationValue(e, dataclass.View{}, policy.Ref{})); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Transition struct{ Record, Outage string }
		}
		if err := json.Unmarshal(value.Bytes(), &got); err != nil || got.Transition.Record != c.record || got.Transition.Outage != c.outage {
			t.Errorf("%+v: %+v, %v", c.transition, got, err)
		}
	}
}
