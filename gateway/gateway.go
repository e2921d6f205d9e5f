// Package gateway is the data plane: one gateway at the edge of one
// environment. It takes workloads' requests out, lets peers' requests in,
// decides on each under the one policy and records each. It runs without a
// control plane on the last policy it verified, and without a policy it denies
// everything. This package wires; what a gateway does is in the packages below.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/federation"
	"github.com/sallyport-mesh/sallyport/certs/live"
	"github.com/sallyport-mesh/sallyport/gateway/internal/admin"
	"github.com/sallyport-mesh/sallyport/gateway/internal/admission"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/internal/epochs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/exchange"
	"github.com/sallyport-mesh/sallyport/gateway/internal/guard"
	"github.com/sallyport-mesh/sallyport/gateway/internal/handover"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/protocols"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder"
	"github.com/sallyport-mesh/sallyport/gateway/internal/seal"
	"github.com/sallyport-mesh/sallyport/gateway/internal/seen"
	"github.com/sallyport-mesh/sallyport/gateway/internal/standing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/internal/xdsclient"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// identityTimeout bounds the wait for the Workload API's first SVID.
const identityTimeout = 30 * time.Second

// Config is what a gateway is made of.
type Config struct {
	// Bootstrap is the gateway's bootstrap file.
	Bootstrap *configv1.Bootstrap
	// Inheritance is what the process whose place this one takes has handed over;
	// nil if it takes nobody's.
	Inheritance *handover.Inheritance
	// ProgressEvery is how often it is recorded how far an open crossing has come; a
	// minute if zero.
	ProgressEvery time.Duration
	// Log takes the gateway's log; nil for none. Crossings are recorded, not logged.
	Log *zap.Logger
}

// Gateway is one gateway. Make it with New, then Run it once.
type Gateway struct {
	bootstrap *configv1.Bootstrap
	log       *zap.Logger
	source    *certs.Source
	bundles   *federation.Keeper
	follower  federation.Follower
	conn      *grpc.ClientConn  // to the control plane
	live      *live.Connections // what it is made of
	recorder  *recorder.Recorder
	epochs    *epochs.Keeper // the recorder's books
	metrics   *admin.Metrics
	meter     *admin.Meter
	admin     *admin.Server // nil if nobody may ask
	xds       *xdsclient.Client
	pool      *tunnel.Pool
	tunnels   []acceptor // none if nobody may dial this gateway
	attach    *listener.Listener
	ingress   *exchange.Ingress
	progress  *exchange.Progress
	upstream  *upstream.Upstream
	authz     *authz.Authorizer
	standing  *standing.Standing
	budgets   *budget.Ledger
	sealer    *seal.Sealer  // keeps contents
	guards    *guard.Guards // are asked about contents
	closing   chan struct{} // closed when the gateway goes away
	every     time.Duration // progress is recorded

	budgetFile *budget.File

	inheritance *handover.Inheritance // nil if no process was there before
	sockets     handover.Sockets
	ready       chan struct{} // closed when workloads are accepted
	retiring    chan struct{} // closed by Retire
	retire      func()        // closes it, once
}

// New makes a gateway: it waits for the gateway's SVID, recovers its spool,
// loads the last good policy and binds its listeners. It fails with all faults
// of the bootstrap file at once.
func New(ctx context.Context, cfg Config) (*Gateway, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	b, err := checkBootstrap(cfg.Bootstrap)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		bootstrap: b.Bootstrap, log: cfg.Log.Named("gateway"), metrics: admin.NewMetrics(),
		closing: make(chan struct{}), ready: make(chan struct{}), retiring: make(chan struct{}), every: cfg.ProgressEvery,
		inheritance: cfg.Inheritance, sockets: handover.Sockets{From: cfg.Inheritance},
	}
	g.retire = sync.OnceFunc(func() { close(g.retiring) })
	if err := g.build(ctx, b); err != nil {
		if g.recorder != nil {
			err = errors.Join(err, g.recorder.CloseSpool())
		}
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *Gateway) build(ctx context.Context, b *bootstrap) error {
	if err := g.identify(ctx, b); err != nil {
		return err
	}
	if err := g.federate(b); err != nil {
		return err
	}
	if err := g.connect(b); err != nil {
		return err
	}
	self := b.self
	g.epochs = epochs.New(epochs.Config{
		Self: self, Source: g.source, Peers: peerStreams{g}, Policy: g.Policy, Meter: g.metrics, Log: g.log.Named("epochs"),
		Waits: g.inheritance != nil,
	})
	var err error
	g.recorder, err = recorder.New(recorder.Config{
		Dir:     filepath.Join(b.GetStateDir(), "spool"),
		Lock:    g.inheritance.Take(spoolLock),
		Gateway: self,
		Connect: func(context.Context) (controlv1.CrossingServiceClient, error) {
			return controlv1.NewCrossingServiceClient(g.conn), nil
		},
		Books: g.epochs,
		Log:   g.log.Named("recorder"),
	})
	if err != nil {
		return err
	}
	g.meter = g.metrics.Meter(g.recorder)
	g.epochs.Bind(g.meter)
	g.xds, err = xdsclient.New(xdsclient.Config{
		Conn: g.conn, Node: self, Run: g.recorder.RunID(), StateDir: b.GetStateDir(), Keys: b.GetPolicyKeys(),
		Bundles: g.bundles, Applied: g.recorder.Applied, Log: g.log.Named("xds"),
	})
	if err != nil {
		return err
	}
	if err := g.seal(b); err != nil {
		return err
	}
	return g.listen(b)
}

