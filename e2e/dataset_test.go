package e2e

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	datasetURL = "https://registry.aws.mesh:9000/datasets/train.jsonl"
	dataset    = `{"q":"1+1","a":"2"}` + "\n" + `{"q":"2+2","a":"4"}` + "\n" + `{"q":"3+3","a":"6"}`
)

// TestDataset: a dataset leaves its environment where a registered labeler has signed that
// it is public, and nowhere else; the record says what it is, by whose word, and how much.
func TestDataset(t *testing.T) {
	t.Parallel()
	m := withDatasets(t)
	stored := make(chan []byte, 1)
	m.Serve(t, "registry", map[string]http.Handler{"data": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		stored <- text
		w.Header().Set("ETag", `"1"`)
	})})

	label := func(content string) string {
		return labelOf(t, m, "registry.aws.mesh", "PUT /datasets/train.jsonl", content)
	}
	const another = dataset + "\n"
	for shown, reason := range map[string]crossingv1.Reason{
		"": crossingv1.Reason_NO_INTENT, label(another): crossingv1.Reason_BAD_LABEL,
	} {
		refused := put(t, m, shown)
		meshtest.ReadAll(t, refused)
		r := m.Record(t, refused.Header.Get("Sallyport-Crossing"))
		if refused.StatusCode != http.StatusForbidden || r.GetEgress().GetReason() != reason || r.GetState() == crossingv1.Record_DISAGREE {
			t.Errorf("want %v: status %d, record %v", reason, refused.StatusCode, r)
		}
	}

	allowed := put(t, m, label(dataset))
	if body := meshtest.ReadAll(t, allowed); allowed.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", allowed.StatusCode, body)
	}
	if got := <-stored; !bytes.Equal(got, []byte(dataset)) {
		t.Errorf("stored is %q", got)
	}
	r := m.Record(t, allowed.Header.Get("Sallyport-Crossing"))
	op := r.GetOperation()
	if !r.GetAgree() || op.GetName() != "push" || op.GetArtifact().GetName() != "datasets/train.jsonl" ||
		op.GetDataClass() != "public" || op.GetLabeler() != localmesh.ID("orchestrator").String() {
		t.Errorf("record: %v", r)
	}
	for _, end := range []*crossingv1.End{r.GetEgress(), r.GetIngress()} {
		if moved := end.GetTransfer(); moved.GetLines() != 3 || moved.GetDigested() != uint64(len(dataset)) {
			t.Errorf("%s moved %v", end.GetGateway(), moved)
		}
	}
}

// labelOf is the orchestrator's label that the content of a request to a
// host is public.
func labelOf(t *testing.T, m *meshtest.Mesh, to, request, content string) string {
	t.Helper()
	return signedLabel(t, m, "orchestrator", content, "--class", "public", "--to", to, "--request", request)
}

// signedLabel is a workload's label of a content, made by the tool.
func signedLabel(t *testing.T, m *meshtest.Mesh, workload, content string, says ...string) string {
	t.Helper()
	args := append([]string{"label", "--workload-api", m.WorkloadAPI(workload), meshtest.WriteFile(t, content)}, says...)
	return strings.TrimSpace(ask(t, m.Dir(), args...))
}

// withDatasets is a mesh whose orchestrator may store what is public.
func withDatasets(t *testing.T) *meshtest.Mesh {
	t.Helper()
	return meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Policy = meshtest.Edited(t, map[string]string{
			"    data: {class: internal}                        # of what it sends\n": "    data: {class: internal, mayLabel: true}\n",
			`    serves: {models: "oci://:5000"}`:                                     `    serves: {models: "oci://:5000", data: "s3://:9000"}`,
			"  - name: check-health\n": `  - name: publish-datasets
    allow: {from: orchestrator, to: registry, service: data}
    when: artifact.operation == "push" && artifact.name.startsWith("datasets/") && data.class == "public"
  - name: check-health
`,
		})
	})
}

// put stores the dataset, with a label if there is one.
func put(t *testing.T, m *meshtest.Mesh, label string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(m.Context, http.MethodPut, datasetURL, strings.NewReader(dataset))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/jsonl")
	if label != "" {
		req.Header.Set("Sallyport-Label", label)
	}
	resp, err := m.As(t, "orchestrator").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}
