package epochs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var errDown = errors.New("there is no way")

// world is two gateways, the tunnels between them, and what is left of both when
// they are gone.
type world struct {
	t         testing.TB
	mesh      map[string]*certstest.Domain
	near, far *gateway

	mu     sync.Mutex           // guards what follows
	down   bool                 // no stream can be opened
	up     map[*gateway]*Keeper // who answers
	speaks func(tunnel.Stream)  // in the far gateway's place; nil: it does itself
}

// gateway is one of them: its disk, and a process while one runs.
type gateway struct {
	*world
	id     spiffeid.ID
	source *certs.Source
	disk   *disk
	others []string // runs that another process goes on with
	memory time.Duration

	*process
}

// process is one run of a gateway.
type process struct {
	keeper *Keeper
	*memory
	stop func() // ends Run and waits for it
}

// disk is a spool that outlives processes.
type disk struct {
	gateway string

	mu      sync.Mutex // guards what follows
	full    bool
	trimmed bool // of announcements
	frames  [][]byte
	held    map[uint64]bool // places that books hold on to
	refused []string
	counts  map[string]int
}

// memory is the recorder of one process.
type memory struct {
	*disk
	run string
}

func (m *memory) RunID() string { return m.run }

// write puts a frame on disk, and gives its place.
func (m *memory) write(f *crossingv1.Frame, run string) ([]byte, uint64, error) {
	f.Gateway, f.Run = m.gateway, run
	b, err := crossing.MarshalFrame(f)
	if err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return nil, 0, errors.New("disk is full")
	}
	m.frames = append(m.frames, b)
	return b, uint64(len(m.frames)), nil
}

func (m *memory) Say(f *crossingv1.Frame, _ bool) error {
	_, _, err := m.write(f, m.run)
	return err
}

func (m *memory) Frame(at uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.held[at] {
		return nil, fmt.Errorf("nobody holds on to place %d", at)
	}
	return m.frames[at-1], nil
}

func (m *memory) Stated(at ...uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range at {
		if !m.held[a] {
			m.counts["place given back twice"]++
		}
		delete(m.held, a)
	}
}

func (m *memory) Follow() error { m.count("followed", 1); return nil }

func (m *memory) Refuse(_ crossingv1.Reason, _ netip.AddrPort, listener, detail string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused = append(m.refused, listener+": "+detail)
}

func (d *disk) count(what string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[what] += n
}

func (d *disk) counted(what string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts[what]
}

// Stated, Differed and Mistold make a disk a meter.
type meter struct{ *disk }

func (m meter) Stated(side crossingv1.Side, alone bool) {
	m.count(map[bool]string{false: "stated ", true: "alone "}[alone]+side.String(), 1)
}
func (m meter) Differed(kind crossingv1.Difference_Kind, n int) { m.count(kind.String(), n) }
func (m meter) Mistold(reason string)                           { m.count("refused "+reason, 1) }

// inWorld runs a test with two gateways that are up, in virtual time.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		synctest.Wait() // both have announced their keys
		defer func() {
			for _, g := range []*gateway{w.near, w.far} {
				if g.stop != nil {
					g.stop()
				}
				if n := g.counted("place given back twice"); n > 0 {
					t.Errorf("%s: %d places were given back twice, or were never held", g.id, n)
				}
			}
		}()
		f(t, w)
	})
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, up: map[*gateway]*Keeper{}, mesh: certstest.Mesh(t, "near.test", "far.test")}
	w.near, w.far = w.gateway("near"), w.gateway("far")
	w.near.begin()
	w.far.begin()
	return w
}

func (w *world) gateway(name string) *gateway {
	d := w.mesh[name+".test"]
	path := "/sallyport/gateway/" + name
	g := &gateway{world: w, id: d.ID(path), source: d.Source(path), process: &process{}}
	g.disk = &disk{gateway: g.id.String(), held: map[uint64]bool{}, counts: map[string]int{}}
	return g
}

func (w *world) other(g *gateway) *gateway {
	if g == w.near {
		return w.far
	}
	return w.near
}

// begin starts a process, which finds what earlier ones have left.
func (g *gateway) begin() {
	g.t.Helper()
	k := New(Config{
		Self: g.id, Source: g.source, Peers: g, Meter: meter{g.disk}, Memory: g.memory,
		Policy: func() policy.Ref { return policy.Ref{Serial: 7, Revision: "sha256:07"} },
	})
	left := g.replay(k)
	m := &memory{disk: g.disk, run: crossing.NewRun()}
	g.process = &process{keeper: k, memory: m}
	k.Bind(m)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		k.Run(ctx)
	}()
	g.answers(k)
	g.stop = func() { g.answers(nil); cancel(); <-over; g.stop = nil }
	for _, run := range left {
		if !slices.Contains(g.others, run) {
			g.cutOff(run)
		}
	}
	left = slices.DeleteFunc(left, func(run string) bool { return slices.Contains(g.others, run) })
	k.Runs(left, g.others)
	k.SetPeers([]spiffeid.ID{g.world.near.id, g.world.far.id})
}

