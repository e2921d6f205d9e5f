// Package api is the control plane's gRPC API: it decides who may call what,
// checks what callers hand in, and answers from the store, the joined records,
// the xDS server and the inventory. It keeps nothing of its own but what gateways
// said last and what was rejected of it, and it serves no console: the console
// calls it.
//
// The one invariant: a method that the access table does not open to the caller's
// SPIFFE ID is never reached, whatever serves it.
package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/budgets"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/evidence"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/sealed"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/xds"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Store keeps what must survive. What it has answered for is durable.
type Store interface {
	// Policy is the current policy and the store's revision of it, or
	// store.ErrNotFound.
	Policy(ctx context.Context) (*policyv1.SignedPolicy, uint64, error)
	// PolicyHistory are the policies that were current lately, oldest first.
	PolicyHistory(ctx context.Context) ([]*policyv1.SignedPolicy, error)
	// PutPolicy replaces the policy at that revision of the store, or fails with
	// store.ErrConflict.
	PutPolicy(ctx context.Context, signed *policyv1.SignedPolicy, expected uint64) (uint64, error)
	// AppendFrames appends checked frames that a gateway delivered.
	AppendFrames(ctx context.Context, gateway string, frames [][]byte) error
}

// Gateways sends policies to the gateways and knows what they answered.
type Gateways interface {
	// Publish sends a policy that is verified and stored, and waits for a bounded
	// time until it is in force.
	Publish(ctx context.Context, signed *policyv1.SignedPolicy, manifest *policyv1.Manifest) (xds.Result, error)
	// Apply sends a set of operators' acts that is stored, and waits for a bounded time
	// until it is in force.
	Apply(ctx context.Context, set *policyv1.ActSet) (xds.Result, error)
	// Gateways are what is known of each.
	Gateways() []xds.Status
}

// Inventory knows where workloads are.
type Inventory interface {
	// SetPolicy makes a policy the one that workloads are judged and named by.
	SetPolicy(p *policyv1.Policy)
	// Register says where a workload is, in the caller's name. Its errors are
	// inventory.ErrInvalid, ErrUnknownWorkload and ErrNotAllowed, which may be
	// told to the caller, and the store's.
	Register(ctx context.Context, caller spiffeid.ID, req *controlv1.RegisterRequest) (*controlv1.Binding, error)
	// Withdraw takes back what was registered, in the caller's name. Its errors are
	// those of Register, and inventory.ErrNotRegistered.
	Withdraw(ctx context.Context, caller spiffeid.ID, req *controlv1.WithdrawRequest) (*controlv1.Binding, error)
	// Bindings are all bindings, by workload and source.
	Bindings() []*controlv1.Binding
}

// Records joins frames into records.
type Records interface {
	// Add joins a checked frame. An error means that it contradicts one that came
	// before it, in words that its gateway may read; it has no effect then.
	Add(f *crossingv1.Frame) error
	// List calls each with the records that match, oldest first, and with follow
	// set goes on with each that changes until ctx ends, or fails with
	// join.ErrSlow. The error is records.ErrInvalid if the question has no answer.
	List(ctx context.Context, req *controlv1.ListCrossingsRequest, each func(records.Joined) error) error
	// Refusals are the counted failures before identity since a time, oldest first.
	Refusals(since time.Time) []*controlv1.GatewayRefusal
	// Applied are the operators' acts that gateways have said they applied, by time.
	Applied() []join.Applied
	// Counts are what crossed each transition.
	Counts() map[join.Transition]join.Counts
	// Unmatched are the records that are one-sided, or whose halves disagree, by time.
	Unmatched() []join.Halves
	// At is the record of the crossing with that key; false if there is none.
	At(k *crossingv1.Key) (join.Halves, bool)
	// Of is what a record that List gave was joined from; false if it has changed, or if
	// that is not known any more.
	Of(r *crossingv1.Record) (join.Halves, bool)
	// Outage is the last time in which a gateway could not record; nil if there was none.
	Outage(gateway string) *crossingv1.Outage
}

