package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// denyLLM closes what the tour's first two steps call.
const denyLLM = `
  - name: llm-is-closed
    deny: {from: "*", to: llm}
`

// recordJSON is as much of a record as -o json has that these tests look at.
type recordJSON struct {
	ID, State, Trace string
	Transition       struct{ Owner, From, To string }
	Egress           struct {
		Decision, Reason, Intent string
		Policy                   struct {
			Serial   uint64
			Revision string
		}
	}
	Evidence struct {
		Pair, Run string
		Sequence  uint64
	}
}

// kept is a demo that is kept up, and what a user of it has.
type kept struct {
	t       *testing.T // of the whole: the demo goes on from part to part
	dir     string
	demo    *demoProcess
	policy  string       // the text of the policy of its first start
	records []recordJSON // as first listed
}

// TestKept keeps a mesh up, asks it, governs it, stops it, asks its directory
// and starts it again, by the very commands of a user.
func TestKept(t *testing.T) {
	t.Parallel()
	k := &kept{t: t, dir: meshtest.Dir(t)}
	k.demo = startDemo(t, k.dir)
	text, err := os.ReadFile(filepath.Join(k.dir, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	k.policy = string(text)
	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"crossings", k.testCrossings},
		{"trace", k.testTrace},
		{"tables", k.testTables},
		{"a policy without an owner is refused", k.testNoOwner},
		{"a policy that denies counts at the next call", k.testDeny},
		{"a stopped mesh answers", k.testStopped},
		{"started again", k.testStartedAgain},
		{"once", k.testOnce},
	} {
		if !t.Run(part.name, part.test) {
			t.FailNow() // each goes on where the one before ended
		}
	}
}

func listJSON[T any](t *testing.T, dir string, args ...string) []T {
	t.Helper()
	var list []T
	text := ask(t, dir, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("sallyport %s -o json: %v\n%s", strings.Join(args, " "), err, text)
	}
	return list
}

func (k *kept) testCrossings(t *testing.T) {
	k.records = listJSON[recordJSON](t, k.dir, "crossings")
	tour := []struct{ state, decision, owner, to string }{
		{"JOINED", "ALLOW", "ml-platform", "azure"},
		{"JOINED", "ALLOW", "ml-platform", "azure"},
		{"JOINED", "ALLOW", "ml-platform", "azure"}, // the caller leaves
		{"DENIED", "DENY", "ml-platform", "azure"},  // another model
		{"JOINED", "ALLOW", "search-team", "aws"},   // tools
		{"DENIED", "DENY", "search-team", "aws"},    // another tool
		{"JOINED", "ALLOW", "ml-platform", "azure"}, // embeddings
		{"DENIED", "DENY", "ml-platform", "azure"},  // too soon
		{"JOINED", "ALLOW", "ml-platform", "azure"},
		{"DENIED", "DENY", "search-team", "aws"},
	}
	if len(k.records) != len(tour) {
		t.Fatalf("%d crossings listed, want the tour's %d: %+v", len(k.records), len(tour), k.records)
	}
	for i, want := range tour {
		r := k.records[i]
		if r.State != want.state || r.Egress.Decision != want.decision || r.Transition.Owner != want.owner || r.Transition.To != want.to {
			t.Errorf("crossing %d is %+v, want %+v", i+1, r, want)
		}
		if r.Egress.Policy.Serial != 1 || !strings.HasPrefix(r.Egress.Policy.Revision, "sha256:") {
			t.Errorf("crossing %d was decided under policy %+v", i+1, r.Egress.Policy)
		}
	}
	if denied := listJSON[recordJSON](t, k.dir, "crossings", "--decision", "deny"); len(denied) != 4 || denied[0].ID != k.records[3].ID {
		t.Errorf("denied are %+v", denied)
	}
	if s := meshtest.Sallyport(t, k.dir, "crossings", "--owner", "nobody"); s.Code != 1 || s.Stderr == "" {
		t.Errorf("crossings of nobody: exit code %d, %q", s.Code, s.Stderr)
	}
}

