// Package controlplane is the control plane: it carries the signed policy to the
// gateways, takes in their halves of crossings and joins them, knows where
// workloads are, and answers the operator's tool. It holds no policy key and no
// environment's authority: it can withhold a policy but not forge one, and
// gateways go on deciding and recording without it. This package wires; what the
// control plane does is in the packages below.
//
// The one invariant: no call gets in, or goes on, but over mutual TLS with an SVID
// that is good now, and past the API's access table.
package controlplane

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/federation"
	"github.com/sallyport-mesh/sallyport/certs/live"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/api"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/bundles"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/sealed"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// DefaultListen is where a control plane listens if it is not told.
const DefaultListen = "127.0.0.1:8444"

// defaultRemember is far longer than the frames of one crossing are apart, while its
// gateways deliver.
const defaultRemember = time.Hour

// What readers of the logs may use: anybody may come.
const (
	readerTimeout = 30 * time.Second
	maxReaders    = 256 // at a time; the others wait
)

// identityTimeout bounds the wait for the Workload API's first SVID.
const identityTimeout = 30 * time.Second

// Config is what a control plane is made of. It runs the roles policy and view;
// an environment's authority is a process of its own, see Authority.
type Config struct {
	// Listen is the host:port of the API and of xDS; DefaultListen if empty.
	Listen string
	// Advertise is the host:port that gateways' bootstrap files get; where it
	// listens if empty.
	Advertise string
	// Dir is the directory of the embedded store. Exactly one of Dir and NATS is set.
	Dir string
	// LogDir is the directory of the environments' logs; DIR/log if empty. With NATS and
	// without it none are kept.
	LogDir string
	// RecordsDir is the directory of the store of joined records and their archive;
	// DIR/records if empty. With NATS and without it there is none, and answers come from
	// memory.
	RecordsDir string
	// SealedDir is the directory of the contents that gateways have sealed to reviewers;
	// DIR/sealed if empty. With NATS and without it none are kept, and gateways keep what
	// they have until its retention is over.
	SealedDir string
	// Retention is how long after its end an hour of records is kept, but for what is held;
	// 183 days if 0.
	Retention time.Duration
	// Hot is how long after its end an hour of records stays in the database, where
	// questions are answered fastest; later it is in the archive alone. A week if 0. It is
	// not longer than Retention.
	Hot time.Duration
	// Remember is how long a crossing stays in memory at least, though it is settled and in
	// the store of records; an hour if 0. What comes later of it changes nothing.
	Remember time.Duration
	// LogListen is the host:port where the logs are served for reading, over HTTP; nowhere
	// if empty.
	LogListen string
	// Witnesses are asked to cosign the logs' checkpoints.
	Witnesses []Witness
	// NATS is the URL of an external NATS cluster with JetStream.
	NATS string
	// WorkloadAPI is the address of the SPIFFE Workload API that the control
	// plane's own SVID comes from; SPIFFE_ENDPOINT_SOCKET if empty.
	WorkloadAPI string
	// Source is used in place of a Workload API if it is not nil. It stays the
	// caller's to close.
	Source *certs.Source
	// Bundles are of trust domains whose bundles the Workload API does not have.
	Bundles []*spiffebundle.Bundle
	// Federation are bundle endpoints of other trust domains, which it follows
	// beside what they publish to it.
	Federation []federation.Endpoint
	// PolicyKeys are who may sign a policy, and how many must.
	PolicyKeys *policyv1.KeySet
	// Operators are the SPIFFE IDs that may read everything and publish.
	Operators []spiffeid.ID
	// Log takes the log; nil for none.
	Log *zap.Logger
}

// Validate says what is wrong with a config, all at once.
func (c Config) Validate() error {
	var faults []error
	if (c.Dir == "") == (c.NATS == "") {
		faults = append(faults, errors.New("exactly one of dir and nats must be set"))
	}
	if err := signed.CheckKeys(c.PolicyKeys); err != nil {
		faults = append(faults, fmt.Errorf("policyKeys: %w", err))
	}
	if len(c.Operators) == 0 {
		faults = append(faults, errors.New("operators: there are none, so nobody could publish a policy"))
	}
	for _, a := range []struct{ name, value string }{{"listen", c.Listen}, {"advertise", c.Advertise}, {"logListen", c.LogListen}} {
		if _, _, err := net.SplitHostPort(a.value); a.value != "" && err != nil {
			faults = append(faults, fmt.Errorf("%s: %q is not HOST:PORT", a.name, a.value))
		}
	}
	for _, w := range c.Witnesses {
		faults = append(faults, w.Check())
	}
	if err := c.keeping().Check(); err != nil {
		faults = append(faults, fmt.Errorf("retention, hot: %w", err))
	}
	if c.keeping() != (records.Config{}) && c.place(c.RecordsDir, recordsDir) == "" {
		faults = append(faults, errors.New("retention, hot: no records are kept on disk: set recordsDir"))
	}
	return errors.Join(faults...)
}

