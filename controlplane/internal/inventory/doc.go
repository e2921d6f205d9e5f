// Package inventory knows where workloads are: bindings that the policy gives,
// and bindings that were registered for a lease's time. Routing, native layers
// and signals read them from here. It does not find workloads (discovery
// registers like anybody else) and does not say who may call them.
//
// The one invariant: a binding never speaks for a workload that the policy in
// force does not name, nor with a source that it no longer lets register that
// workload, nor after its lease.
package inventory
