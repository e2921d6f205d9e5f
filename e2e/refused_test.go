package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// TestEveryRefusalIsInTheStore: whatever a caller is refused for, the answer
// names a crossing, its record says what was asked for and who answers, and no
// gateway wrote anything that the control plane would not take.
func TestEveryRefusalIsInTheStore(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	for _, c := range []struct {
		name, raw, reason, owner, authority, detail string
		status                                      int
	}{
		{"no intent", "GET /v1/completions HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\n\r\n", "NO_INTENT", "ml-platform", "llm.azure.mesh:8000", "", 403},
		{"upgrade of what is allowed", "GET /v1/models HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\nConnection: Upgrade, Upgrade: websocket\r\nUpgrade: websocket\r\n\r\n", "NOT_ENFORCEABLE", "ml-platform", "llm.azure.mesh:8000", "upgrade to websocket", 501},
		{"upgrade of what is denied", "GET /v1/files HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "NO_INTENT", "ml-platform", "llm.azure.mesh:8000", "", 403},
		{"upgrade at nobody's", "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "UNKNOWN_DESTINATION", "datacenter-team", "example.com", "", 403},
		{"tunnel to elsewhere", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "UNKNOWN_DESTINATION", "datacenter-team", "example.com:443", "", 403},
		{"metadata", "GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", "UNKNOWN_DESTINATION", "datacenter-team", "169.254.169.254", "", 403},
		{"another port", "GET / HTTP/1.1\r\nHost: llm.azure.mesh:22\r\n\r\n", "UNKNOWN_SERVICE", "ml-platform", "llm.azure.mesh:22", "", 403},
		{"two lengths", "POST /v1 HTTP/1.1\r\nHost: llm.azure.mesh:8000\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "MALFORMED", "datacenter-team", "llm.azure.mesh:8000", "both Content-Length and Transfer-Encoding", 400},
		{"bad host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "MALFORMED", "datacenter-team", `"a b"`, "has the character", 400},
		{"too many fields", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("x: y\r\n", 300) + "\r\n", "TOO_LARGE", "datacenter-team", "", "more than 256 fields", 431},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, id := sendRaw(t, m, c.raw)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			r := m.Record(t, id)
			end := r.GetEgress()
			if end.GetReason().String() != c.reason || r.GetTransition().GetOwner() != c.owner || r.GetOperation().GetAuthority() != c.authority ||
				!strings.Contains(end.GetDetail(), c.detail) {
				t.Errorf("record: %v", r)
			}
		})
	}
	rejectedNothing(t, m)
	refusedNoPeer(t, m)
}

// refusedNoPeer holds that no gateway refused a peer, such as one that dialled it
// before it had its first policy. An intruder's refusal shows that all that came
// before it has been told.
func refusedNoPeer(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	for i, name := range []string{"onprem-1", "aws-1", "azure-1"} {
		intruder := meshtest.Intruder(i + 1)
		c := intruder.Dial(t, m.Gateways[name].LoopbackAddr().String())
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		m.Refusal(t, intruder)
	}
	for _, r := range m.Refusals(t) {
		if r.GetRefusal().GetListener() == "tunnel" {
			t.Errorf("%s refused a peer: %v", r.GetGateway(), r.GetRefusal())
		}
	}
}

// sendRaw sends bytes as the orchestrator, and gives the answer's status and its
// crossing.
func sendRaw(t *testing.T, m *meshtest.Mesh, raw string) (status int, id string) {
	t.Helper()
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", m.Gateways["onprem-1"].AttachAddr().String(),
		certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "http/1.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(raw)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	id = resp.Header.Get("sallyport-crossing")
	if id == "" || !bytes.Contains(said, []byte(id)) {
		t.Errorf("the head names crossing %q, the body is %s", id, said)
	}
	return resp.StatusCode, id
}

// rejectedNothing holds that the control plane took all that gateways wrote.
func rejectedNothing(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	resp, err := controlv1.NewGatewayServiceClient(m.API()).ListGateways(m.Context, &controlv1.ListGatewaysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range resp.GetGateways() {
		if g.GetRejected() > 0 {
			t.Errorf("%d frames of %s were rejected: %s", g.GetRejected(), g.GetName(), g.GetRejectedWhy())
		}
	}
	err = filepath.WalkDir(m.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "rejected.log" {
			t.Errorf("a gateway wrote %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
