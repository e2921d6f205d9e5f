package api

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func used(n int64, gateway string) *controlv1.BudgetUse {
	return &controlv1.BudgetUse{
		Caller: "spiffe://onprem.demo" + workloadPath, Intent: "plan", What: "tokens", Window: 86400,
		Start: time.Now().UTC().Truncate(24 * time.Hour).Unix(), Used: n, Gateway: gateway,
	}
}

// TestBudgetsAreShared among the gateways of one environment of the policy in force, and
// nobody else.
func TestBudgetsAreShared(t *testing.T) {
	m := newMesh(t, nil)
	p := testPolicy()
	p.Environments["onprem"].Gateways["onprem-2"] = &policyv1.Gateway{DialOut: true}
	if _, err := m.publish(m.sign(p, 1, "")); err != nil {
		t.Fatal(err)
	}
	sequence := uint64(0)
	share := func(conn *grpc.ClientConn, uses ...*controlv1.BudgetUse) (*controlv1.ShareBudgetsResponse, error) {
		sequence++
		return controlv1.NewGatewayServiceClient(conn).ShareBudgets(t.Context(), &controlv1.ShareBudgetsRequest{
			Run: testRun, Sequence: sequence, Uses: uses,
		})
	}
	if _, err := share(m.gateway(), used(5, "")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		domain, path string
		want         []*controlv1.BudgetUse
	}{
		"another of its environment": {"onprem.demo", "/sallyport/gateway/onprem-2", []*controlv1.BudgetUse{used(5, "onprem-1")}},
		"itself":                     {"onprem.demo", gatewayPath1, nil},
		"one of another environment": {"azure.demo", "/sallyport/gateway/azure-1", nil},
	} {
		resp, err := share(m.as(c.domain, c.path))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, resp.GetUses(), protocmp.Transform()); diff != "" {
			t.Errorf("%s hears (-want +got):\n%s", name, diff)
		}
	}
	for name, c := range map[string][2]string{
		"a gateway of no policy":     {"onprem.demo", "/sallyport/gateway/onprem-9"},
		"its name elsewhere":         {"azure.demo", gatewayPath1},
		"of an unknown domain":       {"stranger.demo", gatewayPath1},
		"the workload it is of":      {"onprem.demo", workloadPath},
		"an operator":                {"mesh.demo", operatorPath},
		"an environment's authority": {"onprem.demo", "/sallyport/authority/main"},
	} {
		_, err := share(m.as(c[0], c[1]), used(100, ""))
		wantCode(t, "ShareBudgets() of "+name, err, codes.PermissionDenied)
	}
	_, err := share(m.gateway(), used(100, "onprem-2"))
	wantCode(t, "ShareBudgets() in another's name", err, codes.InvalidArgument)
	_, err = share(m.gateway(), &controlv1.BudgetUse{Caller: strings.Repeat("a", 1<<20)})
	wantCode(t, "ShareBudgets() of a long caller", err, codes.InvalidArgument)
	_, err = controlv1.NewGatewayServiceClient(m.gateway()).ShareBudgets(t.Context(), &controlv1.ShareBudgetsRequest{Run: testRun, Sequence: 1})
	wantCode(t, "ShareBudgets() that comes late", err, codes.FailedPrecondition)
}