// keeping is for how long records are kept.
func (c Config) keeping() records.Config {
	return records.Config{Hot: c.Hot, Retention: c.Retention}
}

// place is a directory that the configuration names, or the one beside the embedded
// store; empty if there is neither.
func (c Config) place(named string, beside func(dir string) string) string {
	if named == "" && c.Dir != "" {
		return beside(c.Dir)
	}
	return named
}

// Witness is one that cosigns checkpoints of logs (C2SP tlog-witness).
type Witness = translog.Witness

// ControlPlane is a running control plane. Make it with New, then Run it once.
type ControlPlane struct {
	config    Config
	log       *zap.Logger
	source    *certs.Source
	ownSource bool
	store     *store.Store
	records   records.Keeper // nil if records are in memory alone
	logs      *translog.Set  // nil if none are kept
	sealed    *sealed.Store  // nil if none are kept
	tiles     net.Listener   // of the logs; nil if they are not served
	keeper    *federation.Keeper
	carried   *bundles.Bundles
	view      *view
	refusals  *refusals
	clients   *live.Connections
	listener  net.Listener
	server    *grpc.Server
}

// New makes a control plane: it waits for its SVID, opens the store, joins the
// frames that are in it, takes up the policy that is in it, and binds the
// listener. Run it, or what it holds stays open.
func New(ctx context.Context, cfg Config) (*ControlPlane, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	c := &ControlPlane{config: cfg, log: cfg.Log.Named("controlplane"), source: cfg.Source}
	if err := c.build(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *ControlPlane) build(ctx context.Context) error {
	if err := c.identify(ctx); err != nil {
		return err
	}
	var err error
	c.store, err = store.Open(ctx, store.Config{Dir: c.config.Dir, URL: c.config.NATS, Log: c.log})
	if err != nil {
		return err
	}
	if err := c.openLogs(ctx); err != nil {
		return err
	}
	if err := c.federate(ctx); err != nil {
		return err
	}
	c.listener, err = net.Listen("tcp", c.config.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	parts := api.Config{
		Keys:      c.config.PolicyKeys,
		Operators: c.config.Operators,
		Bootstrap: c.bootstrap,
		Bundles:   c.carried,
		Trust: func(chain []*x509.Certificate, at time.Time) error {
			_, err := certs.VerifyAt(c.source, chain, at, certs.AuthorizeAny())
			return err
		},
		Log: c.log,
	}
	if c.logs != nil {
		parts.Logs = c.logs
	}
	if err := c.openRecords(ctx); err != nil {
		return err
	}
	if c.records != nil {
		parts.Holds = c.records
	}
	if err := c.openSealed(); err != nil {
		return err
	}
	parts.Sealed = c.sealed
	if c.view, err = newView(ctx, c.store, keeper{c.records, cmp.Or(c.config.Remember, defaultRemember)}, parts); err != nil {
		return err
	}
	c.refusals = newRefusals(c.source, c.view.keep, c.log)
	c.clients = newClients(c.source, c.refusals)
	tls := certs.ServerTLS(c.source, certs.AuthorizeAny(), "h2")
	c.server = newServer(c.view.api, grpc.Creds(c.clients.Credentials(tls)))
	c.view.register(c.server)
	c.log.Info("control plane ready", zap.Stringer("id", c.source.ID()), zap.Stringer("address", c.Addr()))
	return nil
}

// openLogs opens the environments' logs, whose entries the store has a second time. One that
// does not open takes nothing, and its gateways keep what they have: the others go on.
func (c *ControlPlane) openLogs(ctx context.Context) (err error) {
	dir := c.config.place(c.config.LogDir, logDir)
	if dir == "" {
		c.log.Warn("no log is kept: set logDir")
		return nil
	}
	cfg := translog.SetConfig{Dir: dir, Witnesses: c.config.Witnesses, Archive: c.store, Log: c.log}
	if c.logs, err = translog.OpenSet(ctx, cfg); err != nil || c.config.LogListen == "" {
		return err
	}
	if c.tiles, err = net.Listen("tcp", c.config.LogListen); err != nil {
		return fmt.Errorf("listen for readers of the logs: %w", err)
	}
	return nil
}

// openRecords opens the store of records.
func (c *ControlPlane) openRecords(ctx context.Context) (err error) {
	dir := c.config.place(c.config.RecordsDir, recordsDir)
	if dir == "" {
		c.log.Warn("records are in memory alone, for as long as this process runs: set recordsDir")
		return nil
	}
	if c.records, err = openRecords(ctx, dir, c.config.keeping(), c.log); err != nil {
		return fmt.Errorf("open the store of records: %w", err)
	}
	return nil
}

// LogAddr is where the logs are served; nil if they are not.
func (c *ControlPlane) LogAddr() net.Addr {
	if c.tiles == nil {
		return nil
	}
	return c.tiles.Addr()
}

// serveLogs serves the logs for reading until ctx ends.
func (c *ControlPlane) serveLogs(ctx context.Context) error {
	if c.tiles == nil {
		return nil
	}
	server := &http.Server{
		Handler: c.logs.Handler(), ReadHeaderTimeout: readerTimeout, WriteTimeout: readerTimeout, IdleTimeout: 2 * readerTimeout,
		MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(c.log.Named("log").WithOptions(zap.IncreaseLevel(zap.WarnLevel))),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(c.tiles, maxReaders)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the logs: %w", err)
	}
	return nil
}

// logDir is where the logs are beside an embedded store.
func logDir(dir string) string { return filepath.Join(dir, "log") }

// identify gets the control plane's own SVID.
func (c *ControlPlane) identify(ctx context.Context) error {
	if c.source != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	source, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: c.config.WorkloadAPI, Bundles: c.config.Bundles, Log: c.log})
	if err != nil {
		return fmt.Errorf("get the control plane's SVID: %w", err)
	}
	c.source, c.ownSource = source, true
	return nil
}