func (k *kept) testTrace(t *testing.T) {
	id, trace := k.records[0].ID, k.records[0].Trace
	whole := ask(t, k.dir, "trace", trace)
	if strings.Count(whole, "both ends agree") != 6 || strings.Count(whole, "at the near gateway") != 4 ||
		strings.Count(whole, id) != 1 {
		t.Errorf("trace of the tour:\n%s", whole)
	}
	if same := ask(t, k.dir, "trace", "00-"+trace+"-00f067aa0ba902b7-01"); same != whole {
		t.Errorf("trace by traceparent:\n%s", same)
	}
	one := ask(t, k.dir, "trace", id)
	for _, want := range []string{id, "plan-with-the-llm", "ml-platform", "onprem-1", "azure-1", "spiffe://onprem.demo/ai/orchestrator"} {
		if !strings.Contains(one, want) {
			t.Errorf("trace of %s does not say %q:\n%s", id, want, one)
		}
	}
	if s := meshtest.Sallyport(t, k.dir, "trace", strings.Repeat("ab", 16)); s.Code != 1 {
		t.Errorf("trace of nothing: exit code %d, want 1: %s", s.Code, s.Stderr)
	}
}

func (k *kept) testTables(t *testing.T) {
	type transition struct {
		From, To, Owner, Sink string
		Open                  bool
		Allowed, Denied       uint64
	}
	open := map[string]transition{}
	for _, tr := range listJSON[transition](t, k.dir, "transitions") {
		if tr.Open {
			open[tr.From+" "+tr.To] = tr
		} else if tr.Owner != "" {
			t.Errorf("a shut pair with an owner: %+v", tr)
		}
	}
	want := map[string]transition{
		"onprem azure": {"onprem", "azure", "ml-platform", "records", true, 5, 2},
		"onprem aws":   {"onprem", "aws", "search-team", "records", true, 1, 2},
		"azure aws":    {"azure", "aws", "ml-platform", "records", true, 0, 0},
	}
	if d := cmp.Diff(want, open); d != "" {
		t.Errorf("transitions (-want +got):\n%s", d)
	}
	gateways := listJSON[gatewayJSON](t, k.dir, "gateways")
	if len(gateways) != 3 {
		t.Errorf("gateways are %+v", gateways)
	}
	for _, g := range gateways {
		if !g.Connected || g.Serial != 1 || g.Revision != k.records[0].Egress.Policy.Revision {
			t.Errorf("gateway %+v, want it connected and enforcing policy 1", g)
		}
	}
	type binding struct {
		Workload, Environment, Source string
		Endpoints                     map[string]string
	}
	bindings := listJSON[binding](t, k.dir, "workloads", "bindings", "llm")
	if len(bindings) != 1 || bindings[0].Environment != "azure" || bindings[0].Source != "spiffe://azure.demo/ai/llm" ||
		bindings[0].Endpoints["chat"] == "" || bindings[0].Endpoints["health"] == "" {
		t.Errorf("bindings of the llm are %+v", bindings)
	}
}

// gatewayJSON is as much of a gateway as these tests look at.
type gatewayJSON struct {
	Name, Revision string
	Serial         uint64
	Connected      bool
}