// Bundles carries the trust domains' signed bundles.
type Bundles interface {
	// Publish keeps a signed bundle and hands it on. Its errors are those of package
	// federation, which may be told to the caller, and the store's.
	Publish(ctx context.Context, signed *configv1.SignedBundle) error
	// Newest are those that are handed on; the channel is closed when there are
	// others.
	Newest() ([]*configv1.SignedBundle, <-chan struct{})
	// States are how things stand with each other trust domain.
	States() []*controlv1.BundleStatus
}

// Config is what the API answers from.
type Config struct {
	// Store, Memory, Gateways, Inventory, Records and Bundles as above. With
	// ReadOnly there need be no Bundles.
	Store  Store
	Memory Memory
	// Acts keeps operators' acts, as Memory keeps what gateways say.
	Acts      Memory
	Gateways  Gateways
	Inventory Inventory
	Records   Records
	Bundles   Bundles
	// Statements holds frames against what gateways state.
	Statements *statements.Book
	// Logs are the environments' logs; nil if none are kept.
	Logs Logs
	// Counts counts what crossed; nil to count what is in memory.
	Counts Counts
	// Holds keeps records beyond their retention; nil if no records are kept on disk.
	Holds Holds
	// Sealed keeps contents that gateways have sealed; nil if none are kept.
	Sealed *sealed.Store
	// Frames are all frames, of which proofs are made.
	Frames evidence.Frames
	// Trust judges the SVIDs under which gateways announce the keys of statements. With
	// ReadOnly it is not asked.
	Trust statements.Trust
	// Keys are who may sign a policy. With ReadOnly they are not asked.
	Keys *policyv1.KeySet
	// Operators are the SPIFFE IDs that may read everything and publish.
	Operators []spiffeid.ID
	// Identify finds a call's caller; IdentifyTLS if nil.
	Identify func(ctx context.Context) (spiffeid.ID, error)
	// Bootstrap is what a gateway's bootstrap file says of this control plane.
	Bootstrap func() (Bootstrap, error)
	// ReadOnly answers every call that needs a running mesh with
	// FAILED_PRECONDITION.
	ReadOnly bool
	// Log takes what the caller is not told.
	Log *zap.Logger
}

// Server is the API.
type Server struct {
	identify  func(ctx context.Context) (spiffeid.ID, error)
	operators map[spiffeid.ID]bool
	readOnly  bool
	log       *zap.Logger
	life      context.Context // ends with Close
	end       context.CancelFunc

	policies  *policies
	crossings *crossings
	gateways  *gateways
	workloads *workloads
	bundles   *bundleService
	acts      *acts
	holds     *holds
	sealed    *sealedService
	logs      *logs
	journal   *journal
}

