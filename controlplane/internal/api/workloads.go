package api

import (
	"context"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// workloads serves WorkloadService. What may be registered by whom is the
// inventory's to say.
type workloads struct {
	controlv1.UnimplementedWorkloadServiceServer

	inventory Inventory
}

// Register says where a workload is.
func (w *workloads) Register(ctx context.Context, req *controlv1.RegisterRequest) (*controlv1.Binding, error) {
	caller, err := Peer(ctx)
	if err != nil {
		return nil, err
	}
	return w.inventory.Register(ctx, caller, req)
}

// Withdraw takes back what was registered of a workload.
func (w *workloads) Withdraw(ctx context.Context, req *controlv1.WithdrawRequest) (*controlv1.Binding, error) {
	caller, err := Peer(ctx)
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
