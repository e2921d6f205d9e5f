package xdsclient

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

var testTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestEndpointsFollowTheControlPlane(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		want := func(service string, at ...string) {
			t.Helper()
			if got := c.Endpoints("llm", service); !slices.Equal(got, at) {
				t.Errorf("endpoints of %s: %v, want %v", service, got, at)
			}
		}
		want("chat")
		s.accepted(endpoints(assignment("chat.llm.aws.mesh", "10.1.0.9", "fd00::9"), assignment("health.llm.aws.mesh", "10.1.0.9")))
		want("chat", "10.1.0.9:8000", "[fd00::9]:8000")
		want("health", "10.1.0.9:8000")
		s.accepted(endpoints(assignment("chat.llm.aws.mesh", "10.1.0.10")))
		want("chat", "10.1.0.10:8000")
		s.accepted(&discovery.DeltaDiscoveryResponse{TypeUrl: typeEndpoints, RemovedResources: []string{"chat.llm.aws.mesh", "never.was.aws.mesh"}})
		want("chat")
		want("health", "10.1.0.9:8000")
	})
}

func TestEndpointsThatAreRefused(t *testing.T) {
	withPort := func(port uint32) *discovery.Resource {
		return resource("chat.llm.aws.mesh", &endpoint.ClusterLoadAssignment{
			ClusterName: "chat.llm.aws.mesh", Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{lbEndpoint("10.1.0.9", port)}}},
		})
	}
	tests := []struct {
		name string
		bad  *discovery.Resource
		want string
	}{
		{"too few labels", assignment("llm.aws.mesh", "10.1.0.9"), "its name is not"},
		{"too many labels", assignment("a.chat.llm.aws.mesh", "10.1.0.9"), "its name is not"},
		{"empty label", assignment("chat..aws.mesh", "10.1.0.9"), "its name is not"},
		{"not of the mesh", assignment("chat.llm.aws.test", "10.1.0.9"), "its name is not"},
		{"cluster of another name", &discovery.Resource{Name: "chat.llm.aws.mesh", Resource: assignment("x.y.z.mesh").Resource}, "its cluster is"},
		{"port 0", withPort(0), "port 0 is none"},
		{"port too high", withPort(65536), "port 65536 is none"},
		{"no address", assignment("chat.llm.aws.mesh", ""), "is none"},
		{"address with a line break", assignment("chat.llm.aws.mesh", "10.1.0.9\r\n"), "is none"},
		{"no endpoint in the endpoint", resource("chat.llm.aws.mesh", &endpoint.ClusterLoadAssignment{
			ClusterName: "chat.llm.aws.mesh", Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{}}}},
		}), "port 0 is none"},
		{"too many", assignment("chat.llm.aws.mesh", slices.Repeat([]string{"10.1.0.9"}, maxEndpoints+1)...), "more than"},
		{"another type", resource("chat.llm.aws.mesh", signedPolicy(t, "a", 1)), "it is of type"},
		{"not readable", &discovery.Resource{Name: "x", Resource: &anypb.Any{TypeUrl: typeEndpoints, Value: []byte("\xff")}}, "not readable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
				good := assignment("health.llm.aws.mesh", "10.1.0.9")
				if err := s.answer(s.send(endpoints(tt.bad, good))); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("answer: %v, want a NACK with %q", err, tt.want)
				}
				if got := c.Endpoints("llm", "chat"); len(got) != 0 {
					t.Errorf("endpoints %v", got)
				}
				if got := c.Endpoints("llm", "health"); len(got) != 1 {
					t.Error("the good endpoints beside it were not kept")
				}
			})
		})
	}
}

// FuzzResources feeds whatever a control plane could send. Nothing may panic,
// and nothing but the seed's one good policy may ever be in force.
func FuzzResources(f *testing.F) {
	sp := signedPolicy(f, "a", 1)
	for _, r := range []*discovery.Resource{
		resource(revision(sp), sp),
		state(revision(sp)).Resources[0],
		assignment("chat.llm.aws.mesh", "10.1.0.9"),
		{Name: revision(sp)},
	} {
		f.Add(r.GetName(), r.GetResource().GetTypeUrl(), r.GetResource().GetValue())
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, name, typ string, value []byte) {
		b, tab := newBook(files{dir}, keySet("operator")), newTable(files{dir})
		resp := &discovery.DeltaDiscoveryResponse{
			Resources:        []*discovery.Resource{{Name: name, Resource: &anypb.Any{TypeUrl: typ, Value: value}}, nil},
			RemovedResources: []string{typ},
		}
		if err := b.accept(resp); err == nil {
			t.Error("an empty resource was accepted as a policy")
		}
		if err := b.want(resp); err == nil {
			t.Error("an empty resource was accepted as a state")
		}
		if err := tab.accept(resp); err == nil {
			t.Error("an empty resource was accepted as endpoints")
		}
		b.wanted = name
		err := b.settle(testTime)
		if current := b.snapshot().Current; current != nil && (err != nil || current.Ref() != refOf(sp)) {
			t.Errorf("in force: %+v, error %v", current.Ref(), err)
		}
		if err != nil && errors.Is(err, errNotYet) && b.refused[name] != "" {
			t.Error("waits for a policy that was refused")
		}
	})
}
