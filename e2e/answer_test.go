package e2e

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestLabelledAnswer: of a registry that sends what is internal, what a label says is
// restricted does not leave its environment; nor does anything whose label is not of it.
// Both ends' records say so.
func TestLabelledAnswer(t *testing.T) {
	t.Parallel()
	m := withRestricted(t)
	var shown atomic.Value // the label
	shown.Store("")
	m.Serve(t, "registry", map[string]http.Handler{"data": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if text := shown.Load().(string); text != "" {
			w.Header().Set("Sallyport-Label", text)
		}
		io.WriteString(w, dataset)
	})})
	const bad, forbidden = crossingv1.Reason_BAD_LABEL, crossingv1.Reason_FORBIDDEN_ANSWER
	for _, c := range []struct {
		name, label string
		want        crossingv1.Reason
		class       string
	}{
		{"unlabelled", "", 0, ""},
		{"internal", answerLabel(t, m, "internal", dataset), 0, "internal"},
		{"restricted", answerLabel(t, m, "restricted", dataset), forbidden, "restricted"},
		{"no label", "restricted", bad, ""},
		{"of a request", labelOf(t, m, "registry.aws.mesh", "GET /datasets/train.jsonl", dataset), bad, ""},
		{"of another content", answerLabel(t, m, "internal", dataset+"\n"), bad, "internal"},
	} {
		shown.Store(c.label)
		resp := download(t, m)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		r := m.Record(t, resp.Header.Get("Sallyport-Crossing"))
		for _, end := range []*crossingv1.End{r.GetEgress(), r.GetIngress()} {
			if end.GetReason() != c.want || r.GetState() == crossingv1.Record_DISAGREE {
				t.Errorf("%s: want %v: record %v", c.name, c.want, r)
			}
		}
		if end := r.GetIngress(); end.GetAnswerClass() != c.class || (end.GetAnswerLabeler() == localmesh.ID("registry").String()) != (c.class != "") {
			t.Errorf("%s: an answer of class %q, by %q", c.name, end.GetAnswerClass(), end.GetAnswerLabeler())
		}
		if whole := err == nil && string(body) == dataset; whole != (c.want == 0) || resp.Header.Get("Sallyport-Label") != "" {
			t.Errorf("%s: status %d, %v, %q", c.name, resp.StatusCode, err, body)
		}
		if c.want != 0 && c.class != "internal" && resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d", c.name, resp.StatusCode)
		}
	}
}

// withRestricted is a mesh whose registry labels what it answers, and what is restricted
// stays where the registry is.
func withRestricted(t *testing.T) *meshtest.Mesh {
	t.Helper()
	return meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Policy = meshtest.Edited(t, map[string]string{
			"    data: {class: internal}                        # of what it sends\n": "    data: {class: internal, mayLabel: true}\n",
			"    data: {class: internal}\n" + `    serves: {models: "oci://:5000"}`:   "    data: {class: internal, mayLabel: true}\n" + `    serves: {models: "oci://:5000", data: "s3://:9000"}`,
			"  - name: check-health\n": `  - name: read-datasets
    allow: {from: orchestrator, to: registry, service: data}
    when: artifact.operation == "pull"
  - name: restricted-data-stays-in-aws
    deny: {data: restricted, leaving: "environment:aws"}
  - name: check-health
`,
		})
	})
}

// answerLabel is the registry's label of what it answers to the
// orchestrator.
func answerLabel(t *testing.T, m *meshtest.Mesh, class, content string) string {
	t.Helper()
	return signedLabel(t, m, "registry", content, "--class", class, "--answer-to", localmesh.ID("orchestrator").String(),
		"--request", "GET /datasets/train.jsonl")
}

// download asks for the dataset.
func download(t *testing.T, m *meshtest.Mesh) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(m.Context, http.MethodGet, datasetURL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := m.As(t, "orchestrator").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}
