package policy

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestVector holds the canonical form still: a change of it is a change of
// every policy's name.
func TestVector(t *testing.T) {
	want, err := os.ReadFile("testdata/example.json")
	if err != nil {
		t.Fatal(err)
	}
	revision, err := os.ReadFile("testdata/example.revision")
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
		if len(Validate(p)) > 0 {
			return
		}
		c, err := Compile(p, Ref{})
		if err != nil {
			t.Fatalf("valid, but does not compile: %v", err)
		}
		for _, from := range c.Workloads() {
			for _, to := range c.Workloads() {
				for _, service := range asked("", to) {
					c.ReachOf(from, to, service, noon())
				}
			}
		}
	})
}
