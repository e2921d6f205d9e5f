package simulation

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var errNoWay = errors.New("there is no way to the peer")

// link is the tunnels from one gateway to another.
type link struct {
	latency time.Duration

	mu     sync.Mutex // guards what follows
	down   bool       // no stream can be opened, and those that were are lost
	mute   bool       // what is said is lost
	said   said
	random *rand.Rand // where a message is mutated
}

// cut takes the way away, or gives it back.
func (l *link) cut(down, mute bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down, l.mute = down, mute
}

// heal has no message harmed any more.
func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said.harms, l.said.turnHarms = nil, nil
}

func (l *link) state() (down, mute bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down, l.mute
}

func (l *link) muted() bool { _, mute := l.state(); return mute }

// open opens a stream from one gateway to another. An end that serves is nil where
// nobody hears of it.
func (w *world) open(from *process, to *gateway, h *crossingv1.Header) (here, there *end, at *process, err error) {
	l := w.links[pair{from.gateway, to}]
	down, mute := l.state()
	at = to.process()
	if down || at == nil || from.gone() {
		return nil, nil, nil, errNoWay
	}
	here, there = newStream(proto.CloneOf(h), l.latency)
	back := w.links[pair{to, from.gateway}]
	here.lossy = func() bool { return from.gone() || l.muted() }
	there.lossy = func() bool { return at.gone() || back.muted() }
	if h.GetKind() == crossingv1.Header_STATEMENTS {
		here.tamper, there.tamper = l.tamper(here.stream), back.tamper(here.stream)
	}
	w.carry(here.stream, from, at)
	if mute {
		there = nil
	}
	return here, there, at, nil
}

// carry has a stream lost with either gateway.
func (w *world) carry(s *stream, between ...*process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.streams == nil {
		w.streams = map[*stream][]*process{}
	}
	w.streams[s] = between
	go func() {
		<-s.done
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.streams, s)
	}()
}

// lose loses the streams that someone says.
func (w *world) lose(which func(between []*process) bool) {
	w.mu.Lock()
	var lost []*stream
	for s, between := range w.streams {
		if which(between) {
			lost = append(lost, s)
		}
	}
	w.mu.Unlock()
	for _, s := range lost {
		s.lose()
	}
}

// Open implements epochs.Peers.
func (p *process) Open(ctx context.Context, id spiffeid.ID) (tunnel.Stream, error) {
	to := p.world.byID(id)
	here, there, at, err := p.world.open(p, to, &crossingv1.Header{Kind: crossingv1.Header_STATEMENTS, Run: p.recorder.RunID()})
	if err != nil {
		return nil, err
	}
	if there != nil {
		at.serving(func() { at.keeper.Serve(at.ctx, at.info(p.gateway), there) })
	}
	return here, nil
}
