package controlplane

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/api"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/inventory"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/recall"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/xds"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// view is everything that stands between the store and the gRPC server.
type view struct {
	api       *api.Server
	xds       *xds.Server
	inventory *inventory.Inventory
	store     *store.Store
	records   *recall.Records
	book      *statements.Book
	feed      *feed // nil if records are in memory alone
	log       *zap.Logger

	serving sync.Mutex // held from asking the inventory until its answer is served
}

// keeper is the store of records, nil if none are kept, and how long they stay in memory.
type keeper struct {
	records.Keeper

	remember time.Duration
}

// newView fills in what the API answers from, over a store and over the records that are
// kept, and takes up what is in them: records, bindings, policy.
func newView(ctx context.Context, s *store.Store, k keeper, c api.Config) (*view, error) {
	v := &view{
		xds: xds.New(xds.Config{Peer: api.Peer, Log: c.Log}), store: s, book: statements.NewBook(), log: c.Log,
	}
	if k.Keeper == nil {
		v.records = recall.Of(nil, 0)
	} else {
		v.records, c.Counts = recall.Of(k.Keeper, k.remember), k.Keeper
		v.feed = &feed{store: k.Keeper, records: v.records, book: v.book, forgetEvery: min(k.remember, forgetEvery), log: c.Log}
	}
	if err := v.replay(ctx); err != nil {
		return nil, err
	}
	var err error
	v.inventory, err = inventory.New(ctx, inventory.Config{
		Store: s.Bindings(),
		// A reader shows what is stored: it does not know who the operators were.
		Operator: func(id spiffeid.ID) bool { return c.ReadOnly || slices.Contains(c.Operators, id) },
		Log:      c.Log,
	})
	if err != nil {
		return nil, err
	}
	c.Store, c.Memory, c.Gateways, c.Inventory, c.Records = s, s.Gateways(), distributor{v.xds, v}, registrar{v.inventory, v}, v.records
	c.Acts, c.Statements, c.Frames = s.Acts(), v.book, s
	if v.api, err = api.New(ctx, c); err != nil {
		return nil, err
	}
	return v, v.serveStored()
}

// settleEvery is how many frames are taken up at a start until what is settled is forgotten.
const settleEvery = 200_000

// replay takes up the frames that are in the store. They were checked when they
// came: what was a good frame then stays one, whatever is checked today. What was settled
// long ago does not stay in memory.
func (v *view) replay(ctx context.Context) error {
	count := 0
	err := v.store.Replay(ctx, time.Time{}, func(gateway string, at time.Time, frames [][]byte) error {
		for _, data := range frames {
			frame, err := crossing.UnmarshalFrame(data)
			if err != nil {
				v.log.Error("stored frame cannot be read", zap.String("gateway", gateway), zap.Error(err))
				continue
			}
			// A contradiction was told to its gateway when it came. The order is the
			// same, so the outcome is.
			if v.records.Add(frame) == nil {
				_ = v.book.Add(frame, data, at)
			}
		}
		if count += len(frames); count < settleEvery {
			return nil
		}
		count = 0
		_, err := v.records.Settle(ctx, v.book, at)
		return err
	})
	if err != nil {
		return err
	}
	_, err = v.records.Settle(ctx, v.book, time.Now())
	return err
}

// keep stores a frame of the control plane's own and joins it.
func (v *view) keep(ctx context.Context, f *crossingv1.Frame) error {
	data, err := crossing.MarshalFrame(f)
	if err != nil {
		return err
	}
	if err := v.store.AppendFrames(ctx, f.GetGateway(), [][]byte{data}); err != nil {
		return err
	}
	return v.records.Add(f)
}

// serveStored serves the acts and the policy that the store had, to gateways that
// connect.
func (v *view) serveStored() error {
	if err := v.xds.SetActs(v.api.Acts()); err != nil {
		return err
	}
	signed, manifest := v.api.Current()
	if signed == nil {
		return nil
	}
	revision, err := v.xds.Prepare(signed)
	if err == nil {
		err = v.xds.Commit(revision)
	}
	if err != nil {
		return fmt.Errorf("serve the stored policy, serial %d: %w", manifest.GetSerial(), err)
	}
	v.serveEndpoints()
	return nil
}

