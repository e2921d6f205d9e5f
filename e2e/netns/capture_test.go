package netns

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// captureSection is the README's on programs that cannot be changed.
const captureSection = "## A program that cannot be changed\n"

// captured is a deployment whose onprem gateway captures connections of three users:
// reports is a caller, nightly is one in its cgroup, stranger is none.
type captured struct {
	*Mesh
	onprem *Host
	cgroup string // nightly's directory, as the host sees it; "" if there are no cgroups
}

// TestCapture runs the README's section on programs that cannot be changed.
func TestCapture(t *testing.T) {
	t.Parallel()
	c := deployCapture(t)
	for _, f := range []struct {
		name string
		test func(*captured, *testing.T)
	}{
		{"HTTP/1.1", func(c *captured, t *testing.T) { c.chats(t, "reports", "10.3.0.10:8000") }},
		{"HTTP/2", func(c *captured, t *testing.T) { c.chats(t, "reports", "10.3.0.10:8000", "--http2-prior-knowledge") }},
		{"IPv6", func(c *captured, t *testing.T) { c.chats(t, "reports", "[fd00:3::10]:8000") }},
		{"a name of its own", func(c *captured, t *testing.T) {
			c.chats(t, "reports", "10.3.0.10:8000", "-H", "Host: model.corp.example")
		}},
		{"another workload's name", (*captured).misdirected},
		{"denied", (*captured).denied},
		{"bytes", (*captured).bytes},
		{"bytes, reset", (*captured).reset},
		{"TLS", (*captured).sealed},
		{"TLS for another", (*captured).sealedForAnother},
		{"TLS to HTTP", (*captured).unseen},
		{"an address of nobody", (*captured).nobodyThere},
		{"a stranger", (*captured).stranger},
		{"a cgroup", (*captured).byCgroup},
		{"the gateway itself", (*captured).itself},
		{"the gateway is reloaded", (*captured).reloaded},
		{"the gateway is down", (*captured).down}, // the last one
	} {
		t.Run(f.name, func(t *testing.T) { f.test(c, t) })
	}
}

// deployCapture does what the section says, and more addresses.
func deployCapture(t *testing.T) *captured {
	t.Helper()
	c := &captured{Mesh: Deploy(t, Options{})}
	c.onprem = c.At("onprem")
	text, commands := readCapture(t)
	c.onprem.Run(t, "for name in reports nightly stranger; do useradd --system $name; done")
	c.makeCgroup(t)
	c.publish(t)
	c.configure(t, text)
	for line := range strings.Lines(commands) {
		unit, restarts := strings.CutPrefix(strings.TrimSpace(line), "systemctl restart ")
		switch {
		case strings.HasPrefix(line, "systemctl daemon-reload"): // a unit is read when it is started
		case restarts:
			c.Units["onprem/"+unit].Stop()
			c.Units["onprem/"+unit] = c.onprem.StartUnit(t, unit)
		default:
			c.onprem.Run(t, line)
		}
	}
	c.onprem.Run(t, `nft add element inet sallyport workloads4 '{ 10.3.0.10 . 7000, 10.3.0.10 . 7443, 10.3.0.11 . 9 }'
nft add element inet sallyport workloads6 '{ fd00:3::10 . 8000 }'`)
	c.onprem.ip("addr", "add", "fd00:1::10/64", "dev", "eth0", "nodad")
	c.onprem.ip("-6", "route", "add", "default", "dev", "eth0")
	c.At("azure").Start(t, "legacy", "llm", "legacy", "serve", ":7000", ":7443")
	c.AwaitTunnels(t)
	return c
}

// readCapture is the section's bootstrap text, and its commands.
func readCapture(t *testing.T) (bootstrap, commands string) {
	t.Helper()
	top, err := root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(top, walkFile))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), captureSection)
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "```")
	if len(blocks) != 5 || !strings.HasPrefix(blocks[1], "json\n") {
		t.Fatalf("the section %q has not a block of JSON and one of commands", captureSection)
	}
	return strings.TrimPrefix(blocks[1], "json\n"), strings.TrimPrefix(blocks[3], "\n")
}