// identify gets the gateway's SVID and makes sure that it is the one that the
// bootstrap file speaks of.
func (g *Gateway) identify(ctx context.Context, b *bootstrap) error {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	var err error
	g.source, err = certs.NewSource(ctx, certs.Options{
		WorkloadAPI: b.GetWorkloadApi(),
		ID:          b.self,
		Bundles:     []*spiffebundle.Bundle{b.bundle},
		Log:         g.log.Named("identity"),
	})
	if err != nil {
		return fmt.Errorf("get the SVID of %s: %w", b.self, err)
	}
	if id := g.source.ID(); id != b.self {
		return fmt.Errorf("the Workload API says that this is %s, the bootstrap file that it is %s", id, b.self)
	}
	return nil
}

func (g *Gateway) connect(b *bootstrap) error {
	authorize := certs.AuthorizeID(b.controlPlane)
	g.live = live.New(live.Config{Source: g.source, Authorize: authorize, Ended: func(_ net.Conn, err error) {
		g.log.Warn("control plane left: its SVID is not good any more", zap.Error(err))
	}})
	creds := g.live.Credentials(certs.ClientTLS(g.source, authorize, "h2"))
	options := append(xdsclient.DialOptions(), grpc.WithTransportCredentials(creds))
	conn, err := grpc.NewClient("passthrough:///"+b.GetControlPlane().GetAddress(), options...)
	if err != nil {
		return fmt.Errorf("prepare the connection to %s: %w", b.controlPlane, err)
	}
	g.conn = conn
	return nil
}

// listen makes the data path and binds its listeners.
func (g *Gateway) listen(b *bootstrap) error {
	self := b.self
	g.authz = authz.New(self, g.bootstrap.GetEnvironment(), g.xds).TakeProofs(g.source).TakeLabels(g.source).ReadBy(protocols.Of)
	g.standing = standing.New(func() standing.Reviewer { return g.authz.Review() })
	if err := g.openBudgets(b); err != nil {
		return err
	}
	g.guards = guard.New(b.guards, g.source)
	both := exchange.Config{
		Self:   self,
		Authz:  g.authz,
		Spool:  g.meter,
		Ledger: g.epochs,
		Log:    g.log,

		Store: b.store(), Tools: seen.New(), Manifests: admission.NewMemory(), Budgets: g.budgets, Secrets: b.secrets(), Sealer: g.sealer, Guards: g.guards,
		Quota: b.quota(), Limits: b.limits(), Standing: g.standing, ProgressEvery: g.every,

		Delayed: g.metrics.Delayed,
	}
	if err := g.tunnel(); err != nil {
		return err
	}
	g.upstream = upstream.New(g.source, g.xds, upstream.Limits{})
	g.upstream.OnDistrust(g.standing.Review)
	g.ingress = exchange.NewIngress(both, g.upstream)
	g.progress = exchange.NewProgress(both)
	egress := exchange.NewEgress(both, g.pool)
	captured, err := g.capture(b)
	if err != nil {
		return err
	}
	g.attach, err = listener.New(listener.Config{
		Address:  g.bootstrap.GetAttach(),
		Loopback: g.bootstrap.GetAttachLoopback(),
		Ports:    b.ports(),
		Capture:  captured,
		Source:   g.source,
		Audience: self.String(),
		Handler:  egress,
		Refuser:  refuser{g.meter, egress},
		Listen:   g.bind,
		Log:      g.log.Named("attach"),

		Distrusted: g.standing.Review,

		MaxConnections: int(b.GetLimits().GetConnections()),
		HeadTimeout:    b.GetLimits().GetHead().AsDuration(),
		IdleTimeout:    b.GetLimits().GetIdle().AsDuration(),
	})
	if addr := g.bootstrap.GetAdmin(); err == nil && addr != "" {
		g.admin, err = admin.Listen(addr, g.sockets.Listen, g.metrics, g.state)
	}
	return err
}

