package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/federation"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// role is what a caller is, judged by its SPIFFE ID alone. A caller may have
// several.
type role uint8

const (
	// operator is one of Config.Operators.
	operator role = 1 << iota
	// gateway is a gateway of the policy in force.
	gateway
	// candidate has an ID as gateways have. Before there is a policy nobody is
	// more, and a gateway must be able to ask for the first one.
	candidate
	// workload has any other ID in an environment of the policy in force.
	workload
	// authority has an ID as authorities have, of any trust domain that is known.
	authority
)

// The methods of xDS's aggregated discovery service, which the same gRPC server
// carries: the incremental form and the state of the world.
const (
	deltaADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	sotwADS  = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
)

// gatewayPath begins the path of every gateway's SPIFFE ID; reservedPath that of
// everything which is the mesh's own.
const (
	reservedPath = "/sallyport/"
	gatewayPath  = reservedPath + "gateway/"
)

// rule says who may call a method, and whether only a running mesh can answer:
// because the call changes something, or because a stopped one has no address.
type rule struct {
	who     role
	running bool
}

// access is the one table of who may call what. A method that is not in it is
// denied to everybody.
func access(method string) (rule, bool) {
	switch method {
	case controlv1.PolicyService_Publish_FullMethodName,
		controlv1.ActService_Make_FullMethodName,
		controlv1.HoldService_ListHolds_FullMethodName,
		controlv1.HoldService_SetHold_FullMethodName,
		controlv1.HoldService_ReleaseHold_FullMethodName,
		controlv1.SealedService_ListSealed_FullMethodName,
		controlv1.SealedService_OpenSealed_FullMethodName,
		controlv1.GatewayService_GetBootstrap_FullMethodName:
		return rule{operator, true}, true
	case controlv1.PolicyService_GetPolicy_FullMethodName,
		controlv1.CrossingService_ListCrossings_FullMethodName,
		controlv1.CrossingService_ListRefusals_FullMethodName,
		controlv1.CrossingService_ListTransitions_FullMethodName,
		controlv1.CrossingService_GetMatrix_FullMethodName,
		controlv1.CrossingService_ListUnmatched_FullMethodName,
		controlv1.LogService_ListLogs_FullMethodName,
		controlv1.LogService_Prove_FullMethodName,
		controlv1.LogService_ListKeys_FullMethodName,
		controlv1.LogService_Export_FullMethodName,
		controlv1.GatewayService_ListGateways_FullMethodName,
		controlv1.ActService_ListActs_FullMethodName,
		controlv1.WorkloadService_ListBindings_FullMethodName:
		return rule{operator, false}, true
	case controlv1.CrossingService_Deliver_FullMethodName,
		controlv1.SealedService_UploadSealed_FullMethodName,
		controlv1.GatewayService_Report_FullMethodName,
		// Of which environment it is, the call judges further.
		controlv1.GatewayService_ShareBudgets_FullMethodName:
		return rule{gateway, true}, true
	case controlv1.WorkloadService_Register_FullMethodName, controlv1.WorkloadService_Withdraw_FullMethodName:
		// The inventory judges further: a workload registers itself only, a
		// gateway only its own environment's.
		return rule{operator | gateway | workload, true}, true
	case controlv1.BundleService_Publish_FullMethodName, controlv1.BundleService_Watch_FullMethodName,
		controlv1.BundleService_ListHolders_FullMethodName:
		// Which bundle it is the authority of, the call judges further. There need
		// be no policy yet: without bundles nobody could be known.
		return rule{authority, true}, true
	case controlv1.BundleService_ListBundles_FullMethodName:
		return rule{operator, true}, true
	case deltaADS, sotwADS:
		// The xDS server judges further: only a gateway of the policy in force
		// gets what is its environment's.
		return rule{candidate, false}, true
	default:
		return rule{}, false
	}
}

// callerKey carries the caller's SPIFFE ID in a context.
type callerKey struct{}

// Peer is the SPIFFE ID of a call's caller, as the interceptors found it. It
// fails if the call did not come through them.
func Peer(ctx context.Context) (spiffeid.ID, error) {
	id, ok := ctx.Value(callerKey{}).(spiffeid.ID)
	if !ok {
		return spiffeid.ID{}, errors.New("the call did not come through the access check")
	}
	return id, nil
}

// IdentifyTLS finds the caller of a call that came over mutual TLS. That its
// SVID has not expired meanwhile is for whoever holds the connection to see to.
func IdentifyTLS(ctx context.Context) (spiffeid.ID, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return spiffeid.ID{}, errors.New("no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return spiffeid.ID{}, errors.New("the peer did not come over TLS")
	}
	return certs.PeerID(info.State)
}

// roles are what an ID is under the policy in force.
func (s *Server) roles(id spiffeid.ID) role {
	var r role
	if s.operators[id] {
		r |= operator
	}
	if name, ok := strings.CutPrefix(id.Path(), gatewayPath); ok && name != "" && !strings.Contains(name, "/") {
		r |= candidate
	}
	if federation.AuthorizeAuthority(id.TrustDomain(), id) == nil {
		r |= authority
	}
	p := s.policies.compiled()
	if p == nil {
		return r
	}
	if p.GatewayByID(id) != nil {
		r |= gateway
	}
	if _, known := p.EnvironmentOf(id.TrustDomain()); known && !strings.HasPrefix(id.Path(), reservedPath) {
		r |= workload
	}
	return r
}

// admit finds out who calls and whether it may, and carries the caller on.
func (s *Server) admit(ctx context.Context, method string) (context.Context, error) {
	id, err := s.identify(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnidentified, err)
	}
	rule, known := access(method)
	if !known || rule.who&s.roles(id) == 0 {
		return nil, denied("%s may not call %s", id, method)
	}
	if rule.running && s.readOnly {
		return nil, precondition("the mesh is stopped: start it first")
	}
	return context.WithValue(ctx, callerKey{}, id), nil
}

// Unary is the interceptor of all unary calls.
func (s *Server) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, s.answer(info.FullMethod, err)
	}
	resp, err := handler(ctx, req)
	return resp, s.answer(info.FullMethod, err)
}

// Stream is the interceptor of all streams. They end with Close, too: streams
// that last as long as a gateway does would hold up a graceful stop.
func (s *Server) Stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := s.admit(stream.Context(), info.FullMethod)
	if err != nil {
		return s.answer(info.FullMethod, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.life, func() { cancel(errStopping) })()
	err = handler(srv, admitted{stream, ctx})
	if context.Cause(ctx) == errStopping { //nolint:errorlint // the very value, never wrapped
		err = errStopping
	}
	return s.answer(info.FullMethod, err)
}

// admitted is a stream whose context carries its caller.
type admitted struct {
	grpc.ServerStream

	ctx context.Context
}

// Context is the one with the caller.
func (a admitted) Context() context.Context { return a.ctx }
