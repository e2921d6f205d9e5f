package controlplane

import (
	"bytes"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const deltaADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

// deltaRequest is an envoy.service.discovery.v3.DeltaDiscoveryRequest in bytes:
// node (1) with its id (1), type_url (2), and resource_names_subscribe (3) or, in
// an ACK, response_nonce (6). Envoy's types stay with the packages that speak xDS.
func deltaRequest(node, typeURL, nonce string) *emptypb.Empty {
	field := func(b []byte, number protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value)
	}
	b := field(nil, 1, field(nil, 1, []byte(node)))
	b = field(b, 2, []byte(typeURL))
	if nonce == "" {
		b = field(b, 3, []byte("*"))
	} else {
		b = field(b, 6, []byte(nonce))
	}
	request := new(emptypb.Empty)
	request.ProtoReflect().SetUnknown(b)
	return request
}

// nonceOf takes the nonce (5) out of a DeltaDiscoveryResponse.
func nonceOf(t *testing.T, b []byte) string {
	t.Helper()
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		b = b[n:]
		if number == 5 {
			value, _ := protowire.ConsumeBytes(b)
			return string(value)
		}
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			break
		}
		b = b[n:]
	}
	t.Fatal("a response without a nonce")
	return ""
}

// subscription is a gateway's stream for one type of resource.
type subscription struct {
	grpc.ClientStream

	t       *testing.T
	typeURL string
}

func (p *plane) subscribe(typeURL string) *subscription {
	p.t.Helper()
	conn := p.as("azure.demo", "/sallyport/gateway/azure-1")
	stream, err := conn.NewStream(p.patience(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, deltaADS)
	if err != nil {
		p.t.Fatal(err)
	}
	s := &subscription{stream, p.t, typeURL}
	s.send("")
	return s
}

func (s *subscription) send(nonce string) {
	s.t.Helper()
	if err := s.SendMsg(deltaRequest(azure1, s.typeURL, nonce)); err != nil {
		s.t.Fatal(err)
	}
}

// next is the next response, which it acknowledges.
func (s *subscription) next() []byte {
	s.t.Helper()
	response := new(emptypb.Empty)
	if err := s.RecvMsg(response); err != nil {
		s.t.Fatalf("no response: %v", err)
	}
	b := response.ProtoReflect().GetUnknown()
	s.send(nonceOf(s.t, b))
	return b
}

// waitFor acknowledges responses until one has the text in it.
func (s *subscription) waitFor(text string) {
	s.t.Helper()
	for !bytes.Contains(s.next(), []byte(text)) {
	}
}

const (
	typeEndpoints = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	typePolicy    = "type.googleapis.com/sallyport.policy.v1.SignedPolicy"
)

func TestGatewaysLearnWhereWorkloadsAre(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, "")
	gateway := p.subscribe(typeEndpoints)
	gateway.waitFor("127.3.0.10") // as the policy says
	req := &controlv1.RegisterRequest{Workload: "llm", Endpoints: map[string]string{"chat": "127.3.0.77:9000"}}
	if _, err := controlv1.NewWorkloadServiceClient(p.as("azure.demo", "/ai/llm")).Register(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	gateway.waitFor("127.3.0.77") // as registered
}

func TestFirstPolicyBringsEndpointsBeforeTheSlowestGateway(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	gateway := p.subscribe(typeEndpoints) // it never answers for the policy
	gateway.next()                        // there are none, but the control plane knows the gateway
	signed, client := p.sign(1, ""), controlv1.NewPolicyServiceClient(p.operator())
	done := make(chan error, 1)
	go func() {
		_, err := client.Publish(t.Context(), &controlv1.PublishRequest{Signed: signed})
		done <- err
	}()
	gateway.waitFor("127.3.0.10")
	select {
	case err := <-done:
		t.Errorf("the endpoints came after the publish was answered (%v)", err)
	default:
		if err := <-done; err != nil {
			t.Errorf("Publish() = %v", err)
		}
	}
}

func TestRestartServesPolicyAndEndpoints(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	signed := p.publish(1, "")
	p.stop()
	p.start()
	p.subscribe(typeEndpoints).waitFor("127.3.0.10")
	p.subscribe(typePolicy).waitFor(string(signed.GetManifest()))
}