// close lets go of what New has got so far.
func (g *Gateway) close() error {
	close(g.closing)
	var errs []error
	if g.admin != nil {
		errs = append(errs, g.admin.Close())
	}
	for _, l := range g.tunnels {
		errs = append(errs, l.Close())
	}
	g.guards.Close()
	if g.conn != nil {
		errs = append(errs, g.conn.Close())
	}
	if g.source != nil {
		errs = append(errs, g.source.Close())
	}
	if g.sealer != nil {
		errs = append(errs, g.sealer.Close())
	}
	return errors.Join(errs...)
}

// Run carries crossings until the context ends, then lets those that are under
// way finish for a bounded time; after Retire, for as long as the bootstrap file
// says. It returns nil if it was told to stop.
func (g *Gateway) Run(ctx context.Context) error {
	g.log.Info("gateway up", zap.String("run", g.recorder.RunID()), zap.Stringer("attach", g.attach.Addr()))
	group, running := errgroup.WithContext(ctx)
	// The recorder and the xDS client outlive the crossings that need them.
	after, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	retired, retire := context.WithCancel(running)
	defer retire()
	// One part that fails stops the others: half a gateway looks like a whole one.
	crossings, carrying := errgroup.WithContext(retired)
	attached := make(chan struct{})
	crossings.Go(func() error {
		defer close(attached)
		return g.serveWorkloads(carrying)
	})
	crossings.Go(func() error {
		defer retire()
		g.outlive(carrying, attached)
		return nil
	})
	tunnels, closeTunnels := context.WithCancel(after)
	defer closeTunnels()
	crossings.Go(func() error {
		defer closeTunnels()
		g.finish(carrying, attached)
		return nil
	})
	crossings.Go(func() error { return g.pool.Run(tunnels, g.serveStream) })
	for _, l := range g.tunnels {
		crossings.Go(func() error { return g.accept(carrying, l) })
	}
	crossings.Go(func() error { g.followPeers(carrying); return nil })
	stating, stopStating := context.WithCancel(after)
	defer stopStating()
	group.Go(func() error {
		defer stopStating()
		return crossings.Wait()
	})
	group.Go(func() error {
		defer stop() // nobody says anything any more
		return g.epochs.Run(stating)
	})
	group.Go(func() error { return g.recorder.Run(after) })
	group.Go(func() error { return g.xds.Run(after) })
	group.Go(func() error { return g.runFederation(after) })
	group.Go(func() error { g.upstream.Run(after); return nil })
	group.Go(func() error { g.standing.Run(after, g.xds.Changed); return nil })
	group.Go(func() error { g.progress.Run(after); return nil })
	group.Go(func() error { g.sealer.Run(after); return nil })
	group.Go(func() error { g.live.Run(after); return nil })
	alone, another := context.WithCancel(after) // until the successor speaks for the gateway
	group.Go(func() error { g.report(alone); return nil })
	group.Go(func() error { return g.runBudgets(alone) })
	if g.admin != nil {
		group.Go(func() error { return g.admin.Run(alone) })
	}
	group.Go(func() error {
		defer another()
		select {
		case <-g.retiring:
		case <-after.Done():
		}
		return nil
	})
	err := group.Wait()
	g.upstream.CloseIdle()
	err = errors.Join(err, g.close())
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// AttachAddr is where workloads attach by TLS.
func (g *Gateway) AttachAddr() net.Addr { return g.attach.Addr() }

// LoopbackAddr is where workloads attach on loopback; nil if they cannot.
func (g *Gateway) LoopbackAddr() net.Addr { return g.attach.LoopbackAddr() }

// PortAddrs are where programs connect that want one destination, in the order of
// the bootstrap file.
func (g *Gateway) PortAddrs() []net.Addr { return g.attach.PortAddrs() }

// AdminAddr is where health and metrics are; nil if they are nowhere.
func (g *Gateway) AdminAddr() net.Addr {
	if g.admin == nil {
		return nil
	}
	return g.admin.Addr()
}

// Policy is the policy that the gateway enforces now; zero if it has none.
func (g *Gateway) Policy() policy.Ref {
	if p := g.xds.Policies(); p != nil && p.Current != nil {
		return p.Current.Ref()
	}
	return policy.Ref{}
}

// PolicyChanged is closed when the policy changes; ask again for the next one.
func (g *Gateway) PolicyChanged() <-chan struct{} { return g.xds.Changed() }

// Connected is closed once the control plane has heard from this gateway, and
// answered.
func (g *Gateway) Connected() <-chan struct{} { return g.xds.Heard() }
