package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// How long a client waits before it opens a stream again: half to all of a
// time that doubles between the two.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// Bundles takes the signed bundles of other trust domains, and judges them itself:
// see federation.Keeper.
type Bundles interface {
	Accept(signed *configv1.SignedBundle) error
}

// Config is what a client is made of. All fields but Run, Bundles and Log are
// required.
type Config struct {
	// Conn leads to the control plane and has verified its SPIFFE ID. It should
	// have been made with DialOptions.
	Conn grpc.ClientConnInterface
	// Node is the gateway's own SPIFFE ID.
	Node spiffeid.ID
	// Run is this process's run: the control plane tells by it processes of the
	// gateway that run side by side.
	Run string
	// StateDir is the directory of the last good policy and of the operators' acts,
	// made if need be.
	StateDir string
	// Keys are who may sign a policy, as pinned in the bootstrap file.
	Keys *policyv1.KeySet
	// Bundles takes signed bundles; they are not asked for if it is nil.
	Bundles Bundles
	// Applied records that an operator's act was put in force, durably. May be nil.
	Applied func(*crossingv1.Applied) error
	// Log may be nil.
	Log *zap.Logger
}

// DialOptions are what a connection needs so that a lost control plane is
// noticed (a ping after 10 s of silence) and found again soon (within 10 s).
// The server must allow pings that often.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
}

// Client asks one control plane. Policies, Endpoints, Acts, Changed and Heard may be
// called concurrently, before Run, during it and after.
type Client struct {
	conn    grpc.ClientConnInterface
	node    spiffeid.ID
	run     string
	bundles Bundles // nil if nobody takes them
	log     *zap.Logger

	// What Run's goroutine owns.
	book         *book
	table        *table
	ledger       *ledger
	stateVersion string // of the PolicyState that is in force; empty if none

	policies  atomic.Pointer[Policies]
	endpoints atomic.Pointer[map[serviceKey][]string]
	acts      atomic.Pointer[act.Set]

	heard, settled chan struct{}
	hear, agree    func() // close heard and settled, once

	mu      sync.Mutex // guards changed
	changed chan struct{}
}

// New makes a client with what was kept in the state directory: the last good
// policy, verified again, and operators' acts are in force from here on. A policy
// that is not good any more is logged and not used; acts that cannot be read are an
// error.
func New(cfg Config) (*Client, error) {
	if cfg.Conn == nil || cfg.Node.IsZero() {
		return nil, errors.New("make xDS client: no connection or no node")
	}
	if err := signed.CheckKeys(cfg.Keys); err != nil {
		return nil, fmt.Errorf("make xDS client: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	f, err := openFiles(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	c := &Client{
		conn: cfg.Conn, node: cfg.Node, run: cfg.Run, bundles: cfg.Bundles, log: cfg.Log,
		book: newBook(f, cfg.Keys), table: newTable(f),
		heard: make(chan struct{}), settled: make(chan struct{}), changed: make(chan struct{}),
	}
	c.hear = sync.OnceFunc(func() { close(c.heard) })
	c.agree = sync.OnceFunc(func() { close(c.settled) })
	if err := c.book.load(); err != nil {
		c.log.Error("kept policy state is not good", zap.Error(err))
	}
	if err := c.table.load(); err != nil {
		c.log.Warn("kept endpoints are not good", zap.Error(err))
	}
	c.ledger = &ledger{files: f, record: cfg.Applied, show: c.showActs}
	if c.ledger.record == nil {
		c.ledger.record = func(*crossingv1.Applied) error { return nil }
	}
	if err := c.ledger.load(); err != nil {
		return nil, fmt.Errorf("make xDS client: %w", err)
	}
	c.acts.Store(c.ledger.set)
	c.showPolicies()
	c.showEndpoints()
	return c, nil
}

// Policies are the policies held now; never nil.
func (c *Client) Policies() *Policies { return c.policies.Load() }

// Endpoints are where a service of a workload of the gateway's environment is,
// as HOST:PORT; none if no binding says. They are not to be changed: each call gives
// the same ones.
func (c *Client) Endpoints(workload, service string) []string {
	return (*c.endpoints.Load())[serviceKey{workload: workload, service: service}]
}

// Changed is closed at the next change of Policies or Acts. Ask for it before you
// read, and again afterwards.
func (c *Client) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// Heard is closed at the first answer of a control plane: from then on it
// counts this node among those that it waits for.
func (c *Client) Heard() <-chan struct{} { return c.heard }

// Settled is closed when what a control plane has named is in force for the first
// time.
func (c *Client) Settled() <-chan struct{} { return c.settled }

func (c *Client) showPolicies() {
	before, now := c.policies.Load(), c.book.snapshot()
	c.policies.Store(now)
	if before == nil || before.same(now) {
		return
	}
	if now.Current != before.Current && now.Current != nil {
		ref := now.Current.Ref()
		c.log.Info("policy in force", zap.Uint64("serial", ref.Serial), zap.String("revision", ref.Revision))
	}
	c.tellChanged()
}

func (c *Client) tellChanged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (p *Policies) same(q *Policies) bool {
	return p.Current == q.Current && p.Previous == q.Previous && slices.Equal(p.prepared, q.prepared)
}

func (c *Client) showEndpoints() {
	now := c.table.snapshot()
	c.endpoints.Store(&now)
}

// Run keeps a stream to the control plane until the context ends; then it
// returns nil. Without a control plane it goes on trying, and what is in force
// stays in force.
func (c *Client) Run(ctx context.Context) error {
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		heard, err := c.stream(ctx)
		if heard {
			wait = minBackoff
		}
		if ctx.Err() == nil {
			c.log.Warn("no stream to the control plane", zap.Error(err), zap.Duration("again_in_at_most", wait))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
	}
}