// testNoOwner applies the same file as testDeny, but for one owner.
func (k *kept) testNoOwner(t *testing.T) {
	text := meshtest.Edit(t, k.closed(t), "{from: onprem, to: azure, owner: ml-platform,", "{from: onprem, to: azure,")
	file := meshtest.WriteFile(t, text)
	s := meshtest.Sallyport(t, k.dir, "policy", "apply", file)
	if s.Code != 1 || s.Stdout != "" {
		t.Errorf("policy apply: exit code %d, want 1: %s", s.Code, s.Stdout)
	}
	at := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(file) + `:(\d+):(\d+): .*owner`).FindStringSubmatch(s.Stderr)
	if at == nil {
		t.Fatalf("policy apply said %q, want FILE:LINE:COL", s.Stderr)
	}
	lines := strings.Split(text, "\n")
	var line int
	fmt.Sscan(at[1], &line)
	if !strings.Contains(lines[line-1], "from: onprem, to: azure") {
		t.Errorf("line %d is %q, which lacks no owner", line, lines[line-1])
	}
	if status, _ := k.chat(t); status != http.StatusOK {
		t.Errorf("status %d after a policy was refused", status)
	}
}

// closed is the policy with the llm closed. The policy's own tests say that it
// is open, so they go.
func (k *kept) closed(t *testing.T) string {
	t.Helper()
	text, _, _ := strings.Cut(k.policy, "\ntests:")
	return meshtest.Edit(t, text, "\nintents:\n", "\nintents:"+denyLLM)
}

func (k *kept) testDeny(t *testing.T) {
	before := len(listJSON[recordJSON](t, k.dir, "crossings"))
	said := ask(t, k.dir, "policy", "apply", meshtest.WriteFile(t, k.closed(t)))
	if !strings.Contains(said, "serial 2 in force at 3 of 3 gateways") {
		t.Errorf("policy apply said %q", said)
	}
	status, id := k.chat(t)
	if status != http.StatusForbidden {
		t.Fatalf("status %d of the next call, want 403", status)
	}
	r := k.await(t, id)
	if r.Egress.Intent != "llm-is-closed" || r.Egress.Reason != "DENIED_BY_INTENT" || r.Egress.Policy.Serial != 2 || r.Transition.Owner != "ml-platform" {
		t.Errorf("its record is %+v", r)
	}
	if now := len(listJSON[recordJSON](t, k.dir, "crossings")); now != before+1 {
		t.Errorf("%d crossings, were %d before one call", now, before)
	}
}

// await asks until a crossing's record is there.
func (k *kept) await(t *testing.T, id string) recordJSON {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for range 200 {
		if s := meshtest.Sallyport(t, k.dir, "trace", id, "-o", "json"); s.Code == 0 {
			var list []recordJSON
			if err := json.Unmarshal([]byte(s.Stdout), &list); err != nil {
				t.Fatal(err)
			}
			if list[0].State != "OPEN" {
				return list[0]
			}
		}
		<-ticker.C
	}
	t.Fatalf("no record of %s", id)
	return recordJSON{}
}

// chat calls the llm as the orchestrator would, by nothing but the files of the
// mesh's directory.
func (k *kept) chat(t *testing.T) (status int, crossing string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), meshtest.Patience)
	defer cancel()
	source, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: "unix://" + filepath.Join(k.dir, "run", "orchestrator.sock")})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	text, err := os.ReadFile(filepath.Join(k.dir, "onprem", "onprem-1", "bootstrap.json"))
	if err != nil {
		t.Fatal(err)
	}
	var b configv1.Bootstrap
	if err := protojson.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	addr, err := net.ResolveTCPAddr("tcp", b.GetAttach())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "http/1.1"),
		DialContext:     meshtest.DialTo(addr),
	}
	defer transport.CloseIdleConnections()
	resp := meshtest.Chat(ctx, t, &http.Client{Transport: transport}, false, nil)
	meshtest.ReadAll(t, resp)
	return resp.StatusCode, resp.Header.Get("sallyport-crossing")
}

