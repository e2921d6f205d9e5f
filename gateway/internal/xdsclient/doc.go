// Package xdsclient is how a gateway learns what it needs to know: the signed
// policies, which of them is in force, the operators' acts, where its environment's
// workloads are, and what trust domains say of their bundles. It speaks the
// incremental (delta) form of xDS to the control plane and
// keeps the last good policy on disk, so that a gateway starts and goes on
// without a control plane. It is no general xDS client.
//
// The one invariant: a policy is in force only after it was verified under the
// pinned keys, is no older than any that was in force here before, and is on
// stable storage. Without one there is none, and everything is denied. The
// control plane only carries policies; nothing that it sends can forge one or
// bring an old one back.
package xdsclient

// The type URLs of the resources that are asked for.
const (
	typePolicy    = "type.googleapis.com/sallyport.policy.v1.SignedPolicy"
	typeState     = "type.googleapis.com/sallyport.config.v1.PolicyState"
	typeEndpoints = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	typeBundle    = "type.googleapis.com/sallyport.config.v1.SignedBundle"
)

// stateName is the name of the one PolicyState.
const stateName = "policy"
