package localmesh

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/sallyport-mesh/sallyport/certs"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// Client is an HTTP client as the workload of that name has it: it shows the
// workload's SVID to its own environment's gateway and calls others by name,
// such as https://llm.azure.mesh.
func (m *Mesh) Client(ctx context.Context, workload string) (*http.Client, error) {
	source, err := m.Source(ctx, workload)
	if err != nil {
		return nil, err
	}
	env := identities[workload].environment
	var b configv1.Bootstrap
	if there, err := readJSON(m.layout.bootstrap(env+"-1"), &b); err != nil || !there {
		return nil, fmt.Errorf("find the gateway of %s: %w", env, err)
	}
	addr := b.GetAttach()
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   certs.ClientTLS(source, certs.AuthorizeID(GatewayID(env)), "h2", "http/1.1"),
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}, nil
}