// New makes the API and takes up the policy and the operators' acts that the store
// has. It fails if that policy does not verify under the keys, or an act is none.
func New(ctx context.Context, c Config) (*Server, error) {
	if c.Store == nil || c.Memory == nil || c.Acts == nil || c.Gateways == nil || c.Inventory == nil || c.Records == nil || c.Statements == nil ||
		c.Bootstrap == nil || !c.ReadOnly && (c.Bundles == nil || c.Trust == nil) {
		return nil, errors.New("make the API: a part that it answers from is missing")
	}
	if !c.ReadOnly {
		if err := signed.CheckKeys(c.Keys); err != nil {
			return nil, fmt.Errorf("make the API: %w", err)
		}
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Identify == nil {
		c.Identify = IdentifyTLS
	}
	log := c.Log.Named("api")
	s := &Server{
		identify:  c.Identify,
		operators: make(map[spiffeid.ID]bool, len(c.Operators)),
		readOnly:  c.ReadOnly,
		log:       log,
		policies:  newPolicies(c, log),
	}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	for _, id := range c.Operators {
		s.operators[id] = true
	}
	s.journal = newJournal(c.Logs, log)
	s.policies.journal = s.journal
	s.logs = &logs{config: c, journal: s.journal}
	rejections := newRejections()
	s.crossings = &crossings{config: c, policies: s.policies, charters: newCharters(c.Store, log), rejections: rejections, log: log}
	remembered, err := newMemory(ctx, c.Memory, log)
	if err != nil {
		s.end()
		return nil, err
	}
	s.gateways = &gateways{
		config: c, policies: s.policies, rejections: rejections, memory: remembered, reports: map[spiffeid.ID]report{},
		budgets: budgets.New(time.Now()),
	}
	s.acts = &acts{config: c, policies: s.policies, journal: s.journal, log: log}
	s.holds = &holds{kept: c.Holds, policies: s.policies, inventory: c.Inventory, journal: s.journal}
	s.sealed = &sealedService{kept: c.Sealed, logs: c.Logs, log: log}
	s.workloads = &workloads{inventory: c.Inventory, denies: s.acts.denies}
	s.bundles = &bundleService{bundles: c.Bundles, gateways: s.gateways, self: c.Bootstrap, journal: s.journal}
	if err := errors.Join(s.policies.load(ctx), s.acts.load(ctx)); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// Run keeps what gateways say in the store, and enters administrative acts into the logs,
// until ctx ends. Without it what gateways say is known for as long as the process lives.
func (s *Server) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	if s.journal.logs != nil {
		s.enterStanding(ctx)
		parts.Go(func() { s.journal.run(ctx, s.enterBundles) })
	}
	s.gateways.run(ctx)
	parts.Wait()
	return nil
}

// enterStanding enters what is in force when the process starts: the one before may not
// have come to it.
func (s *Server) enterStanding(ctx context.Context) {
	s.enterBundles()
	g := s.policies.current.Load()
	if g == nil {
		return
	}
	s.journal.published(g, "")
	for _, a := range s.acts.set().Message().GetActs() {
		s.journal.made(g, a, "")
	}
	if err := s.holds.standing(ctx, g); err != nil {
		s.log.Error("holds on records not entered in the logs", zap.Error(err))
	}
}

// enterBundles enters the bundles that are handed on.
func (s *Server) enterBundles() {
	all, _ := s.bundles.bundles.Newest()
	for _, b := range all {
		s.journal.bundle(b)
	}
}

// Close ends all streams, each with UNAVAILABLE. Stop the gRPC server after it,
// and then Wait.
func (s *Server) Close() { s.end() }

// Wait waits for what streams have left behind. The gRPC server must have
// stopped, or it waits for as long as that runs.
func (s *Server) Wait() { s.crossings.receivers.Wait() }

// Register adds the API's services to a gRPC server that was made with Unary
// and Stream as its interceptors.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	controlv1.RegisterPolicyServiceServer(r, s.policies)
	controlv1.RegisterCrossingServiceServer(r, s.crossings)
	controlv1.RegisterGatewayServiceServer(r, s.gateways)
	controlv1.RegisterWorkloadServiceServer(r, s.workloads)
	controlv1.RegisterBundleServiceServer(r, s.bundles)
	controlv1.RegisterActServiceServer(r, s.acts)
	controlv1.RegisterLogServiceServer(r, s.logs)
	controlv1.RegisterHoldServiceServer(r, s.holds)
	controlv1.RegisterSealedServiceServer(r, s.sealed)
}

// Current is the policy in force, signed and as its manifest names it; nil if
// there is none.
func (s *Server) Current() (*policyv1.SignedPolicy, *policyv1.Manifest) {
	g := s.policies.current.Load()
	if g == nil {
		return nil, nil
	}
	return g.signed, g.manifest
}

// Acts are the operators' acts.
func (s *Server) Acts() *policyv1.ActSet { return s.acts.set().Message() }

// Compiled is the policy in force, nil if there is none.
func (s *Server) Compiled() *policy.Policy { return s.policies.compiled() }

// IsOperator says whether an ID is one of Config.Operators.
func (s *Server) IsOperator(id spiffeid.ID) bool { return s.operators[id] }
