package simulation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var errAway = errors.New("the control plane is away")

// control stands for the control plane: what it has acknowledged it has for good.
type control struct {
	world  *world
	random *rand.Rand // where a record is mutated

	mu       sync.Mutex // guards what follows
	away     bool
	gone     chan struct{}       // closed when it goes away
	frames   []map[int]harm      // harms of frames, by gateway and number
	unsure   []map[int]bool      // batches whose acknowledgement is lost
	taken    []int               // frames so far, by gateway
	batches  []int               // likewise
	has      map[[32]byte]bool   // frames, by their hashes
	records  map[handle]*account // by crossing
	slots    map[slot]handle     // by number
	chains   map[statement.Chain]*kept
	keys     map[statement.Hash]*statement.Key
	known    map[statement.Hash]bool // announcements
	unproven []held                  // statements whose keys are not announced
	findings []finding
	harmed   int // frames that were
}

// handle names a crossing, as the control plane does.
type handle struct{ id, egress, ingress string }

// slot is a gateway's number.
type slot struct {
	gateway string
	chain   statement.Chain
	number  uint64
}

// account is both gateways' accounts of a crossing.
type account struct {
	sides [2]crossing.Account // egress, ingress
	chain [2]statement.Chain
	n     [2]uint64
}

// kept is what is known of a chain.
type kept struct {
	follower   *statement.Follower
	statements []*statement.Stated
	leaves     [2][2]map[uint64]statement.Hash // of a side's openings and ends
}

type held struct {
	stated *statement.Stated
	from   string
}

// finding is something that the control plane names, beside what statements do.
type finding struct {
	what    string
	gateway string
	chain   statement.Chain
	numbers []uint64
	fault   statement.Fault // of a chain of statements; 0 if it is something else
	epoch   uint64
	detail  string
}

func (f finding) String() string {
	return fmt.Sprintf("%s (fault %d): %s chain %.8s %s>%s numbers %v epoch %d: %s",
		f.what, f.fault, f.gateway, f.chain.Run, f.chain.Egress, f.chain.Ingress, f.numbers, f.epoch, f.detail)
}

func newControl(w *world) *control {
	return &control{
		world: w, random: rand.New(rand.NewPCG(w.seed, 2)), gone: make(chan struct{}), frames: w.delivered, unsure: w.unsure,
		taken: make([]int, w.plan.gateways), batches: make([]int, w.plan.gateways), has: map[[32]byte]bool{}, records: map[handle]*account{},
		slots: map[slot]handle{}, chains: map[statement.Chain]*kept{}, keys: map[statement.Hash]*statement.Key{}, known: map[statement.Hash]bool{},
	}
}

// leave makes the control plane go away, or come back.
func (c *control) leave(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if away && !c.away {
		close(c.gone)
	}
	if !away && c.away {
		c.gone = make(chan struct{})
	}
	c.away = away
}

// client connects a gateway.
func (c *control) client(p *process) (controlv1.CrossingServiceClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away || p.gone() {
		return nil, errAway
	}
	return &client{control: c, from: p, gone: c.gone}, nil
}

// client is one gateway's connection.
type client struct {
	controlv1.CrossingServiceClient // nothing but Deliver is asked for

	control *control
	from    *process
	gone    chan struct{}
}

// Deliver implements controlv1.CrossingServiceClient.
func (c *client) Deliver(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[controlv1.Batch, controlv1.Ack], error) {
	return &delivery{client: c, ctx: ctx, acks: make(chan *controlv1.Ack, 16), broken: make(chan struct{})}, nil
}

// delivery is one stream of batches.
type delivery struct {
	grpc.ClientStream // nothing of it is asked for

	client *client
	ctx    context.Context
	acks   chan *controlv1.Ack
	once   sync.Once
	broken chan struct{}
}

