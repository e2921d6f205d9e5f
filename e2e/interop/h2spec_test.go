//go:build linux

package interop

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// h2specCases is how many cases version 2.2.1 has, fewer of which would hold less.
const h2specCases = 146

var (
	h2specSummary = regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`)
	h2specSection = regexp.MustCompile(`^\s*(\d[\d.]*)\. `)
	h2specFailed  = regexp.MustCompile(`^\s*× (\d+): (.*)`)
	// An answer is what came last, or the reset that follows one that did not wait for
	// its request, or nothing came after it.
	h2specAnswered = regexp.MustCompile(`Actual: (DATA|HEADERS|RST_STREAM|Timeout)`)
)

// early says that a case failed because its request was answered before the case
// came to its point: nobody waits for more of a request that shows no identity.
func early(f h2specFailure) bool { return h2specAnswered.MatchString(f.says) }

// TestH2spec holds the attach side to RFC 9113 and RFC 7541 as h2spec does. It
// shows no identity by itself: over TLS and on loopback all answers say so, and
// behind a connection by mTLS all are answers of a workload.
func TestH2spec(t *testing.T) {
	bin := program(t, "h2spec", builtByUs)
	m := meshtest.Start(t, func(cfg *localmesh.Config) {
		const modelsOnly = "service: chat, methods: [GET], paths: [/v1/models]}"
		cfg.Policy = []byte(meshtest.Edit(t, string(meshtest.Plain()), modelsOnly, "service: chat}"))
	})
	m.ServeChat(t, whole)
	g := m.Gateways["onprem-1"]
	for _, c := range []struct {
		name   string
		at     net.Addr
		args   []string
		chance func(h2specFailure) bool // says that a failure is none
	}{
		{"TLS, no identity", g.AttachAddr(), []string{"--tls", "--insecure"}, early},
		// 3.5/2 begins with another preface, which is answered in HTTP/1.1 here.
		{"loopback, prior knowledge, no identity", g.LoopbackAddr(), nil, func(f h2specFailure) bool { return f.id == "3.5/2" || early(f) }},
		// The path is that of a base URL, so that each request crosses.
		{"mTLS", mutual(t, m, "orchestrator"), []string{"--path", "/llm.azure.mesh:8000/v1/models"}, func(h2specFailure) bool { return false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(m.Context, 2*meshtest.Patience)
			defer cancel()
			args := append([]string{"--strict", "--port", strconv.Itoa(c.at.(*net.TCPAddr).Port)}, c.args...)
			out, code, err := ran(exec.CommandContext(ctx, bin, args...))
			found := h2specSummary.FindStringSubmatch(out)
			if err != nil || found == nil {
				t.Fatalf("h2spec ended with exit code %d, %v: %s", code, err, out)
			}
			if total, _ := strconv.Atoi(found[1]); total < h2specCases || found[3] != "0" {
				t.Errorf("%s", found[0])
			}
			failures := h2specFailures(out)
			if strconv.Itoa(len(failures)) != found[4] {
				t.Errorf("%s, and %d were read: %s", found[0], len(failures), out)
			}
			for _, failed := range failures {
				if !c.chance(failed) {
					t.Errorf("%s: %s", failed.id, failed.says)
				}
			}
		})
	}
	t.Cleanup(func() {
		if len(m.Crossings(t, &controlv1.ListCrossingsRequest{Decision: crossingv1.Decision_ALLOW})) == 0 {
			t.Error("nothing of it crossed")
		}
	})
}

type h2specFailure struct{ id, says string }

// h2specFailures are the cases that failed, as h2spec says them at its end: the
// titles of sections with their numbers, and below them the cases with theirs.
func h2specFailures(out string) (all []h2specFailure) {
	_, failures, _ := strings.Cut(out, "Failures:")
	failures, _, _ = strings.Cut(failures, "Finished in")
	section := ""
	for line := range strings.Lines(failures) {
		if m := h2specFailed.FindStringSubmatch(line); m != nil {
			all = append(all, h2specFailure{section + "/" + m[1], m[2]})
		} else if m := h2specSection.FindStringSubmatch(line); m != nil {
			section = m[1]
		} else if len(all) > 0 && strings.TrimSpace(line) != "" {
			all[len(all)-1].says += "\n" + strings.TrimRight(line, "\n")
		}
	}
	return all
}

// whole answers what came as a whole, so that no case is answered before it came to its
// point. Cases on windows need some bytes.
func whole(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		io.WriteString(w, `{"object":"list","data":[]}`)
	}
}

// mutual is a port behind which is a workload's own connection by mTLS to its
// gateway, for programs that have no SVID: HTTP/2, byte for byte.
func mutual(t *testing.T, m *meshtest.Mesh, workload string) net.Addr {
	t.Helper()
	source, err := m.Source(m.Context, workload)
	if err != nil {
		t.Fatal(err)
	}
	config := certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "h2")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go join(near, m.Gateways["onprem-1"].AttachAddr().String(), config)
		}
	}()
	return l.Addr()
}

// join copies between a connection and one of its own until either ends.
func join(near net.Conn, addr string, config *tls.Config) {
	defer near.Close()
	far, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return
	}
	var group sync.WaitGroup
	group.Go(func() {
		io.Copy(far, near)
		far.Close()
	})
	io.Copy(near, far)
	near.Close()
	group.Wait()
}