// Addr is where the control plane listens.
func (c *ControlPlane) Addr() net.Addr { return c.listener.Addr() }

// ID is the control plane's SPIFFE ID.
func (c *ControlPlane) ID() spiffeid.ID { return c.source.ID() }

// Run serves until ctx ends, and closes everything then.
func (c *ControlPlane) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return c.view.run(running) })
	group.Go(func() error { return c.runFederation(running) })
	group.Go(func() error { return c.serveLogs(running) })
	group.Go(func() error { c.refusals.serve(running); return nil })
	group.Go(func() error { c.clients.Run(running); return nil })
	group.Go(func() error { c.expireSealed(running); return nil })
	group.Go(func() error { return serve(running, c.server, c.listener, c.view.stop) })
	err := group.Wait()
	c.view.api.Wait()
	return errors.Join(err, c.close())
}

// close closes what was made, in reverse. The server has closed the listener if
// it ever served.
func (c *ControlPlane) close() error {
	var errs []error
	if c.listener != nil {
		if err := c.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if c.tiles != nil {
		if err := c.tiles.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if c.records != nil {
		errs = append(errs, c.records.Close())
	}
	if c.logs != nil {
		errs = append(errs, c.logs.Close())
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	if c.ownSource {
		errs = append(errs, c.source.Close())
	}
	return errors.Join(errs...)
}

// bootstrap is what a gateway's bootstrap file says of this control plane.
func (c *ControlPlane) bootstrap() (api.Bootstrap, error) {
	td := c.source.TrustDomain()
	roots, err := c.source.GetX509BundleForTrustDomain(td)
	if err != nil {
		return api.Bootstrap{}, err
	}
	document, err := spiffebundle.FromX509Bundle(roots).Marshal()
	if err != nil {
		return api.Bootstrap{}, fmt.Errorf("encode the bundle of %s: %w", td, err)
	}
	address := c.config.Advertise
	if address == "" {
		address = c.Addr().String()
	}
	return api.Bootstrap{Address: address, ID: c.source.ID().String(), Bundle: string(document)}, nil
}
