package authz

import (
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// stopped says whether an operator's act denies the crossing, whatever the policy
// says.
func (v *Verdict) stopped(acts *act.Set, gateway, source spiffeid.ID) bool {
	reason, detail := denied(acts, gateway, source)
	if reason == crossingv1.Reason_REASON_UNSPECIFIED {
		reason, detail = quarantined(acts, v.Workload.ID)
	}
	if reason == crossingv1.Reason_REASON_UNSPECIFIED {
		return false
	}
	v.fault(reason, detail)
	return true
}

func denied(acts *act.Set, gateway, identity spiffeid.ID) (crossingv1.Reason, string) {
	if a := acts.Revoked(gateway); a != nil {
		return crossingv1.Reason_REVOKED_GATEWAY, gateway.String() + " was revoked by act " + a.Short()
	}
	return quarantined(acts, identity)
}

func quarantined(acts *act.Set, identity spiffeid.ID) (crossingv1.Reason, string) {
	if a := acts.Quarantined(identity); a != nil {
		return crossingv1.Reason_QUARANTINED, identity.String() + " was quarantined by act " + a.Short()
	}
	return crossingv1.Reason_REASON_UNSPECIFIED, ""
}

// CheckPeer says why a gateway may have no tunnel with this one, because of
// operators' acts alone; nil if it may.
func (a *Authorizer) CheckPeer(peer spiffeid.ID) error {
	acts := a.policies.Acts()
	for _, gateway := range []spiffeid.ID{a.self, peer} {
		if why := acts.Revoked(gateway); why != nil {
			return fmt.Errorf("%s was revoked by act %s", gateway, why.Short())
		}
	}
	return nil
}

// Parties are who stands at the two ends of a crossing that was let through.
type Parties struct {
	Source      spiffeid.ID
	Destination spiffeid.ID
	Peer        spiffeid.ID // the other gateway
	Workload    bool        // the source was a workload of the policy, and not only of its environment
}

// Review judges again who stands at the ends of crossings that were let through
// before: by the policy and the acts of one moment. It knows nothing of intents:
// what they allowed goes on to its end. It is for one goroutine.
type Review struct {
	self       spiffeid.ID
	policy     *policy.Policy
	acts       *act.Set
	identities map[spiffeid.ID]finding // as far as they were asked about
	gateways   map[spiffeid.ID]finding
}

// finding is why an identity does not count any more, if it does not.
type finding struct {
	denied  crossingv1.Reason // by an act
	detail  string
	unknown bool // it is no workload, or no gateway, of the policy
}

// Review begins to judge by what is in force now.
func (a *Authorizer) Review() *Review {
	r := &Review{self: a.self, acts: a.policies.Acts(), identities: map[spiffeid.ID]finding{}, gateways: map[spiffeid.ID]finding{}}
	var held *xdsclient.Policies
	if held = a.policies.Policies(); held != nil {
		r.policy = held.Current
	}
	return r
}

// Judge says why a crossing may not go on; REASON_UNSPECIFIED if it may.
func (r *Review) Judge(p *Parties) (crossingv1.Reason, string) {
	peer, source, destination := r.gateway(p.Peer), r.identity(p.Source), r.identity(p.Destination)
	for _, f := range [...]finding{r.gateway(r.self), peer, source, destination} {
		if f.denied != crossingv1.Reason_REASON_UNSPECIFIED {
			return f.denied, f.detail
		}
	}
	if r.policy == nil {
		return crossingv1.Reason_REASON_UNSPECIFIED, ""
	}
	serial := r.policy.Ref().Serial
	switch {
	case peer.unknown:
		return crossingv1.Reason_UNKNOWN_PEER, fmt.Sprintf("%s is no gateway of policy serial %d", p.Peer, serial)
	case p.Workload && source.unknown:
		return crossingv1.Reason_UNKNOWN_SOURCE, fmt.Sprintf("%s is no workload of policy serial %d any more", p.Source, serial)
	case destination.unknown:
		return crossingv1.Reason_UNKNOWN_DESTINATION, fmt.Sprintf("%s is no workload of policy serial %d any more", p.Destination, serial)
	}
	return crossingv1.Reason_REASON_UNSPECIFIED, ""
}

func (r *Review) identity(id spiffeid.ID) finding {
	f, known := r.identities[id]
	if !known {
		f.denied, f.detail = quarantined(r.acts, id)
		f.unknown = r.policy != nil && r.policy.WorkloadByID(id) == nil
		r.identities[id] = f
	}
	return f
}

func (r *Review) gateway(id spiffeid.ID) finding {
	f, known := r.gateways[id]
	if !known {
		f.denied, f.detail = denied(r.acts, id, spiffeid.ID{})
		f.unknown = r.policy != nil && r.policy.GatewayByID(id) == nil
		r.gateways[id] = f
	}
	return f
}
