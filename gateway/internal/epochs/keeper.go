// Package epochs keeps a gateway's books with its peers. Each second in which
// something crossed, it claims to each ingress gateway what went out to it, and it
// answers what egress gateways claim of what came in: so that of each epoch there is
// one statement under two signatures, or one that says that the other gateway was
// silent. It says when and to whom; what a claim is, and what two accounts come to,
// is package statement's.
//
// One invariant: nothing is said to a peer that is not in this gateway's own spool, on
// stable storage. A gateway that was lost with all that it had in memory goes on where
// its peers saw it last.
package epochs

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Recorder is the spool, as far as books need it.
type Recorder interface {
	// RunID is the run's id: 32 hex digits.
	RunID() string
	// Say spools a frame that is of no crossing; durable means on stable storage.
	Say(f *crossingv1.Frame, durable bool) error
	// Frame reads a frame back, by the place that the recorder gave it.
	Frame(at uint64) ([]byte, error)
	// Follow tells the books what other runs have spooled by now.
	Follow() error
	// Stated gives places back: their frames are in statements.
	Stated(at ...uint64)
	// Refuse counts what was refused, for the record.
	Refuse(reason crossingv1.Reason, addr netip.AddrPort, listener, detail string)
}

// Peers opens streams to peer gateways.
type Peers interface {
	// Open opens a stream of kind STATEMENTS, or fails when the context ends.
	Open(ctx context.Context, peer spiffeid.ID) (tunnel.Stream, error)
}

// Meter counts what a keeper does. Its methods may be called concurrently.
type Meter interface {
	// Stated counts an epoch that was stated, by the side that this gateway stood on;
	// alone if its peer did not answer.
	Stated(side crossingv1.Side, alone bool)
	// Differed counts numbers on which the two gateways do not say the same.
	Differed(kind crossingv1.Difference_Kind, numbers int)
	// Mistold counts what was refused of what peers said, by reason.
	Mistold(reason string)
}

// nobody counts nothing.
type nobody struct{}

func (nobody) Stated(crossingv1.Side, bool)             {}
func (nobody) Differed(crossingv1.Difference_Kind, int) {}
func (nobody) Mistold(string)                           {}

// Config is what a keeper is made of.
type Config struct {
	// Self is the gateway's own SPIFFE ID.
	Self spiffeid.ID
	// Source has the gateway's SVID, under which the key of its statements is
	// announced, and the bundles to verify those of peers by.
	Source *certs.Source
	// Peers opens streams to them.
	Peers Peers
	// Policy is the one in force; zero if there is none.
	Policy func() policy.Ref
	// Waits says that another process of this gateway answers peers until TakeOver is
	// called.
	Waits bool
	// Meter counts; nil for nobody.
	Meter Meter
	// Log may be nil.
	Log *zap.Logger
	// Now is the gateway's clock; time.Now if nil.
	Now func() time.Time

	// Epoch is how often each chain is looked at. Default 1 s.
	Epoch time.Duration
	// Heartbeat is how often the gateway says where its chains stand. Default 10 s. A
	// peer that was not heard for two of them is silent.
	Heartbeat time.Duration
	// Exchange bounds one exchange with a peer. Default 10 s.
	Exchange time.Duration
	// Memory is how long a chain is known of which all is stated and nothing is heard.
	// Default 24 h.
	Memory time.Duration
}

func (c *Config) setDefaults() {
	for _, d := range []struct {
		of    *time.Duration
		usual time.Duration
	}{
		{&c.Epoch, time.Second},
		{&c.Heartbeat, 10 * time.Second},
		{&c.Exchange, 10 * time.Second},
		{&c.Memory, 24 * time.Hour},
	} {
		if *d.of == 0 {
			*d.of = d.usual
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Meter == nil {
		c.Meter = nobody{}
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
}

// Keeper keeps the books of one gateway. Make it with New, give it to the recorder,
// and the recorder to it with Bind; then Run it once. All other methods may be called
// concurrently.
type Keeper struct {
	cfg      Config
	keys     *keys
	recorder Recorder    // Bind's
	run      string      // of this process, Bind's too
	answers  atomic.Bool // peers are answered here, and not by another process
	beside   atomic.Bool // other processes of this gateway run

	mu      sync.RWMutex                  // guards what follows
	own     map[string]*outgoing          // chains of this run, by their ingress gateways
	out     map[statement.Chain]*outgoing // those, and the ones of earlier runs
	in      map[statement.Chain]*incoming
	peers   map[spiffeid.ID]*peer
	group   *group   // nil unless Run runs
	running []string // other runs of this gateway that go on; nil before that is known
}

// group is the goroutines that Run has started.
type group struct {
	ctx context.Context
	sync.WaitGroup
}

// New makes a keeper whose books are empty.
func New(cfg Config) *Keeper {
	cfg.setDefaults()
	k := &Keeper{
		cfg: cfg, keys: newKeys(&cfg),
		own: map[string]*outgoing{}, out: map[statement.Chain]*outgoing{}, in: map[statement.Chain]*incoming{},
		peers: map[spiffeid.ID]*peer{},
	}
	k.answers.Store(!cfg.Waits)
	k.beside.Store(cfg.Waits)
	return k
}

// Bind says whose books these are, before anything of its run is recorded. What was
// restored and replayed before is of earlier ones.
func (k *Keeper) Bind(r Recorder) { k.recorder, k.run = r, r.RunID() }

// Run states what crosses, epoch by epoch, and says where each chain stands, until
// the context ends. It returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	updated, stop := k.cfg.Source.Subscribe()
	defer stop()
	k.announce()
	k.begin(&group{ctx: ctx})
	look, beat := time.NewTicker(k.cfg.Epoch), time.NewTicker(k.cfg.Heartbeat)
	defer look.Stop()
	defer beat.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-updated:
			k.announce()
		case <-look.C:
			k.announce() // nothing, unless it failed before
			k.release()
		case <-beat.C:
			k.forget(k.cfg.Now())
			if k.answers.Load() {
				k.abandon()
			}
			k.beat(ctx, k.cfg.Now())
		}
	}
	k.end().Wait()
	k.release()
	return nil
}

// begin has every chain told of.
func (k *Keeper) begin(g *group) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.group = g
	for _, c := range k.out {
		k.start(c)
	}
}

func (k *Keeper) end() *group {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.group
	k.group = nil
	return g
}

// Retire leaves it to another process of this gateway to answer peers.
func (k *Keeper) Retire() { k.answers.Store(false) }

// TakeOver has peers answered here: the process that did so before has retired.
func (k *Keeper) TakeOver() { k.answers.Store(true) }

// release gives back the places of what is stated.
func (k *Keeper) release() {
	out, in := k.chains()
	for _, c := range out {
		k.recorder.Stated(c.book.Stated()...)
	}
	for _, c := range in {
		k.recorder.Stated(c.book.Stated()...)
	}
}

// chains are all that are known.
func (k *Keeper) chains() (out []*outgoing, in []*incoming) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, c := range k.out {
		out = append(out, c)
	}
	for _, c := range k.in {
		in = append(in, c)
	}
	return out, in
}