// configure adds the text to onprem's bootstrap file, with this host's users and
// cgroup in it.
func (c *captured) configure(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "unix:uid:1001", fmt.Sprint("unix:uid:", c.uid(t, "reports")))
	text = strings.ReplaceAll(text, "unix:uid:1002", fmt.Sprint("unix:uid:", c.uid(t, "nightly")))
	if cgroup := strings.TrimPrefix(c.cgroup, "/sys/fs/cgroup"); cgroup != "" {
		text = strings.ReplaceAll(text, "/system.slice/nightly.service", cgroup)
	} else {
		text = strings.ReplaceAll(text, `, "cgroup:/system.slice/nightly.service"`, "")
	}
	file := c.onprem.Path("etc/sallyport/bootstrap.json")
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.TrimSuffix(strings.TrimSpace(string(have)), "}") + "," + text + "}\n"
	if err := os.WriteFile(file, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (c *captured) uid(t *testing.T, user string) int {
	t.Helper()
	uid, _, err := c.onprem.ids(user)
	if err != nil {
		t.Fatal(err)
	}
	return uid
}

// publish has the policy know where the llm is, what else it serves, and who
// captured programs are.
func (c *captured) publish(t *testing.T) {
	t.Helper()
	control := c.At("control")
	file := control.Path("root/policy.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for _, change := range [][2]string{
		{"networks: [10.3.0.0/16]", `networks: [10.3.0.0/16, "fd00:3::/64"]`},
		{`serves: {chat: "openai://:8000"}`, `serves: {chat: "openai://:8000", sql: "tcp://:7000", sealed: "tls://:7443"}
    addresses: [10.3.0.10, "fd00:3::10"]
  reports: {id: spiffe://onprem.example/reports, owner: agents-team, data: {class: internal}}
  nightly: {id: spiffe://onprem.example/nightly, owner: agents-team, data: {class: internal}}`},
		{"intents:\n", `intents:
  - {name: reports-chat, allow: {from: reports, to: llm, service: chat, methods: [POST]}}
  - {name: nightly-chat, allow: {from: nightly, to: llm, service: chat, methods: [POST]}}
  - {name: reports-query, allow: {from: reports, to: llm, service: sql}}
  - {name: reports-sealed, allow: {from: reports, to: llm, service: sealed}}
`},
	} {
		if strings.Count(changed, change[0]) != 1 {
			t.Fatalf("the policy no longer says %q", change[0])
		}
		changed = strings.Replace(changed, change[0], change[1], 1)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	// On a busy machine a gateway may be behind when publishing answers (exit 2): what is
	// tested here begins when all have it.
	control.Run(t, `sallyport --dir mesh policy apply policy.yaml || test $? = 2
for try in $(seq 100); do
  test "$(sallyport --dir mesh gateways -o json | grep -c '^    "serial": 2,')" -lt 3 || exit 0
  sleep 0.2
done
sallyport --dir mesh gateways
exit 1`)
}

// makeCgroup makes nightly's cgroup, if there are any.
func (c *captured) makeCgroup(t *testing.T) {
	t.Helper()
	if out, err := c.onprem.Command(t.Context(), "root", "stat", "-f", "-c", "%T", "/sys/fs/cgroup").Output(); err != nil || strings.TrimSpace(string(out)) != "cgroup2fs" {
		return
	}
	dir := fmt.Sprintf("/sys/fs/cgroup/%s%d-nightly", prefix, os.Getpid())
	if err := c.onprem.Command(t.Context(), "root", "mkdir", dir).Run(); err != nil {
		return
	}
	c.cgroup = dir
	t.Cleanup(func() {
		if err := c.onprem.Command(context.WithoutCancel(t.Context()), "root", "rmdir", dir).Run(); err != nil {
			t.Error(err)
		}
	})
}

// as is what a program of that user says, and how it ended.
func (c *captured) as(t *testing.T, user string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := c.onprem.Command(ctx, user, args...).Output()
	if err != nil {
		err = fmt.Errorf("%w%s", err, stderrOf(err))
	}
	return string(out), err
}

// curl asks over plain HTTP.
func (c *captured) curl(t *testing.T, user string, args ...string) *http.Response {
	t.Helper()
	out, err := c.as(t, user, append([]string{"curl", "-gsS", "-i", "-m", "20"}, args...)...)
	if err != nil {
		t.Fatalf("curl %v: %v", args, err)
	}
	return parse(t, out)
}

func parse(t *testing.T, text string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(strings.Replace(text, "HTTP/2 ", "HTTP/2.0 ", 1))), nil)
	if err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

// chats holds that a user's question crosses, and is recorded as its workload's.
func (c *captured) chats(t *testing.T, user, at string, args ...string) {
	t.Helper()
	c.chatted(t, c.curl(t, user, append(args, "-d", "hello", "http://"+at+"/v1/chat/completions")...), user)
}

func (c *captured) chatted(t *testing.T, resp *http.Response, workload string) {
	t.Helper()
	id := "spiffe://onprem.example/" + workload
	body, _ := io.ReadAll(resp.Body) // it is in memory
	if resp.StatusCode != http.StatusOK || string(body) != "hello" || !strings.Contains(resp.Header.Get("caller"), "URI="+id) {
		t.Fatalf("answered %d, the callee saw %q: %s", resp.StatusCode, resp.Header.Get("caller"), body)
	}
	r := c.Record(t, resp.Header.Get("sallyport-crossing"))
	c.isLocal(t, r, id)
	if r.GetState() != crossingv1.Record_JOINED || !r.GetAgree() || r.GetOperation().GetAuthority() != "llm.azure.mesh:8000" || !r.GetEgress().GetContentSeen() {
		t.Errorf("record %v", r)
	}
}

// isLocal holds that a record names its caller by the kernel's word.
func (c *captured) isLocal(t *testing.T, r *crossingv1.Record, id string) {
	t.Helper()
	p := r.GetEgress().GetPeer()
	if r.GetSource() != id || p.GetAttach() != crossingv1.Attach_LOCAL || p.GetSvid() != "" || p.GetTls() != "" ||
		!strings.HasPrefix(p.GetAddress(), "10.1.0.10:") && !strings.HasPrefix(p.GetAddress(), "[fd00:1::10]:") {
		t.Errorf("the record is of %s, who showed it so: %v", r.GetSource(), p)
	}
}

func (c *captured) misdirected(t *testing.T) {
	resp := c.curl(t, "reports", "-d", "hello", "-H", "Host: retriever.aws.mesh:8000", "http://10.3.0.10:8000/v1/chat/completions")
	r := c.Record(t, resp.Header.Get("sallyport-crossing"))
	c.isLocal(t, r, "spiffe://onprem.example/reports")
	if resp.StatusCode != http.StatusMisdirectedRequest || r.GetOperation().GetAuthority() != "retriever.aws.mesh:8000" ||
		r.GetEgress().GetReason() != crossingv1.Reason_MALFORMED {
		t.Errorf("answered %d; record %v", resp.StatusCode, r)
	}
}

func (c *captured) denied(t *testing.T) {
	resp := c.curl(t, "reports", "-X", "DELETE", "http://10.3.0.10:8000/v1/models")
	r := c.Record(t, resp.Header.Get("sallyport-crossing"))
	c.isLocal(t, r, "spiffe://onprem.example/reports")
	if resp.StatusCode != http.StatusForbidden || r.GetState() != crossingv1.Record_DENIED || r.GetEgress().GetReason() != crossingv1.Reason_NO_INTENT {
		t.Errorf("answered %d; record %v", resp.StatusCode, r)
	}
}

// of waits for the only crossing for an authority that is over, and that no test
// has asked for before.
func (c *captured) of(t *testing.T, authority string, is func(*crossingv1.Record) bool) *crossingv1.Record {
	t.Helper()
	var found *crossingv1.Record
	Await(t, 30*time.Second, "the record of "+authority, func() error {
		all, err := list(t, c.Mesh, func() *crossingv1.Record { return new(crossingv1.Record) }, "crossings")
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(r *crossingv1.Record) bool {
			return r.GetOperation().GetAuthority() == authority && r.GetState() != crossingv1.Record_OPEN && is(r)
		})
		if i < 0 {
			return fmt.Errorf("not among %d", len(all))
		}
		found = all[i]
		return nil
	})
	return found
}

