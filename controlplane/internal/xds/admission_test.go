package xds

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func grpcCode(err error) codes.Code {
	if errors.Is(err, io.EOF) {
		return codes.OK
	}
	return status.Code(err)
}

func TestWhoMaySubscribe(t *testing.T) {
	tests := []struct {
		name     string
		policy   []string // environments of the policy in force; none if empty
		td, path string
		node     string // what the first request says; the peer's ID if "own", none if empty
		typ      string
		want     codes.Code // Canceled: it was let in, and we left
	}{
		{"gateway before any policy", nil, "aws.test", "/sallyport/gateway/aws-1", "own", TypePolicy, codes.Canceled},
		{"workload before any policy", nil, "aws.test", "/ai/llm", "own", TypePolicy, codes.PermissionDenied},
		{"path below a gateway's", nil, "aws.test", "/sallyport/gateway/aws-1/x", "own", TypePolicy, codes.PermissionDenied},
		{"control plane before any policy", nil, "mesh.test", "/sallyport/controlplane/cp-2", "own", TypePolicy, codes.PermissionDenied},
		{"gateway of the policy", environments, "aws.test", "/sallyport/gateway/aws-1", "own", TypeEndpoints, codes.Canceled},
		{"gateway that the policy does not name", environments, "aws.test", "/sallyport/gateway/aws-2", "own", TypePolicy, codes.PermissionDenied},
		{"name of another environment's gateway", environments, "aws.test", "/sallyport/gateway/azure-1", "own", TypePolicy, codes.PermissionDenied},
		{"gateway of an environment that is gone", []string{"aws"}, "azure.test", "/sallyport/gateway/azure-1", "own", TypePolicy, codes.PermissionDenied},
		{"node of another", environments, "aws.test", "/sallyport/gateway/aws-1", "spiffe://azure.test/sallyport/gateway/azure-1", TypeEndpoints, codes.PermissionDenied},
		{"node not named", environments, "aws.test", "/sallyport/gateway/aws-1", "", TypePolicy, codes.InvalidArgument},
		{"type that is not served", environments, "aws.test", "/sallyport/gateway/aws-1", "own", "type.googleapis.com/envoy.config.listener.v3.Listener", codes.InvalidArgument},
		{"no type", environments, "aws.test", "/sallyport/gateway/aws-1", "own", "", codes.InvalidArgument},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			if tt.policy != nil {
				m.publish(testPolicy("a", tt.policy...), 1)
			}
			g := m.connect(tt.td, tt.path)
			req := &discovery.DeltaDiscoveryRequest{TypeUrl: tt.typ, ResourceNamesSubscribe: []string{"*"}}
			switch tt.node {
			case "own":
				req.Node = &core.Node{Id: g.id.String()}
			case "":
			default:
				req.Node = &core.Node{Id: tt.node}
			}
			g.stream.Send(req) // the server may have refused the stream already
			if tt.want == codes.Canceled {
				if _, err := g.stream.Recv(); err != nil {
					t.Fatalf("first response: %v", err)
				}
				g.end()
			}
			if got := g.refused(); got != tt.want {
				t.Errorf("stream ended with %v, want %v", got, tt.want)
			}
		})
	}
}

func TestNodeMayNotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		g := m.gateway("aws")
		g.send(&discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "spiffe://onprem.test/sallyport/gateway/onprem-1"}, TypeUrl: TypeEndpoints})
		if got := g.refused(); got != codes.PermissionDenied {
			t.Errorf("stream ended with %v, want %v", got, codes.PermissionDenied)
		}
	})
}

func TestStateOfTheWorldIsRefused(t *testing.T) {
	err := New(Config{Peer: peerID}).StreamAggregatedResources(nil)
	if got := status.Code(err); got != codes.Unimplemented {
		t.Errorf("StreamAggregatedResources = %v, want %v", got, codes.Unimplemented)
	}
}

func TestStreamWithoutIdentityIsRefused(t *testing.T) {
	s := New(Config{Peer: func(context.Context) (spiffeid.ID, error) { return spiffeid.ID{}, errors.New("no certificate") }})
	err := s.DeltaAggregatedResources(&nobody{ctx: t.Context()})
	if got := status.Code(err); got != codes.Unauthenticated {
		t.Errorf("DeltaAggregatedResources = %v, want %v", got, codes.Unauthenticated)
	}
}

// nobody is a stream that is never read.
type nobody struct {
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	ctx context.Context
}

func (n *nobody) Context() context.Context { return n.ctx }

func TestPolicyExpelsGatewaysThatItDoesNotName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		aws, azure := m.gateway("aws"), m.gateway("azure")
		aws.acceptAll()
		gone := make(chan codes.Code, 1)
		go func() { gone <- azure.refused() }()
		sp, manifest := signedPolicy(t, testPolicy("b", "aws", "onprem"), 2, true)
		result, err := m.server.Publish(t.Context(), sp, manifest)
		if err != nil {
			t.Fatalf("Publish error: %v", err)
		}
		if got := <-gone; got != codes.PermissionDenied {
			t.Errorf("azure's stream ended with %v, want %v", got, codes.PermissionDenied)
		}
		if len(result.InForce) != 1 || result.InForce[0] != "aws-1" {
			t.Errorf("in force at %v, want [aws-1]", result.InForce)
		}
		for _, g := range m.server.Gateways() {
			if g.Name == "azure-1" {
				t.Errorf("azure-1 is still listed: %+v", g)
			}
		}
	})
}

func TestSecondStreamReplacesTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		first := m.gateway("aws")
		first.ack(first.next(TypePolicy))
		second := m.gateway("aws")
		second.acceptAll()
		if got := first.refused(); got != codes.Aborted {
			t.Errorf("first stream ended with %v, want %v", got, codes.Aborted)
		}
		result := m.publish(testPolicy("b", environments...), 2)
		if len(result.InForce) != 1 || result.InForce[0] != "aws-1" {
			t.Errorf("in force at %v, want [aws-1]", result.InForce)
		}
	})
}

func TestCloseEndsStreamsAndRefusesNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		g := m.gateway("aws")
		if _, err := g.stream.Recv(); err != nil {
			t.Fatalf("first response: %v", err)
		}
		m.server.Close()
		if got := g.refused(); got != codes.Unavailable {
			t.Errorf("stream ended with %v, want %v", got, codes.Unavailable)
		}
		late := m.connect("onprem.test", "/sallyport/gateway/onprem-1")
		if got := late.refused(); got != codes.Unavailable {
			t.Errorf("new stream ended with %v, want %v", got, codes.Unavailable)
		}
	})
}
