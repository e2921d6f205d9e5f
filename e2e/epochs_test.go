package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// counts are what a gateway has counted of epochs, by the names of its metrics.
type counts map[string]float64

// countsOf asks a gateway; nil if it does not answer.
func countsOf(t *testing.T, admin string) counts {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	resp, err := client.Get("http://" + admin + "/metrics") //nolint:noctx // the client has a timeout
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	c := counts{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "sallyport_gateway_"), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			c[name] = n
		}
	}
	return c
}

// differences are all that were named, but for those that a kill explains: ends, and
// crossings that were on their way.
func (c counts) differences() float64 {
	sum := 0.0
	for name, n := range c {
		if strings.HasPrefix(name, "statement_differences_total") && !strings.Contains(name, "broken_off") && !strings.Contains(name, "unseen") {
			sum += n
		}
	}
	return sum
}

// ofEpochs are those that tell of statements.
func (c counts) ofEpochs() counts {
	some := counts{}
	for name, n := range c {
		if strings.HasPrefix(name, "statement_") || strings.HasPrefix(name, "epochs_") || strings.HasPrefix(name, "silent_") {
			some[name] = n
		}
	}
	return some
}

func freeAdmin(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestEpochs: what crosses is stated by both gateways within three seconds, and what
// was not when one of them was killed is stated when it is back.
func TestEpochs(t *testing.T) {
	t.Parallel()
	admins := map[string]string{"onprem-1": freeAdmin(t), "azure-1": freeAdmin(t)}
	m, gateways := startGateways(t, func(b *configv1.Bootstrap) {
		if admin := admins[b.GetEnvironment()+"-1"]; admin != "" {
			b.Admin = admin
		}
	})
	client := m.As(t, "orchestrator")
	call := func() {
		t.Helper()
		m.Eventually(t, func() bool {
			resp, err := client.Post(meshtest.ChatURL, "application/json", strings.NewReader(meshtest.ChatBody)) //nolint:noctx // the mesh ends it
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			io.Copy(io.Discard, resp.Body)
			return resp.StatusCode == http.StatusOK
		})
	}
	const egress, ingress = `epochs_stated_total{side="egress"}`, `epochs_stated_total{side="ingress"}`
	stated := func(before float64) func() bool {
		return func() bool {
			return countsOf(t, admins["onprem-1"])[egress] > before && countsOf(t, admins["azure-1"])[ingress] > 0
		}
	}
	call()
	crossed := time.Now()
	m.Eventually(t, stated(0))
	if d := time.Since(crossed); d > 3*time.Second {
		t.Errorf("a crossing was stated after %s", d)
	}
	for _, name := range []string{"azure-1", "onprem-1"} {
		call()
		gateways[name].kill()
		gateways[name].start()
		m.Eventually(t, func() bool { return countsOf(t, admins[name]) != nil })
		call()
		m.Eventually(t, stated(0))
	}
	for name, admin := range admins {
		if c := countsOf(t, admin); c.differences() > 0 || c["silent_pairs"] > 0 {
			t.Errorf("%s: %v", name, c.ofEpochs())
		}
	}
}