func (c *captured) bytes(t *testing.T) {
	if out, err := c.as(t, "reports", "legacy", "say", "10.3.0.10:7000", "GET / is no HTTP here"); err != nil || out != "GET / is no HTTP here" {
		t.Fatalf("heard %q, %v", out, err)
	}
	r := c.of(t, "llm.azure.mesh:7000", func(r *crossingv1.Record) bool { return r.GetEgress().GetClose() == crossingv1.Cause_DONE })
	c.isLocal(t, r, "spiffe://onprem.example/reports")
	if !r.GetAgree() || r.GetOperation().GetName() != http.MethodConnect || r.GetEgress().GetRequestBytes() != 21 || r.GetEgress().GetContentSeen() {
		t.Errorf("record %v", r)
	}
}

func (c *captured) reset(t *testing.T) {
	if out, err := c.as(t, "reports", "legacy", "say", "10.3.0.10:7000", "reset"); err == nil || out != "" || !strings.Contains(err.Error(), "reset by peer") {
		t.Fatalf("heard %q, %v", out, err)
	}
	r := c.of(t, "llm.azure.mesh:7000", func(r *crossingv1.Record) bool { return r.GetEgress().GetClose() != crossingv1.Cause_DONE })
	if r.GetEgress().GetClose() != crossingv1.Cause_DESTINATION_FAILED || r.GetIngress().GetClose() != crossingv1.Cause_DESTINATION_FAILED {
		t.Errorf("record %v", r)
	}
}