func (v *view) register(r grpc.ServiceRegistrar) {
	v.api.Register(r)
	v.xds.Register(r)
}

// run keeps bindings, what gateways know of them, and what the store knows of
// gateways current until ctx ends.
func (v *view) run(ctx context.Context) error {
	v.book.Serve(time.Now())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return v.inventory.Run(ctx) })
	group.Go(func() error { return v.api.Run(ctx) })
	group.Go(func() error { return v.follow(ctx) })
	if v.feed != nil {
		group.Go(func() error { return v.feed.run(ctx) })
	}
	return group.Wait()
}

// follow tells gateways of each change of a binding.
func (v *view) follow(ctx context.Context) error {
	for {
		changed := v.inventory.Changed()
		v.serveEndpoints()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// stop ends all streams.
func (v *view) stop() {
	v.xds.Close()
	v.api.Close()
}

// serveEndpoints tells each environment's gateways where its workloads are. An
// environment that the xDS server does not know yet gets them when the policy
// that names it is in force: see distributor.
func (v *view) serveEndpoints() {
	v.serving.Lock() // an older answer of the inventory must not follow a newer one
	defer v.serving.Unlock()
	for _, environment := range v.inventory.Environments() {
		if err := v.xds.SetEndpoints(environment, v.inventory.Endpoints(environment)); err != nil {
			v.log.Debug("endpoints not served", zap.String("environment", environment), zap.Error(err))
		}
	}
}

// distributor is the xDS server, with the endpoints of environments that a
// policy brings.
type distributor struct {
	*xds.Server

	view *view
}

// Publish sends a policy and, the moment it is in force, the endpoints under it:
// the xDS server takes those of an environment that the policy brings no sooner,
// and a gateway should not wait for them until the slowest one has answered.
func (d distributor) Publish(ctx context.Context, signed *policyv1.SignedPolicy, m *policyv1.Manifest) (xds.Result, error) {
	start := time.Now()
	revision, err := d.Prepare(signed)
	if err != nil {
		return xds.Result{}, err
	}
	if !m.GetUrgent() {
		bounded, cancel := context.WithTimeout(ctx, xds.DefaultWait)
		_ = d.WaitPrepared(bounded, revision) // who is behind, the result tells
		cancel()
	}
	if err := d.Commit(revision); err != nil {
		return xds.Result{}, err
	}
	d.view.serveEndpoints()
	waited := proto.CloneOf(m)
	waited.Urgent = true
	result, err := d.Server.Publish(ctx, signed, waited)
	result.Took = time.Since(start)
	return result, err
}

// registrar is the inventory, with an answer to a registration that means
// something: the next call goes there, or no longer.
type registrar struct {
	*inventory.Inventory

	view *view
}

// Register answers once the environment's connected gateways know of it, or
// after the time that a publish waits for them.
func (r registrar) Register(ctx context.Context, caller spiffeid.ID, req *controlv1.RegisterRequest) (*controlv1.Binding, error) {
	b, err := r.Inventory.Register(ctx, caller, req)
	return b, r.known(ctx, b, err)
}

// Withdraw answers as Register does.
func (r registrar) Withdraw(ctx context.Context, caller spiffeid.ID, req *controlv1.WithdrawRequest) (*controlv1.Binding, error) {
	b, err := r.Inventory.Withdraw(ctx, caller, req)
	return b, r.known(ctx, b, err)
}

// known waits for a bounded time until the environment's gateways know of a
// change of a binding, unless it failed.
func (r registrar) known(ctx context.Context, b *controlv1.Binding, err error) error {
	if err != nil {
		return err
	}
	r.view.serveEndpoints()
	bounded, cancel := context.WithTimeout(ctx, xds.DefaultWait)
	defer cancel()
	if err := r.view.xds.WaitEndpoints(bounded, b.GetEnvironment()); err != nil {
		r.view.log.Debug("gateways do not know of a binding's change yet", zap.String("workload", b.GetWorkload()), zap.Error(err))
	}
	return nil
}