func (k *kept) testStopped(t *testing.T) {
	live := ask(t, k.dir, "crossings", "-o", "json")
	if s := meshtest.Sallyport(t, k.dir, "demo"); s.Code != 2 || !strings.Contains(s.Stderr, "a mesh already runs in "+k.dir+": ask it with sallyport --dir "+k.dir) {
		t.Errorf("a second demo: exit code %d: %s", s.Code, s.Stderr)
	}
	k.demo.stop(t)
	if said := ask(t, k.dir, "gateways"); strings.Count(said, "stopped") != 3 || strings.Count(said, " ACK ") != 3 || strings.Contains(said, "none") || strings.Contains(said, "never") {
		t.Errorf("gateways of the stopped mesh:\n%s", said)
	}
	before := hashes(t, k.dir)
	for _, args := range [][]string{
		{"crossings"},
		{"trace", k.records[0].ID},
		{"trace", k.records[0].Trace},
		{"transitions"},
		{"gateways"},
		{"owner", "onprem", "azure"},
		{"matrix"},
		{"crossings", "--state", "denied", "--from", "onprem"},
		{"workloads", "list"},
		{"workloads", "bindings"},
		{"policy", "show"},
		{"crossings", "-o", "json"},
		{"policy", "diff", filepath.Join(k.dir, "policy.yaml")},
	} {
		s := meshtest.Sallyport(t, k.dir, args...)
		// A difference is a no.
		if s.Stdout == "" || s.Code != 0 && args[1%len(args)] != "diff" || strings.Count(s.Stderr, "is stopped") != 1 {
			t.Errorf("sallyport %s: exit code %d: %s%s", strings.Join(args, " "), s.Code, s.Stdout, s.Stderr)
		}
		if args[len(args)-1] == "json" && s.Stdout != live {
			t.Errorf("crossings of the stopped mesh differ (-live +stopped):\n%s", cmp.Diff(live, s.Stdout))
		}
	}
	for _, args := range [][]string{{"policy", "apply", filepath.Join(k.dir, "policy.yaml")}, {"crossings", "--follow"}} {
		if s := meshtest.Sallyport(t, k.dir, args...); s.Code != 2 || s.Stderr == "" {
			t.Errorf("sallyport %s in a stopped mesh: exit code %d, want 2: %s", strings.Join(args, " "), s.Code, s.Stderr)
		}
	}
	if d := cmp.Diff(before, hashes(t, k.dir)); d != "" {
		t.Errorf("asking changed the directory (-before +after):\n%s", d)
	}
}

