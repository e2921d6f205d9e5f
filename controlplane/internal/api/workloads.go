package api

import (
	"context"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// workloads serves WorkloadService. What may be registered by whom is the
// inventory's to say.
type workloads struct {
	controlv1.UnimplementedWorkloadServiceServer

	inventory Inventory
	// denies says that an operator's act denies an ID, whose word then counts for
	// nothing: it could lead calls to where it likes.
	denies func(spiffeid.ID) bool
}

// caller is who calls, unless it is denied.
func (w *workloads) caller(ctx context.Context) (spiffeid.ID, error) {
	caller, err := Peer(ctx)
	if err == nil && w.denies(caller) {
		err = denied("an operator has quarantined or revoked %s", caller)
	}
	return caller, err
}

// Register says where a workload is.
func (w *workloads) Register(ctx context.Context, req *controlv1.RegisterRequest) (*controlv1.Binding, error) {
	caller, err := w.caller(ctx)
	if err != nil {
		return nil, err
	}
	return w.inventory.Register(ctx, caller, req)
}

// Withdraw takes back what was registered of a workload.
func (w *workloads) Withdraw(ctx context.Context, req *controlv1.WithdrawRequest) (*controlv1.Binding, error) {
	caller, err := w.caller(ctx)
	if err != nil {
		return nil, err
	}
	return w.inventory.Withdraw(ctx, caller, req)
}

// ListBindings are all bindings, or those of one workload.
func (w *workloads) ListBindings(_ context.Context, req *controlv1.ListBindingsRequest) (*controlv1.ListBindingsResponse, error) {
	resp := new(controlv1.ListBindingsResponse)
	for _, b := range w.inventory.Bindings() {
		if req.GetWorkload() == "" || req.GetWorkload() == b.GetWorkload() {
			resp.Bindings = append(resp.Bindings, b)
		}
	}
	return resp, nil
}
