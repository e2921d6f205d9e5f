package main

import (
	"net"
	"slices"
	"strings"
	"testing"
)

// What SDKs read names the helper and then the destination; a key that the program
// has of its own stays.
func TestAttachEnvironment(t *testing.T) {
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	own := func(name string) (string, bool) { return "sk-1", name == "ANTHROPIC_API_KEY" }
	for _, c := range []struct {
		flags attachFlags
		addr  net.Addr
		want  []string
	}{
		{attachFlags{}, at, []string{"SALLYPORT_ATTACH=http://127.0.0.1:8080"}},
		{attachFlags{}, &net.UnixAddr{Name: "/run/a.sock", Net: "unix"}, []string{"SALLYPORT_ATTACH=unix:/run/a.sock"}},
		{attachFlags{openAI: "llm.azure.mesh:8000", anthropic: "claude.aws.mesh:443"}, at, []string{
			"SALLYPORT_ATTACH=http://127.0.0.1:8080",
			"OPENAI_BASE_URL=http://127.0.0.1:8080/llm.azure.mesh:8000/v1",
			"OPENAI_API_BASE=http://127.0.0.1:8080/llm.azure.mesh:8000/v1",
			"OPENAI_API_KEY=attached",
			"ANTHROPIC_BASE_URL=http://127.0.0.1:8080/claude.aws.mesh:443",
		}},
		{attachFlags{proxy: true}, at, []string{
			"SALLYPORT_ATTACH=http://127.0.0.1:8080",
			"http_proxy=http://127.0.0.1:8080", "https_proxy=http://127.0.0.1:8080",
			"HTTP_PROXY=http://127.0.0.1:8080", "HTTPS_PROXY=http://127.0.0.1:8080",
			"no_proxy=localhost,127.0.0.1,::1", "NO_PROXY=localhost,127.0.0.1,::1", "NODE_USE_ENV_PROXY=1",
		}},
	} {
		if got := c.flags.environment(c.addr, own); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %q\nwant %q", c.flags, got, c.want)
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	m := startRealMesh(t)
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", m.workloadAPI)
	t.Setenv("SALLYPORT_GATEWAY", "")
	t.Setenv("SALLYPORT_DIR", "")
	for _, c := range []struct{ args, want string }{
		{"attach -- true", "which gateway?"},
		{"attach --gateway 127.0.0.1 -- true", "no HOST:PORT"},
		{"attach --gateway 127.0.0.1:1 --gateway-id llm -- true", "no SPIFFE ID"},
		{"attach --gateway 127.0.0.1:1 --listen 0.0.0.0:80 -- true", "not loopback"},
		{"attach --gateway 127.0.0.1:1 --listen unix:/tmp/s --openai llm.azure.mesh:8000 -- true", "need a TCP address"},
		{"attach --gateway 127.0.0.1:1 -- /no/such/program", "/no/such/program"},
	} {
		code, _, stderr := invoke(t, strings.Fields(c.args)...)
		if code != couldNotSay || !strings.Contains(stderr, c.want) {
			t.Errorf("%s = %d, %q; want %q", c.args, code, stderr, c.want)
		}
	}
}

// The program's exit code is the command's, and so is the signal that ended it.
func TestAttachExitCode(t *testing.T) {
	m := startRealMesh(t)
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", m.workloadAPI)
	for script, want := range map[string]int{"exit 0": 0, "exit 1": 1, "exit 9": 9, "kill -KILL $$": 137} {
		code, _, stderr := invoke(t, "attach", "--gateway", "127.0.0.1:1", "--", "sh", "-c", script)
		if code != want || stderr != "" {
			t.Errorf("%s = %d, %q; want %d", script, code, stderr, want)
		}
	}
}
