package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// varying is what differs from run to run in the demo's transcript.
var varying = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`sha256:[0-9a-f]+…`), "sha256:…"},
	{regexp.MustCompile(`trace [0-9a-f]{32}`), "trace ID"},
	{regexp.MustCompile(`prove [0-9a-f-]{36}`), "prove ID"},
	{regexp.MustCompile(`--dir \S+`), "--dir DIR"},
	{regexp.MustCompile(`\d+(\.\d+)? (ms|s)\b`), "TIME"},
	{regexp.MustCompile(`TIME\. Without`), "TIME. Without"},
}

func settled(text string) string {
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.with)
	}
	return strings.TrimSpace(text)
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReadmeTranscript runs the README's first command and compares what it
// says, word for word but for times and hashes.
func TestReadmeTranscript(t *testing.T) {
	_, rest, found := strings.Cut(readme(t), "```\n$ go run ./controlplane/cmd/sallyport demo --once\n")
	want, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatal("the README has no transcript")
	}
	cmd := exec.Command("go", "run", "./controlplane/cmd/sallyport", "demo", "--once")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("demo --once: %v\n%s%s", err, out, stderr.String())
	}
	if got, want := settled(string(out)), settled(want); got != want {
		t.Errorf("the transcript is now:\n%s\n\nthe README has:\n%s", got, want)
	}
}

// TestReadmeCommands runs every command of the README against a mesh: those of
// the shell block, the one that publishes, and those that deny at once.
func TestReadmeCommands(t *testing.T) {
	text := readme(t)
	_, rest, found := strings.Cut(text, "```sh\n")
	block, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatal("the README has no shell block")
	}
	m := meshtest.Start(t, meshtest.Demo)
	dir := t.TempDir()
	if err := os.Symlink(m.Dir(), filepath.Join(dir, "mesh")); err != nil {
		t.Fatal(err)
	}
	build(t, dir, text)
	// A call of a model, so that there is one to list.
	resp := meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), true, nil)
	meshtest.ReadAll(t, resp)
	m.Record(t, resp.Header.Get("sallyport-crossing"))
	// A denied crossing, so that the filter for it finds one.
	resp, err := m.As(t, "orchestrator").Get("https://registry.aws.mesh:5000/v2/")
	if err != nil {
		t.Fatal(err)
	}
	meshtest.ReadAll(t, resp)
	m.Record(t, resp.Header.Get("sallyport-crossing"))
	commands := strings.Split(strings.TrimSpace(block), "\n")
	commands = append(commands, "bin/sallyport policy apply mesh/policy.yaml",
		`bin/sallyport quarantine spiffe://onprem.demo/ai/orchestrator --reason "its token was leaked"`,
		`bin/sallyport gateways revoke onprem-1 --reason "its host was broken into"`,
		"bin/sallyport acts",
		`bin/sallyport quarantine lift spiffe://onprem.demo/ai/orchestrator --reason "the token has expired"`,
		`bin/sallyport gateways restore onprem-1 --reason "it was set up anew"`)
	for _, line := range commands[1:] {
		if !strings.Contains(text, line) {
			t.Errorf("the README no longer says %q", line)
		}
		cmd := exec.Command("sh", "-c", commands[0]+"\n"+line)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

// TestReadmeAttach runs the README's commands that attach a workload with curl, in
// one shell, against a mesh.
func TestReadmeAttach(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("SALLYPORT_REQUIRE_ALL") != "" {
			t.Fatal("needs curl")
		}
		t.Skip("needs curl")
	}
	text := readme(t)
	_, rest, found := strings.Cut(text, "```sh\nexport SPIFFE_ENDPOINT_SOCKET")
	block, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatal("the README has no block that attaches")
	}
	m := meshtest.Start(t, nil)
	dir, err := os.MkdirTemp("", "sp") // short: a socket's path may have 103 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Symlink(m.Dir(), filepath.Join(dir, "mesh")); err != nil {
		t.Fatal(err)
	}
	build(t, dir, text)
	cmd := exec.Command("sh", "-e", "-c", "export SPIFFE_ENDPOINT_SOCKET"+block)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if calls := strings.Count(block, "curl "); err != nil || strings.Count(string(out), `"id":"gpt-oss-20b"`) != calls {
		t.Errorf("%v, want %d answers of the llm:\n%s%s", err, calls, out, stderr.String())
	}
}

// build runs the README's build command, with its output elsewhere.
func build(t *testing.T, dir, text string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^    (go build -o bin/ .*)$`).FindStringSubmatch(text)
	if line == nil {
		t.Fatal("the README no longer says how to build")
	}
	args := strings.Fields(strings.Replace(line[1], "-o bin/", "-o "+dir+"/bin/", 1))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line[1], err, out)
	}
	for _, name := range localmesh.Environments() {
		if !strings.Contains(text, "gateway "+name+"-1") {
			t.Errorf("the README's transcript lacks the gateway of %s", name)
		}
	}
}