// hashes are the digests of a directory's files, by name, with their modes.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[path] = info.Mode().String()
		if !info.Mode().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		all[path] += fmt.Sprintf(" %x", sha256.Sum256(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// testStartedAgain finds the policy that was applied, so the tour is skipped and
// that is said, and the mesh stays up all the same.
func (k *kept) testStartedAgain(t *testing.T) {
	before := listJSON[recordJSON](t, k.dir, "crossings")
	k.demo = startDemo(k.t, k.dir)
	if out := k.demo.out(); !strings.Contains(out, "serial 2  in force at 3 of 3 gateways") ||
		!strings.Contains(out, "the policy in force, serial 2, is not the tour's, so the tour is skipped") || strings.Contains(out, "1. ") {
		t.Errorf("the demo said %q", out)
	}
	_, id := k.chat(t)
	k.await(t, id)
	after := listJSON[recordJSON](t, k.dir, "crossings")
	if len(after) < len(before) {
		t.Fatalf("%d records, were %d before", len(after), len(before))
	}
	if d := cmp.Diff(before, after[:len(before)]); d != "" {
		t.Errorf("records of before (-before +after):\n%s", d)
	}
	// A start is a new run, whose numbers are dense from 1.
	for i, r := range after[len(before):] {
		if r.Evidence.Run == before[0].Evidence.Run || r.Evidence.Sequence != uint64(i+1) || r.Egress.Policy.Serial != 2 {
			t.Errorf("record %d of the second run is %+v", i+1, r)
		}
	}
	if len(after) != len(before)+1 {
		t.Errorf("%d records of the second run, want 1", len(after)-len(before))
	}
	if said := ask(t, k.dir, "policy", "apply", filepath.Join(k.dir, "policy.yaml")); !strings.Contains(said, "serial 3 in force at 3 of 3 gateways") {
		t.Errorf("policy apply said %q", said)
	}
	if status, _ := k.chat(t); status != http.StatusOK {
		t.Errorf("status %d under the first policy again", status)
	}
}

// testOnce holds the exit codes of a tour that is made once.
func (k *kept) testOnce(t *testing.T) {
	ask(t, k.dir, "policy", "apply", meshtest.WriteFile(t, k.closed(t)))
	k.demo.stop(t)
	s := meshtest.Sallyport(t, k.dir, "demo", "--once")
	if s.Code != 1 || !strings.Contains(s.Stderr, "is not the tour's, so the tour is skipped (orchestrator asks the llm in azure: denied") || strings.Contains(s.Stdout, "Done in") {
		t.Errorf("demo --once under a policy that denies its steps: exit code %d, want 1: %s%s", s.Code, s.Stdout, s.Stderr)
	}
}

// TestGatewaysAdd runs the real gateway from the bootstrap file that the
// operator's tool writes, on a "host" that gives it its own identity.
func TestGatewaysAdd(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.External = []string{"azure-1"} })
	file := filepath.Join(t.TempDir(), "azure-1.bootstrap.json")
	said := ask(t, m.Dir(), "gateways", "add", "azure-1", "--out", file, "--gateway-workload-api", m.WorkloadAPI("azure-1"),
		"--attach", "127.0.0.1:0", "--port", "127.0.0.1:0=registry.aws.mesh:5000", "--state-dir", t.TempDir())
	if !strings.Contains(said, "sallyport-gateway run --bootstrap azure-1.bootstrap.json") {
		t.Errorf("gateways add said %q", said)
	}
	if s := meshtest.Sallyport(t, m.Dir(), "gateways", "add", "azure-1", "--out", file); s.Code == 0 {
		t.Errorf("gateways add replaced a file: %s", s.Stdout)
	}
	if s := meshtest.Sallyport(t, m.Dir(), "gateways", "add", "azure-9", "--out", file+"9"); s.Code != 1 {
		t.Errorf("gateways add of a stranger: exit code %d, want 1: %s", s.Code, s.Stderr)
	}
	p := gatewayProcess(t, file)
	p.start()
	t.Cleanup(p.stop)
	awaitGateway(t, m, "azure-1")
	resp := meshtest.Chat(m.Context, t, m.As(t, "orchestrator"), false, nil)
	if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
		t.Errorf("status %d through it: %s", resp.StatusCode, body)
	}
	m.Record(t, resp.Header.Get("sallyport-crossing"))

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"to": "registry.aws.mesh:5000"`) {
		t.Errorf("the file has no port: %s", text)
	}
	broken := meshtest.WriteFile(t, strings.Replace(string(text), `"stateDir"`, `"stateDirectory"`, 1))
	out, err := exec.Command(p.argv[0], "run", "--bootstrap", broken).CombinedOutput()
	if err == nil || !strings.Contains(string(out), broken+":") {
		t.Errorf("a bootstrap file with an unknown field: %v, %s", err, out)
	}
}

// awaitGateway waits until a gateway enforces a policy and knows where its
// environment's workloads are.
func awaitGateway(t *testing.T, m *meshtest.Mesh, name string) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range 1000 {
		all, err := controlv1.NewGatewayServiceClient(m.API()).ListGateways(m.Context, &controlv1.ListGatewaysRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range all.GetGateways() {
			knows := slices.ContainsFunc(g.GetAcks(), func(a *controlv1.ResourceAck) bool {
				return strings.HasSuffix(a.GetTypeUrl(), ".ClusterLoadAssignment") && a.GetNack() == ""
			})
			if g.GetName() == name && g.GetConnected() && g.GetSerial() > 0 && knows {
				return
			}
		}
		<-ticker.C
	}
	t.Fatalf("gateway %s enforces no policy", name)
}