// answers says who answers in the gateway's place; nil for nobody.
func (g *gateway) answers(k *Keeper) {
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	g.world.up[g] = k
}

// replay tells a new keeper what is on disk, and gives the runs that wrote it.
func (g *gateway) replay(k *Keeper) (runs []string) {
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	g.disk.held = map[uint64]bool{}
	for i, b := range g.disk.frames {
		f, err := crossing.UnmarshalFrame(b)
		if err != nil {
			g.t.Fatal(err)
		}
		if g.disk.trimmed && f.GetAnnouncement() != nil {
			continue
		}
		if !slices.Contains(runs, f.GetRun()) {
			runs = append(runs, f.GetRun())
		}
		if at := uint64(i + 1); k.Replay(f, b, at) {
			g.disk.held[at] = true
		}
	}
	return runs
}

// cutOff ends what an earlier run has left open.
func (g *gateway) cutOff(run string) {
	open := map[string]*crossingv1.Half{}
	g.disk.mu.Lock()
	for _, b := range g.disk.frames {
		f, _ := crossing.UnmarshalFrame(b)
		if f.GetRun() != run {
			continue
		}
		if h := f.GetOpen(); h != nil {
			open[h.GetId()] = h
		}
		delete(open, f.GetClose().GetId())
	}
	g.disk.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(open)) {
		g.close(open[id], run, crossingv1.Cause_GATEWAY_STOPPED)
	}
}

// kill ends a process that has no time for anything: nobody hears of it any more.
func (g *gateway) kill() {
	g.disk.mu.Lock()
	was := g.disk.full
	g.disk.full = true // what it still does is not done
	g.disk.mu.Unlock()
	g.stop()
	g.disk.mu.Lock()
	g.disk.full = was
	g.disk.mu.Unlock()
}

// Open implements Peers.
func (g *gateway) Open(ctx context.Context, id spiffeid.ID) (tunnel.Stream, error) {
	to := g.other(g)
	g.world.mu.Lock()
	down, speaks, there := g.world.down, g.world.speaks, g.world.up[to]
	g.world.mu.Unlock()
	if id != to.id || down || there == nil {
		return nil, errDown
	}
	near, far := streams(&crossingv1.Header{Kind: crossingv1.Header_STATEMENTS, Run: g.run})
	if speaks != nil && to == g.world.far {
		go speaks(far)
		return near, nil
	}
	go there.Serve(ctx, tunnel.Info{Peer: g.id}, far)
	return near, nil
}

// loseAnswers has tunnels fail when the far gateway answers.
func (w *world) loseAnswers(lose bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.speaks = nil
	if lose {
		w.speaks = func(s tunnel.Stream) {
			w.far.keeper.Serve(context.Background(), tunnel.Info{Peer: w.near.id}, deaf{s})
		}
	}
}

// deaf is a stream whose peer hears nothing of what is said.
type deaf struct{ tunnel.Stream }

func (d deaf) Write([]byte) (int, error) {
	d.Reset(tunnel.TunnelClosed)
	return 0, &tunnel.ResetError{Code: tunnel.TunnelClosed}
}

// cut takes the way between the gateways away, or gives it back.
func (w *world) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// half is an opening as a gateway records it.
func (g *gateway) half(n uint64, id string, side crossingv1.Side) *crossingv1.Half {
	now := time.Now()
	return &crossingv1.Half{
		Id: id, Side: side,
		Key:        &crossingv1.Key{Egress: g.world.near.id.String(), Ingress: g.world.far.id.String(), Run: g.world.near.run, Sequence: n},
		Transition: &crossingv1.Transition{From: "near", To: "far", Owner: "ml-platform", Sink: "records"},
		Source:     "spiffe://near.test/ai/agent", Destination: "spiffe://far.test/ai/llm",
		Trace: strings.Repeat("5", 32), Span: strings.Repeat("5", 16),
		Operation: &crossingv1.Operation{Protocol: "openai", Name: "POST /v1/chat/completions", Service: "chat"},
		End: &crossingv1.End{
			Gateway: g.id.String(), Decision: crossingv1.Decision_ALLOW, Intent: "plan",
			Policy: &crossingv1.PolicyRef{Serial: 7, Revision: "sha256:07"}, Open: timestamppb.New(now),
		},
	}
}

// open records an opening.
func (g *gateway) open(h *crossingv1.Half) {
	g.t.Helper()
	b, at, err := g.write(&crossingv1.Frame{Open: h}, g.run)
	if err != nil {
		g.t.Fatal(err)
	}
	g.hold(at)
	g.keeper.Opened(h, b, at)
}

func (g *gateway) hold(at uint64) {
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	g.disk.held[at] = true
}

