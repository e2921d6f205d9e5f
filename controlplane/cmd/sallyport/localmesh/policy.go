package localmesh

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// inForce is the serial and revision of the policy in force, verified; zero
// if there is none yet.
func (m *Mesh) inForce(ctx context.Context, keys *policyv1.KeySet) (uint64, string, error) {
	sp, err := m.Reload(ctx)
	if status.Code(err) == codes.NotFound {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("ask for the policy in force: %w", err)
	}
	manifest, _, err := signed.Verify(sp, keys)
	if err != nil {
		return 0, "", fmt.Errorf("verify the policy in force: %w", err)
	}
	return manifest.GetSerial(), manifest.GetRevision(), nil
}

// InForce is the policy in force, verified and ready to be asked.
func (m *Mesh) InForce(ctx context.Context) (*policy.Policy, error) {
	keys, err := m.keySet()
	if err != nil {
		return nil, err
	}
	sp, err := m.Reload(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the policy in force: %w", err)
	}
	manifest, p, err := signed.Verify(sp, keys)
	if err != nil {
		return nil, fmt.Errorf("verify the policy in force: %w", err)
	}
	return policy.Compile(p, policy.Ref{Serial: manifest.GetSerial(), Revision: manifest.GetRevision()})
}

// PolicyLine says which policy is in force where.
func (m *Mesh) PolicyLine(ctx context.Context) (string, error) {
	gateways, err := controlv1.NewGatewayServiceClient(m.conn).ListGateways(ctx, &controlv1.ListGatewaysRequest{})
	if err != nil {
		return "", fmt.Errorf("ask for the gateways: %w", err)
	}
	keys, err := m.keySet()
	if err != nil {
		return "", err
	}
	serial, revision, err := m.inForce(ctx, keys)
	if err != nil {
		return "", err
	}
	if p := m.Published; p != nil {
		return fmt.Sprintf("%s  serial %d  in force at %d of %d gateways after %d ms", short(revision), serial,
			len(p.GetInForce()), len(gateways.GetGateways()), p.GetTook().AsDuration().Milliseconds()), nil
	}
	in := 0
	for _, g := range gateways.GetGateways() {
		if g.GetRevision() == revision {
			in++
		}
	}
	return fmt.Sprintf("%s  serial %d  in force at %d of %d gateways", short(revision), serial,
		in, len(gateways.GetGateways())), nil
}

// short is a revision as people tell them apart.
func short(revision string) string {
	const enough = len("sha256:") + 12
	if len(revision) > enough {
		return revision[:enough] + "…"
	}
	return revision
}
