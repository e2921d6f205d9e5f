package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/label"
)

// toLabel is a file with a content, and the bundles that hold labels of it.
func toLabel(t *testing.T, workloadAPI, content string) (source *certs.Source, file string) {
	t.Helper()
	source, err := certs.NewSource(t.Context(), certs.Options{WorkloadAPI: workloadAPI, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	file = filepath.Join(t.TempDir(), "content.json")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return source, file
}

// What is printed is a label of the request that was named, for whoever has the
// bundle.
func TestLabel(t *testing.T) {
	m := startRealMesh(t)
	source, file := toLabel(t, m.workloadAPI, `{"model":"m"}`)
	const other = "spiffe://mesh.demo/ai/agent"
	for caller, flags := range map[string][]string{operatorID: nil, other: {"--for", other}} {
		args := append([]string{"label", "--class", "public", "--to", "llm.azure.mesh", "--request", "POST /v1/chat?a=b", "--workload-api", m.workloadAPI, file}, flags...)
		code, stdout, stderr := invoke(t, args...)
		if code != yes || stderr != "" || strings.Count(stdout, "\n") != 1 {
			t.Fatalf("label = %d, %q, %q", code, stdout, stderr)
		}
		r := label.Request{Caller: spiffeid.RequireFromString(caller), Host: "llm.azure.mesh", Line: "POST /v1/chat?a=b"}
		l, err := label.Verify(strings.TrimSpace(stdout), r, source, time.Now())
		if err != nil || l.Class != "public" || l.Labeler.String() != operatorID {
			t.Fatalf("%+v, %v", l, err)
		}
		d := l.Digest()
		if _, _ = d.Write([]byte(`{"model":"m"}`)); !d.Matches() {
			t.Error("it is not of the file's content")
		}
	}
}

// What is printed with --answer-to is a label of an answer, and of no request.
func TestLabelOfAnswer(t *testing.T) {
	m := startRealMesh(t)
	source, file := toLabel(t, m.workloadAPI, `{"rows":[]}`)
	const caller = "spiffe://azure.demo/ai/agent"
	code, stdout, stderr := invoke(t, "label", "--class", "restricted", "--answer-to", caller, "--request", "GET /rows", "--workload-api", m.workloadAPI, file)
	if code != yes || stderr != "" {
		t.Fatalf("label = %d, %q, %q", code, stdout, stderr)
	}
	a := label.Answer{Callee: spiffeid.RequireFromString(operatorID), Caller: spiffeid.RequireFromString(caller), Line: "GET /rows"}
	if l, err := label.VerifyAnswer(strings.TrimSpace(stdout), a, source, time.Now()); err != nil || l.Class != "restricted" {
		t.Errorf("%+v, %v", l, err)
	}
	r := label.Request{Caller: a.Callee, Host: caller, Line: a.Line}
	if _, err := label.Verify(strings.TrimSpace(stdout), r, source, time.Now()); err == nil {
		t.Error("a label of an answer is good for a request")
	}
}

func TestLabelRefuses(t *testing.T) {
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	const good = "--class public --to llm.azure.mesh --request GET_/ -"
	for _, c := range []struct{ name, args, want string }{
		{"no class", "--to llm.azure.mesh --request GET_/ -", "required flag"},
		{"no destination", "--class public --request GET_/ -", "is required"},
		{"a request and an answer", good + " --answer-to spiffe://mesh.demo/ai/agent", "none of the others can be"},
		{"an answer to nobody", "--class public --request GET_/ --answer-to agent -", `"agent" is no SPIFFE ID`},
		{"no request", "--class public --to llm.azure.mesh -", "required flag"},
		{"no file", "--class public --to llm.azure.mesh --request GET_/", "accepts 1 arg"},
		{"destination with a port", "--class public --to llm.azure.mesh:8000 --request GET_/ -", "NAME.ENVIRONMENT.mesh"},
		{"destination elsewhere", "--class public --to example.com --request GET_/ -", "NAME.ENVIRONMENT.mesh"},
		{"caller that is none", good + " --for agent", `"agent" is no SPIFFE ID`},
		{"file that is not there", "--class public --to llm.azure.mesh --request GET_/ nowhere/at/all", "no such file"},
		{"no Workload API", good, "SPIFFE_ENDPOINT_SOCKET"},
	} {
		var args []string
		for _, word := range strings.Fields(c.args) {
			args = append(args, strings.ReplaceAll(word, "_", " "))
		}
		if code, stdout, stderr := invoke(t, append([]string{"label"}, args...)...); code != couldNotSay || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %d, %q, %q, want %q", c.name, code, stdout, stderr, c.want)
		}
	}
}