// Send implements grpc.BidiStreamingClient.
func (d *delivery) Send(b *controlv1.Batch) error {
	select {
	case <-d.client.gone:
		return io.EOF
	case <-d.broken:
		return io.EOF
	default:
	}
	if d.client.from.gone() {
		return io.EOF
	}
	ack, sure := d.client.control.take(d.client.from.gateway, b)
	if !sure {
		d.once.Do(func() { close(d.broken) })
		return nil
	}
	d.acks <- ack
	return nil
}

// Recv implements grpc.BidiStreamingClient.
func (d *delivery) Recv() (*controlv1.Ack, error) {
	select {
	case <-d.client.gone:
		return nil, errAway
	case <-d.broken:
		return nil, errAway
	case <-d.ctx.Done():
		return nil, d.ctx.Err()
	case ack := <-d.acks:
		if d.client.from.gone() {
			return nil, errAway
		}
		return ack, nil
	}
}

// take takes a batch in. sure says that the acknowledgement arrives.
func (c *control) take(g *gateway, b *controlv1.Batch) (ack *controlv1.Ack, sure bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.world.indexOf(g)
	c.batches[at]++
	ack = &controlv1.Ack{Through: b.GetThrough()}
	var order []int
	for i := range b.GetFrames() {
		order = append(order, i)
	}
	for i, frame := range b.GetFrames() {
		c.taken[at]++
		switch c.frames[at][c.taken[at]] {
		case reordered:
			order[i], order[0] = order[0], order[i]
			c.harmed++
		case dropped:
			order[i] = -1
			c.harmed++
		case doubled:
			order = append(order, i)
			c.harmed++
		case mutated:
			b.Frames[i] = c.mutate(frame)
			c.harmed++
		}
	}
	for _, i := range order {
		if i < 0 {
			continue
		}
		if err := c.add(g, append([]byte(nil), b.GetFrames()[i]...)); err != nil {
			ack.Rejected = append(ack.Rejected, &controlv1.Rejection{Index: uint32(i), Why: err.Error()})
			c.findings = append(c.findings, finding{what: "rejected", gateway: g.id.String(), detail: err.Error()})
		}
	}
	return ack, !c.unsure[at][c.batches[at]]
}

// mutate changes a frame: a bit of it, or what it says. The caller holds mu.
func (c *control) mutate(frame []byte) []byte {
	f, err := crossing.UnmarshalFrame(frame)
	if err == nil && c.random.IntN(2) == 0 {
		switch {
		case f.GetClose() != nil:
			f.Close.ResponseBytes += 7
		case f.GetOpen() != nil:
			f.Open.Operation.Name = "GET /"
		}
		if m, err := crossing.MarshalFrame(f); err == nil {
			return m
		}
	}
	frame = append([]byte(nil), frame...)
	frame[c.random.IntN(len(frame))] ^= 1 << c.random.IntN(8)
	return frame
}

// add takes one frame in. The caller holds mu.
func (c *control) add(g *gateway, data []byte) error {
	f, err := crossing.UnmarshalFrame(data)
	if err == nil {
		err = crossing.CheckFrame(f, g.id)
	}
	if err == nil {
		err = c.believe(f)
	}
	if err != nil {
		return err
	}
	sum := statement.Leaf(data)
	if c.has[sum] {
		return nil
	}
	c.has[sum] = true
	switch {
	case f.GetOpen() != nil:
		h := f.GetOpen()
		c.join(g, h.GetId(), h.GetKey(), h.GetSide(), 0, sum, func(a *crossing.Account) bool {
			if a.Open == nil {
				a.Open = h
			}
			return a.Open == h
		})
	case f.GetClose() != nil:
		e := f.GetClose()
		c.join(g, e.GetId(), e.GetKey(), e.GetSide(), 1, sum, func(a *crossing.Account) bool {
			if a.Close == nil {
				a.Close = e
			}
			return a.Close == e
		})
	case f.GetAnnouncement() != nil:
		return c.announce(f.GetAnnouncement())
	case f.GetStatement() != nil:
		return c.state(f.GetStatement(), g.id.String())
	}
	return nil
}

