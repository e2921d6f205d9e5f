package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/sought"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// A directory of testdata holds the input, an array of messages as protojson, in
// in.json, and for each way to render it a file of what comes out.
func TestGolden(t *testing.T) {
	tests := []struct {
		dir     string
		renders map[string]func(t *testing.T, in []byte, w io.Writer) error
	}{
		{"records", map[string]func(*testing.T, []byte, io.Writer) error{
			"trace.txt": func(t *testing.T, in []byte, w io.Writer) error {
				return Trace(w, list[crossingv1.Record](t, in), false)
			},
			"ids.txt": func(t *testing.T, in []byte, w io.Writer) error {
				return Trace(w, list[crossingv1.Record](t, in), true)
			},
			"crossings.txt": func(t *testing.T, in []byte, w io.Writer) error {
				g := Crossings()
				for _, r := range list[crossingv1.Record](t, in) {
					CrossingRow(g, r)
				}
				return g.Flush(w)
			},
			"calls.txt": func(t *testing.T, in []byte, w io.Writer) error {
				g, calls := Calls(), ofAI(list[crossingv1.Record](t, in))
				for _, r := range calls {
					CallRow(g, r)
				}
				if err := g.Flush(w); err != nil {
					return err
				}
				return CallTotals(w, calls)
			},
			"detail.txt": func(t *testing.T, in []byte, w io.Writer) error {
				for _, r := range list[crossingv1.Record](t, in) {
					if err := Detail(w, r); err != nil {
						return err
					}
					if _, err := io.WriteString(w, "\n"); err != nil {
						return err
					}
				}
				return nil
			},
			"first.json": func(t *testing.T, in []byte, w io.Writer) error {
				return WriteJSON(w, Message(list[crossingv1.Record](t, in)[0]))
			},
			"first.yaml": func(t *testing.T, in []byte, w io.Writer) error {
				return WriteYAML(w, Message(list[crossingv1.Record](t, in)[0]))
			},
		}},
		{"gateways", map[string]func(*testing.T, []byte, io.Writer) error{
			"table.txt": func(t *testing.T, in []byte, w io.Writer) error {
				return Gateways(w, list[controlv1.GatewayStatus](t, in), false)
			},
			"stopped.txt": func(t *testing.T, in []byte, w io.Writer) error {
				return Gateways(w, list[controlv1.GatewayStatus](t, in), true)
			},
		}},
		{"transitions", map[string]func(*testing.T, []byte, io.Writer) error{
			"table.txt": func(t *testing.T, in []byte, w io.Writer) error {
				return Transitions(w, list[controlv1.TransitionStatus](t, in))
			},
		}},
		{"unmatched", map[string]func(*testing.T, []byte, io.Writer) error{
			"table.txt": func(t *testing.T, in []byte, w io.Writer) error {
				return Unmatched(w, list[controlv1.Finding](t, in))
			},
		}},
		{"bindings", map[string]func(*testing.T, []byte, io.Writer) error{
			"table.txt": func(t *testing.T, in []byte, w io.Writer) error {
				return Bindings(w, list[controlv1.Binding](t, in))
			},
		}},
		{"refusals", map[string]func(*testing.T, []byte, io.Writer) error{
			"table.txt": func(t *testing.T, in []byte, w io.Writer) error {
				g := Refusals()
				for _, r := range list[controlv1.GatewayRefusal](t, in) {
					RefusalRow(g, r.GetGateway(), r.GetRefusal())
				}
				return g.Flush(w)
			},
		}},
		{"policy", map[string]func(*testing.T, []byte, io.Writer) error{
			"show.txt": func(t *testing.T, in []byte, w io.Writer) error {
				return Policy(w, &policyv1.Manifest{Policy: "acme-ai", Serial: 41, Revision: "sha256:9d1c"}, list[policyv1.Policy](t, in)[0])
			},
			"workloads.txt": func(t *testing.T, in []byte, w io.Writer) error {
				return Workloads(w, WorkloadsOf(list[policyv1.Policy](t, in)[0]))
			},
			"workloads.yaml": func(t *testing.T, in []byte, w io.Writer) error {
				return WriteYAML(w, WorkloadsOf(list[policyv1.Policy](t, in)[0])[0].Value())
			},
			"sparse.yaml": func(t *testing.T, in []byte, w io.Writer) error {
				return WriteYAML(w, Sparse(list[policyv1.Policy](t, in)[0]))
			},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.dir, func(t *testing.T) {
			dir := filepath.Join("testdata", tt.dir)
			in, err := os.ReadFile(filepath.Join(dir, "in.json"))
			if err != nil {
				t.Fatal(err)
			}
			for name, render := range tt.renders {
				var out bytes.Buffer
				if err := render(t, in, &out); err != nil {
					t.Errorf("render %s: %v", name, err)
				}
				golden(t, filepath.Join(dir, name), out.Bytes())
			}
		})
	}
}

func ofAI(all []*crossingv1.Record) []*crossingv1.Record {
	return slices.DeleteFunc(all, func(r *crossingv1.Record) bool { return !sought.OfAI(r.GetOperation()) })
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// list reads a JSON array of messages.
func list[T any, M interface {
	*T
	proto.Message
}](t *testing.T, in []byte) []M {
	t.Helper()
	var raw []json.RawMessage
	if err := json.Unmarshal(in, &raw); err != nil {
		t.Fatal(err)
	}
	items := make([]M, len(raw))
	for i, r := range raw {
		items[i] = new(T)
		if err := protojson.Unmarshal(r, items[i]); err != nil {
			t.Fatal(err)
		}
	}
	return items
}