// close records an end, in the name of the run that has the opening.
func (g *gateway) close(h *crossingv1.Half, run string, cause crossingv1.Cause) {
	g.t.Helper()
	c := &crossingv1.Close{Id: h.GetId(), Key: h.GetKey(), Side: h.GetSide(), Cause: cause, Status: 200}
	b, at, err := g.write(&crossingv1.Frame{Close: c}, run)
	if err != nil {
		g.t.Fatal(err)
	}
	g.hold(at)
	g.keeper.Closed(c, b, at)
}

// open2 is a crossing that has opened at both ends, or at one.
type going struct {
	n         uint64
	near, far *crossingv1.Half
	w         *world
}

// send opens a crossing at the near gateway, and at the far one too if it arrives.
func (w *world) send(arrives bool) *going {
	w.t.Helper()
	n := w.near.keeper.Next(w.far.id.String())
	id := crossing.NewID(time.Now())
	c := &going{n: n, near: w.near.half(n, id, crossingv1.Side_EGRESS), far: w.far.half(n, id, crossingv1.Side_INGRESS), w: w}
	w.near.open(c.near)
	if arrives {
		c.arrive()
	}
	return c
}

// arrive opens a crossing at the far gateway, if that takes it.
func (c *going) arrive() bool {
	k := c.near.GetKey()
	if !c.w.far.keeper.Take(k.GetEgress(), k.GetRun(), k.GetSequence()) {
		return false
	}
	c.w.far.open(c.far)
	return true
}

// end ends a crossing at both ends.
func (c *going) end() {
	c.w.near.close(c.near, c.w.near.run, crossingv1.Cause_DONE)
	c.w.far.close(c.far, c.w.far.run, crossingv1.Cause_DONE)
}

// cross makes crossings that begin and end.
func (w *world) cross(n int) {
	w.t.Helper()
	for range n {
		w.send(true).end()
	}
}

// statements are those on a disk, the last of each claim, in order.
func (g *gateway) statements() []*statement.Stated {
	g.t.Helper()
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	var all []*statement.Stated
	for _, b := range g.disk.frames {
		f, _ := crossing.UnmarshalFrame(b)
		if f.GetStatement() == nil {
			continue
		}
		s, err := statement.Read(f.GetStatement())
		if err != nil {
			g.t.Fatalf("statement on disk: %v", err)
		}
		if n := len(all); n > 0 && all[n-1].ClaimHash == s.ClaimHash {
			all[n-1] = s
		} else {
			all = append(all, s)
		}
	}
	return all
}

// last is the last statement on a disk.
func last(t testing.TB, g *gateway) *statement.Stated {
	t.Helper()
	all := g.statements()
	if len(all) == 0 {
		t.Fatalf("%s states nothing", g.id)
	}
	return all[len(all)-1]
}

// beats are the heartbeats on a disk.
func (g *gateway) beats() []*crossingv1.Heartbeat {
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	var all []*crossingv1.Heartbeat
	for _, b := range g.disk.frames {
		f, _ := crossing.UnmarshalFrame(b)
		if f.GetHeartbeat() == nil {
			continue
		}
		h := new(crossingv1.Heartbeat)
		if err := proto.Unmarshal(f.GetHeartbeat().GetHeartbeat(), h); err != nil {
			g.t.Fatal(err)
		}
		all = append(all, h)
	}
	return all
}

// heldPlaces are how many places the books hold on to.
func (g *gateway) heldPlaces() int {
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	return len(g.disk.held)
}

// wantAgreed checks that both disks have the same whole statements on so many
// numbers, and that nobody holds on to anything.
func (w *world) wantAgreed(numbers uint64) {
	w.t.Helper()
	near, far := w.near.statements(), w.far.statements()
	if len(near) == 0 || len(near) != len(far) {
		w.t.Fatalf("%d statements at one end and %d at the other", len(near), len(far))
	}
	for i, s := range near {
		switch {
		case s.Answer == nil:
			w.t.Errorf("epoch %d was not answered", s.Claim.GetEpoch())
		case s.AnswerHash != far[i].AnswerHash:
			w.t.Errorf("epoch %d was answered in two ways", s.Claim.GetEpoch())
		case len(s.Answer.GetDifferences()) > 0:
			w.t.Errorf("epoch %d: differences %v", s.Claim.GetEpoch(), s.Answer.GetDifferences())
		}
	}
	if next := near[len(near)-1].Claim.GetNext(); next != numbers+1 {
		w.t.Errorf("%d numbers were stated, want %d", next-1, numbers)
	}
	for _, g := range []*gateway{w.near, w.far} {
		if n := g.heldPlaces(); n > 0 {
			w.t.Errorf("%s holds on to %d places", g.id, n)
		}
	}
}

// pass lets virtual time go by.
func pass(d time.Duration) { <-time.After(d); synctest.Wait() }