// believe refuses a statement of others.
func (c *control) believe(f *crossingv1.Frame) error {
	if f.GetStatement() == nil {
		return nil
	}
	s, err := statement.Read(f.GetStatement())
	switch {
	case err != nil:
		return err
	case f.GetGateway() != s.Chain.Egress && f.GetGateway() != s.Chain.Ingress:
		return errors.New("a statement between others")
	case f.GetGateway() == s.Chain.Ingress && s.Answer == nil:
		return errors.New("another gateway's claim without an answer")
	}
	return nil
}

// join adds a piece of a crossing. What contradicts an earlier one changes nothing. The
// caller holds mu.
func (c *control) join(g *gateway, id string, k *crossingv1.Key, s crossingv1.Side, piece int, leaf statement.Hash, set func(*crossing.Account) bool) {
	side, chain := int(s)-1, statement.ChainOf(k)
	name, at := handle{id, k.GetEgress(), k.GetIngress()}, slot{g.id.String(), chain, k.GetSequence()}
	conflict := func(what string) {
		c.findings = append(c.findings, finding{what: "conflict", gateway: g.id.String(), chain: chain, numbers: []uint64{k.GetSequence()}, detail: what + " of " + id})
	}
	if other, taken := c.slots[at]; taken && other != name {
		conflict("number of " + other.id)
		return
	}
	a := c.records[name]
	if a == nil {
		a = new(account)
		c.records[name] = a
	}
	if a.n[side] != 0 && (a.n[side] != k.GetSequence() || a.chain[side] != chain) {
		conflict("another key")
		return
	}
	c.slots[at] = name
	a.chain[side], a.n[side] = chain, k.GetSequence()
	if !set(&a.sides[side]) {
		conflict([]string{"opening", "end"}[piece])
		return
	}
	c.chain(chain).leaves[side][piece][k.GetSequence()] = leaf
}

// chain is what is known of one. The caller holds mu.
func (c *control) chain(name statement.Chain) *kept {
	k := c.chains[name]
	if k == nil {
		k = &kept{follower: statement.Follow(name)}
		for side := range k.leaves {
			k.leaves[side] = [2]map[uint64]statement.Hash{{}, {}}
		}
		c.chains[name] = k
	}
	return k
}

// announce takes a key, and what waited for it. The caller holds mu.
func (c *control) announce(a *crossingv1.Announcement) error {
	hash := statement.HashAnnouncement(a)
	if c.known[hash] {
		return nil
	}
	k, err := statement.VerifyAnnouncement(a, a.GetGateway(), func(chain []*x509.Certificate, at time.Time) error {
		_, err := certs.VerifyAt(c.world.source, chain, at, certs.AuthorizeAny())
		return err
	})
	if err != nil {
		return err
	}
	c.keys[k.ID], c.known[hash] = k, true
	waited := c.unproven
	c.unproven = nil
	for _, h := range waited {
		if err := c.prove(h); err != nil {
			return err
		}
	}
	return nil
}

// state takes a statement. The caller holds mu.
func (c *control) state(m *crossingv1.Statement, from string) error {
	s, err := statement.Read(proto.CloneOf(m))
	if err != nil {
		return err
	}
	return c.prove(held{s, from})
}

// prove takes a statement once its keys are known. The caller holds mu.
func (c *control) prove(h held) error {
	s := h.stated
	e, i := c.keys[s.EgressKey()], c.keys[s.IngressKey()]
	if e == nil || s.Answer != nil && i == nil {
		c.unproven = append(c.unproven, h)
		return nil
	}
	err := s.VerifyEgress(e)
	if err == nil && s.Answer != nil {
		err = s.VerifyIngress(i)
	}
	if err != nil {
		return err
	}
	k := c.chain(s.Chain)
	k.statements = append(k.statements, s)
	for _, f := range k.follower.Add(s) {
		found := finding{what: "chain", chain: s.Chain, fault: f.Fault, epoch: f.Epoch}
		if f.Difference != nil {
			found.numbers, found.detail = f.Difference.Numbers, fmt.Sprint(f.Difference.Kind, f.Difference.Fields)
		}
		c.findings = append(c.findings, found)
	}
	return nil
}
