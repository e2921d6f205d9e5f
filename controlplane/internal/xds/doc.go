// Package xds tells gateways what they need to know: the signed policies, which
// of them is in force, operators' acts, where the workloads of their own environment
// are, and what the trust domains say of their bundles. It
// speaks the incremental (delta) form of the aggregated discovery service, and
// keeps what each gateway answered. It does not judge policies: it carries them,
// and could not forge one.
//
// A policy changes in two phases. Prepare puts the signed policy before every
// gateway, which verifies and compiles it; Commit names it as the one in force.
// So gateways change over within the time of one small message, and a policy
// that a gateway refuses is known before it counts.
//
// The one invariant: a stream gets only what its own SPIFFE ID may know. The
// endpoints of an environment go to that environment's gateways alone.
package xds

// The type URLs of the resources that are served.
const (
	// TypePolicy is a sallyport.policy.v1.SignedPolicy, named by its revision.
	TypePolicy = "type.googleapis.com/sallyport.policy.v1.SignedPolicy"
	// TypeState is a sallyport.config.v1.PolicyState, named "policy".
	TypeState = "type.googleapis.com/sallyport.config.v1.PolicyState"
	// TypeEndpoints is Envoy's ClusterLoadAssignment, named
	// SERVICE.WORKLOAD.ENVIRONMENT.mesh.
	TypeEndpoints = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	// TypeBundle is a sallyport.config.v1.SignedBundle, named by its trust domain.
	TypeBundle = "type.googleapis.com/sallyport.config.v1.SignedBundle"
)

// stateName is the name of the one PolicyState.
const stateName = "policy"
