package xds

import (
	"context"
	"errors"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DefaultWait bounds each of the two phases of a publish.
const DefaultWait = 2 * time.Second

// Config is what a server is made of.
type Config struct {
	// Peer is the SPIFFE ID that the stream's connection was authenticated with.
	// An error refuses the stream.
	Peer func(ctx context.Context) (spiffeid.ID, error)
	// Wait bounds the wait for gateways in each phase of Publish; DefaultWait if 0.
	Wait time.Duration
	// Log may be nil.
	Log *zap.Logger
}

// Server is the xDS server. All methods may be called concurrently.
type Server struct {
	peer func(ctx context.Context) (spiffeid.ID, error)
	wait time.Duration
	log  *zap.Logger

	policies *cache.LinearCache
	states   *cache.LinearCache
	bundles  *bundles
	acts     *cache.LinearCache

	// updating is held over a change of what is served, so that the caches and
	// mu's fields change in the same order. It is taken before mu.
	updating sync.Mutex

	mu        sync.Mutex // guards what follows
	roster    *roster    // who may subscribe; of the policy in force, nil if there is none
	objects   map[string]*object
	current   *object           // nil if no policy is in force
	revisions map[string]string // version of a PolicyState to the revision it puts in force
	endpoints map[string]*assignments

	actsServed int            // how many sets of acts were
	actsPlaces map[string]int // of the last of them, by version

	records  map[spiffeid.ID]*record
	sessions map[spiffeid.ID]*session   // of each gateway the one that came last
	elders   map[spiffeid.ID][]*session // those that came before it, the last one last
	changed  chan struct{}              // closed and replaced at each change of a record
	closed   bool
}

// New makes a server without a policy. It serves nobody until it is registered.
func New(cfg Config) *Server {
	if cfg.Wait == 0 {
		cfg.Wait = DefaultWait
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	return &Server{
		peer: cfg.Peer, wait: cfg.Wait, log: cfg.Log.Named("xds"),
		policies:  cache.NewLinearCache(TypePolicy),
		states:    cache.NewLinearCache(TypeState),
		bundles:   newBundles(),
		acts:      cache.NewLinearCache(TypeActs),
		objects:   map[string]*object{},
		revisions: map[string]string{},
		endpoints: map[string]*assignments{},

		actsPlaces: map[string]int{},

		records:  map[spiffeid.ID]*record{},
		sessions: map[spiffeid.ID]*session{},
		elders:   map[spiffeid.ID][]*session{},
		changed:  make(chan struct{}),
	}
}

var _ discovery.AggregatedDiscoveryServiceServer = (*Server)(nil)

// Register adds the aggregated discovery service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discovery.RegisterAggregatedDiscoveryServiceServer(r, s)
}

// Close ends all streams and refuses new ones. gRPC's graceful stop waits for
// streams, and these never end by themselves: close before it.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for one := range s.open() {
		one.end(errClosed)
	}
}

var (
	errClosed     = status.Error(codes.Unavailable, "the control plane is stopping")
	errReplaced   = status.Error(codes.Aborted, "the gateway opened another stream")
	errNotGateway = status.Error(codes.PermissionDenied, "not a gateway of the policy in force")
)

// StreamAggregatedResources is the state-of-the-world form, which is refused:
// to a NACK the cache answers with the same resource at once, for ever, and no
// gateway asks in this form.
func (s *Server) StreamAggregatedResources(discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return status.Error(codes.Unimplemented, "use DeltaAggregatedResources")
}

// DeltaAggregatedResources serves one gateway until its stream ends, or until
// the policy in force no longer names it.
func (s *Server) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	id, err := s.peer(stream.Context())
	if err != nil {
		s.log.Warn("stream without an identity", zap.Error(err))
		return status.Error(codes.Unauthenticated, "no SPIFFE ID")
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	one, err := s.admit(id, cancel)
	if err != nil {
		s.log.Warn("stream refused", zap.Stringer("peer", id), zap.Error(err))
		return err
	}
	defer s.leave(one)
	s.log.Info("gateway connected", zap.Stringer("gateway", id))
	// A server for each stream: its context ends this stream alone, and its
	// caches are those that this gateway may see.
	err = delta.NewServer(ctx, one.caches, one).DeltaStreamHandler(stream, "")
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	s.log.Info("gateway disconnected", zap.Stringer("gateway", id), zap.Error(err))
	return err
}

// admit opens a session for a peer, beside those that it may still have.
func (s *Server) admit(id spiffeid.ID, end context.CancelCauseFunc) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errClosed
	case !s.roster.admits(id):
		return nil, errNotGateway
	}
	rec := s.records[id].successor()
	s.records[id] = rec
	one := &session{
		server: s, id: id, record: rec, end: end,
		sent: map[string]*sent{}, seen: map[string]bool{},
		caches: &cache.MuxCache{
			ClassifyDelta: func(r *cache.DeltaRequest) string { return r.GetTypeUrl() },
			Caches: map[string]cache.Cache{
				TypePolicy: s.policies, TypeState: s.states, TypeActs: s.acts, TypeBundle: s.bundles.cache,
				TypeEndpoints: s.assignmentsOf(id.TrustDomain().Name()).cache,
			},
		},
	}
	s.stepAside(id)
	s.sessions[id] = one
	s.notify()
	return one, nil
}

// leave ends a session. What the gateway last answered stays known.
func (s *Server) leave(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close(one)
}

// notify wakes those who wait for gateways. The caller holds mu.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}