func (c *captured) sealed(t *testing.T) {
	out, err := c.as(t, "reports", "curl", "-gsSk", "-m", "20", "--resolve", "llm.azure.mesh:7443:10.3.0.10", "https://llm.azure.mesh:7443/")
	if err != nil || out != "sealed\n" {
		t.Fatalf("heard %q, %v", out, err)
	}
	r := c.of(t, "llm.azure.mesh:7443", func(r *crossingv1.Record) bool { return r.GetEgress().GetClose() == crossingv1.Cause_DONE })
	c.isLocal(t, r, "spiffe://onprem.example/reports")
	if !r.GetAgree() || r.GetOperation().GetProtocol() != "tls" || r.GetEgress().GetContentSeen() {
		t.Errorf("record %v", r)
	}
}

func (c *captured) sealedForAnother(t *testing.T) {
	if out, err := c.as(t, "reports", "curl", "-gsSk", "-m", "20", "--resolve", "other.example:7443:10.3.0.10", "https://other.example:7443/"); err == nil {
		t.Fatalf("heard %q", out)
	}
	r := c.of(t, "llm.azure.mesh:7443", func(r *crossingv1.Record) bool { return r.GetEgress().GetClose() != crossingv1.Cause_DONE })
	if r.GetEgress().GetReason() != crossingv1.Reason_MALFORMED || !strings.Contains(r.GetEgress().GetDetail(), "other.example") {
		t.Errorf("record %v", r)
	}
}

func (c *captured) unseen(t *testing.T) {
	if out, err := c.as(t, "reports", "curl", "-gsSk", "-m", "20", "https://10.3.0.10:8000/"); err == nil {
		t.Fatalf("heard %q", out)
	}
	r := c.of(t, "llm.azure.mesh:8000", func(r *crossingv1.Record) bool { return strings.Contains(r.GetEgress().GetDetail(), "TLS") })
	c.isLocal(t, r, "spiffe://onprem.example/reports")
	if r.GetEgress().GetReason() != crossingv1.Reason_MALFORMED || r.GetState() != crossingv1.Record_DENIED {
		t.Errorf("record %v", r)
	}
}

func (c *captured) nobodyThere(t *testing.T) {
	if out, err := c.as(t, "reports", "legacy", "say", "10.3.0.11:9", "anybody?"); err == nil || out != "" {
		t.Fatalf("heard %q, %v", out, err)
	}
	r := c.of(t, "10.3.0.11:9", func(*crossingv1.Record) bool { return true })
	c.isLocal(t, r, "spiffe://onprem.example/reports")
	if r.GetState() != crossingv1.Record_DENIED || r.GetEgress().GetReason() != crossingv1.Reason_UNKNOWN_DESTINATION || r.GetTransition().GetOwner() != "datacenter-team" {
		t.Errorf("record %v", r)
	}
}

