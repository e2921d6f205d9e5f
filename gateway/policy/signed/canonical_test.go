package signed

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gowebpki/jcs"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// example is the policy of the testdata of the package policy.
func example(t testing.TB) *policyv1.Policy {
	t.Helper()
	b, err := os.ReadFile("../testdata/example.json")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestVector holds the canonical form still: a change of it is a change of
// every policy's name.
func TestVector(t *testing.T) {
	want, err := os.ReadFile("../testdata/example.json")
	if err != nil {
		t.Fatal(err)
	}
	revision, err := os.ReadFile("../testdata/example.revision")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Canonical(example(t))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("Canonical: %v\n%s", err, got)
	}
	if r := Revision(want); r != strings.TrimSpace(string(revision)) {
		t.Errorf("Revision = %s", r)
	}
}

// TestCanonicalIsRFC8785 asks another implementation.
func TestCanonicalIsRFC8785(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := &policyv1.Policy{
			Version: rapid.Uint32().Draw(rt, "version"),
			Policy:  rapid.String().Draw(rt, "policy"),
			Workloads: map[string]*policyv1.Workload{"x": {
				Labels: rapid.MapOf(rapid.String(), rapid.String()).Draw(rt, "labels"),
				Data:   &policyv1.DataRule{MayLabel: rapid.Bool().Draw(rt, "bool")},
			}},
			DataClasses: rapid.SliceOf(rapid.String()).Draw(rt, "classes"),
		}
		got, err := Canonical(p)
		if err != nil {
			rt.Skip(err)
		}
		text, err := protojson.Marshal(p)
		if err != nil {
			rt.Fatal(err)
		}
		want, err := jcs.Transform(text)
		if err != nil {
			rt.Skip(err)
		}
		if !bytes.Equal(got, want) {
			rt.Fatalf("got  %q\nwant %q", got, want)
		}
		back, err := Decode(got)
		if err != nil || !proto.Equal(back, p) {
			rt.Fatalf("Decode: %v, %v", back, err)
		}
	})
}

func TestCanonicalLeavesThePolicyAlone(t *testing.T) {
	p := example(t)
	p.Intents[0], p.Intents[1] = p.Intents[1], p.Intents[0]
	before := proto.CloneOf(p)
	b, err := Canonical(p)
	if err != nil || !proto.Equal(p, before) {
		t.Errorf("it was changed: %v", err)
	}
	if want, _ := Canonical(example(t)); !bytes.Equal(b, want) {
		t.Error("another order, another form")
	}
}

// TestOrderNeverMatters: a policy has one revision, in whichever order it is written.
func TestOrderNeverMatters(t *testing.T) {
	want, err := Canonical(example(t))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		p := example(t)
		p.Intents = rapid.Permutation(p.Intents).Draw(rt, "intents")
		p.Transitions = rapid.Permutation(p.Transitions).Draw(rt, "transitions")
		p.Tests = rapid.Permutation(p.Tests).Draw(rt, "tests")
		for _, e := range p.Environments {
			slices.Reverse(e.Networks)
		}
		got, err := Canonical(p)
		if err != nil || Revision(got) != Revision(want) {
			rt.Fatalf("two revisions of one policy: %v\n%s", err, got)
		}
	})
}

// TestUnsaidIsNotThere: what a policy does not say is not in its bytes, so that
// policies from before a field keep their revision.
func TestUnsaidIsNotThere(t *testing.T) {
	for _, c := range []struct {
		field, text string
		say         func(*policyv1.Intent)
	}{
		{"idempotent", `"idempotent":true`, func(in *policyv1.Intent) { in.Idempotent = true }},
		{"workloadProof", `"require":{"workloadProof":true}`, func(in *policyv1.Intent) { in.Require = &policyv1.Require{WorkloadProof: true} }},
	} {
		p := example(t)
		before, err := Canonical(p)
		if err != nil || bytes.Contains(before, []byte(c.field)) {
			t.Fatalf("%s: Canonical: %v, %s", c.field, err, before)
		}
		c.say(p.Intents[0])
		after, err := Canonical(p)
		if err != nil || !bytes.Contains(after, []byte(c.text)) {
			t.Fatalf("%s: Canonical: %v, %s", c.field, err, after)
		}
		Normalize(p)
		if back, err := Decode(after); err != nil || !proto.Equal(back, p) {
			t.Errorf("%s: Decode: %v, %v", c.field, err, back)
		}
	}
}

func TestNormalizeKeepsWhatHasOrder(t *testing.T) {
	p := example(t)
	classes, layers := []string{"c", "b", "a"}, p.Environments["onprem"].Layers
	p.DataClasses = classes
	first := layers[0].Layer
	Normalize(p)
	if p.DataClasses[0] != "c" || p.Environments["onprem"].Layers[0].Layer != first {
		t.Error("what has an order lost it")
	}
}

func TestDecodeIsStrict(t *testing.T) {
	good, err := Canonical(example(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		text string
		is   error
	}{
		{"space", " " + string(good), ErrNotCanonical},
		{"line end", string(good) + "\n", ErrNotCanonical},
		{"order of keys", strings.Replace(string(good), `{"dataClasses":["public","internal","restricted"],`, `{"version":1,"dataClasses":["public","internal","restricted"],`, 1), nil},
		{"unknown key", strings.Replace(string(good), `{"dataClasses"`, `{"aaa":1,"dataClasses"`, 1), nil},
		{"duplicate key", strings.Replace(string(good), `{"dataClasses"`, `{"dataClasses":[],"dataClasses"`, 1), nil},
		{"name of the schema", strings.Replace(string(good), `"dataClasses"`, `"data_classes"`, 1), ErrNotCanonical},
		{"empty field", strings.Replace(string(good), `"dialOut":true`, `"dialOut":true,"tunnel":""`, 1), ErrNotCanonical},
		{"escape", strings.Replace(string(good), `"acme-ai"`, `"\u0061cme-ai"`, 1), ErrNotCanonical},
		{"number as text", strings.Replace(string(good), `"version":1`, `"version":"1"`, 1), ErrNotCanonical},
		{"not JSON", "policy", nil},
		{"nothing", "", nil},
		{"too long", strings.Repeat(" ", MaxCanonical+1), nil},
	} {
		p, err := Decode([]byte(c.text))
		if err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, %v", c.name, p, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	seed, err := Canonical(example(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"policy":"x","version":1}`))
	f.Add([]byte(`{"intents":[{"condition":{"not":{"not":{}}}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Canonical(p)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("one policy, two forms: %v\n%s\n%s", err, b, again)
		}
		if len(policy.Validate(p)) > 0 {
			return
		}
		c, err := policy.Compile(p, policy.Ref{})
		if err != nil {
			t.Fatalf("valid, but does not compile: %v", err)
		}
		for _, from := range c.Workloads() {
			for _, to := range c.Workloads() {
				c.ReachOf(from, to, "", noon)
				for i := range to.Services {
					c.ReachOf(from, to, to.Services[i].Name, noon)
				}
			}
		}
	})
}