func (c *captured) stranger(t *testing.T) {
	before := len(c.crossings(t))
	if out, err := c.as(t, "stranger", "legacy", "say", "10.3.0.10:8000", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil || out != "" {
		t.Fatalf("heard %q, %v", out, err)
	}
	want := fmt.Sprintf("captured on its way to 10.3.0.10:8000: user %d ", c.uid(t, "stranger"))
	Await(t, 30*time.Second, "the refusal", func() error {
		all, err := list(t, c.Mesh, func() *controlv1.GatewayRefusal { return new(controlv1.GatewayRefusal) }, "crossings", "refused")
		for _, g := range all {
			if r := g.GetRefusal(); r.GetReason() == crossingv1.Reason_NO_IDENTITY && strings.HasPrefix(r.GetDetail(), want) && r.GetPrefix() == "10.1.0.0/24" {
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("not among %v", all))
	})
	if after := len(c.crossings(t)); after != before {
		t.Errorf("%d crossings of nobody", after-before)
	}
}

func (c *captured) crossings(t *testing.T) []*crossingv1.Record {
	t.Helper()
	all, err := list(t, c.Mesh, func() *crossingv1.Record { return new(crossingv1.Record) }, "crossings")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (c *captured) byCgroup(t *testing.T) {
	if c.cgroup == "" {
		if os.Getenv("SALLYPORT_REQUIRE_ALL") != "" {
			t.Fatal("needs cgroups (v2) that can be made")
		}
		t.Skip("needs cgroups (v2) that can be made")
	}
	const ask = "curl -gsS -i -m 20 -d hello http://10.3.0.10:8000/v1/chat/completions"
	if out, err := c.as(t, "nightly", "sh", "-c", ask); err == nil {
		t.Errorf("its user, in another cgroup, heard %q", out)
	}
	out, err := c.as(t, "root", "sh", "-c", "echo $$ > "+c.cgroup+"/cgroup.procs; exec setpriv --reuid=nightly --clear-groups -- "+ask)
	if err != nil {
		t.Fatal(err)
	}
	c.chatted(t, parse(t, out), "nightly")
}

// itself: what the gateway's user calls goes out, and is answered by whoever is there.
func (c *captured) itself(t *testing.T) {
	before := len(c.crossings(t))
	resp := c.curl(t, "sallyport-gateway", "http://10.3.0.10:8000/")
	body, _ := io.ReadAll(resp.Body) // it is in memory
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "HTTPS server") {
		t.Errorf("answered %d %s", resp.StatusCode, body)
	}
	if after := len(c.crossings(t)); after != before {
		t.Errorf("%d crossings of the gateway's", after-before)
	}
}

// reloaded: another process of the gateway takes over what captures.
func (c *captured) reloaded(t *testing.T) {
	first := c.Units["onprem/sallyport-gateway"]
	first.cmd.Process.Signal(syscall.SIGHUP)
	select {
	case <-first.Exited:
	case <-time.After(2 * time.Minute):
		t.Fatal("the gateway's process before does not end")
	}
	c.chats(t, "reports", "10.3.0.10:8000")
}

// stop stops the gateway, whichever process of it runs.
func (c *captured) stop(t *testing.T) {
	t.Helper()
	pids, err := exec.Command("ip", "netns", "pids", c.onprem.Namespace()).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(pids)) {
		if exe, err := os.Readlink("/proc/" + pid + "/exe"); err == nil && filepath.Base(exe) == "sallyport-gateway" {
			c.onprem.Run(t, "kill "+pid)
		}
	}
	Await(t, stopTimeout, "the gateway's end", func() error {
		if out, err := c.as(t, "reports", "curl", "-fsS", "http://127.0.0.1:8446/healthz"); err == nil {
			return fmt.Errorf("it still says %q", out)
		}
		return nil
	})
}

// down: nobody else on the host answers in the gateway's place, though somebody
// listens at that port.
func (c *captured) down(t *testing.T) {
	c.stop(t)
	c.onprem.Run(t, "curl -gsSk -m 20 -o /dev/null https://127.0.0.1:8000/ || test $? -ne 7")
	for _, at := range []string{"10.3.0.10:8000", "[fd00:3::10]:8000"} {
		out, err := c.as(t, "reports", "curl", "-gsS", "-m", "20", "http://"+at+"/")
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
			t.Errorf("heard %q, %v; want a connection that is refused", out, err)
		}
	}
}
