package simulation

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// patience is how long a caller waits for an answer.
const patience = 5 * time.Second

// crossed is what became of a crossing at the egress gateway, and for its caller.
type crossed struct {
	plan     *planned
	id       string
	chain    statement.Chain
	number   uint64
	opened   time.Time // in virtual time, as are all that follow
	ended    time.Time
	recorded bool      // at egress, as far as the gateway knows
	answered bool      // the caller had all of the answer
	touched  bool      // its harm was done
	again    time.Time // when its number came late, or a second time; zero if it did not
}

// send lets a crossing out, from the caller's first byte to its last.
func (p *process) send(c *planned) *crossed {
	to := p.world.gateways[c.to]
	k := &crossingv1.Key{Egress: p.id.String(), Ingress: to.id.String(), Run: p.recorder.RunID()}
	if c.refused {
		k.Ingress = ""
	}
	k.Sequence = p.recorder.Next(k.GetIngress())
	h := p.opening(c, k, crossingv1.Side_EGRESS, crossing.NewID(p.now()))
	x := &crossed{plan: c, id: h.GetId(), chain: statement.ChainOf(k), number: k.GetSequence(), opened: time.Now()}
	if c.harm == hidden {
		p.keeper.Void(k.GetIngress(), k.GetSequence())
	} else if err := p.recorder.Open(h, c.durable, false); err != nil {
		return x
	}
	x.recorded = c.harm != hidden
	if c.refused {
		x.answered = !p.gone()
		return x
	}
	cause, reason, sent, got := p.converse(x, to, p.header(c, h))
	if x.recorded {
		p.recorder.Close(&crossingv1.Close{
			Id: h.GetId(), Key: k, Side: crossingv1.Side_EGRESS, Cause: cause, Reason: reason, RequestBytes: uint64(sent), ResponseBytes: uint64(got),
			Duration: durationpb.New(time.Since(x.opened)), Status: status(cause),
		})
	}
	x.ended = time.Now()
	x.answered = cause == crossingv1.Cause_DONE && !p.gone()
	return x
}

func status(cause crossingv1.Cause) uint32 {
	if cause == crossingv1.Cause_DONE {
		return 200
	}
	return 0
}

// converse says a crossing to the ingress gateway and hears its answer.
func (p *process) converse(x *crossed, to *gateway, h *crossingv1.Header) (cause crossingv1.Cause, reason crossingv1.Reason, sent, got int) {
	s, err := p.hand(x, to, h)
	if err != nil {
		return crossingv1.Cause_PEER_LOST, 0, 0, 0
	}
	wait := patience
	if x.plan.leaves > 0 {
		wait = x.plan.leaves
	}
	leaving := time.AfterFunc(wait, func() { s.Reset(tunnel.CallerGone) })
	defer leaving.Stop()
	sent, err = s.Write(make([]byte, x.plan.request))
	if err == nil {
		err = s.CloseWrite()
	}
	if err == nil {
		got, err = drain(s)
	}
	cause, reason = fell(err)
	return cause, reason, sent, got
}

// drain reads to the end.
func drain(r io.Reader) (n int, err error) {
	var room [512]byte
	for {
		m, err := r.Read(room[:])
		n += m
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// fell is why a stream ended.
func fell(err error) (crossingv1.Cause, crossingv1.Reason) {
	if err == nil {
		return crossingv1.Cause_DONE, 0
	}
	reset, ok := errors.AsType[*tunnel.ResetError](err)
	switch {
	case !ok:
		return crossingv1.Cause_PEER_LOST, 0
	case reset.Code.Reason() != 0:
		return crossingv1.Cause_REFUSED_BY_PEER, reset.Code.Reason()
	case reset.Code == tunnel.CallerGone:
		return crossingv1.Cause_CALLER_GONE, 0
	case reset.Code == tunnel.ProtocolError || reset.Code == tunnel.Repeated:
		return crossingv1.Cause_PROTOCOL_ERROR, 0
	}
	return crossingv1.Cause_PEER_LOST, 0
}

// hand opens a crossing's stream, with the harm that is done to its header.
func (p *process) hand(x *crossed, to *gateway, h *crossingv1.Header) (*end, error) {
	c := x.plan
	was := *c
	x.touched = c.harm != unharmed
	deform(h, &was, p.world.seed)
	here, there, at, err := p.world.open(p, to, h)
	if err != nil {
		return nil, err
	}
	if there != nil && c.harm == padded {
		here.tamper = func(m []byte) ([][]byte, bool, time.Duration) { return [][]byte{m, m}, false, 0 }
	}
	from := p.gateway
	switch {
	case there == nil || c.harm == lost:
	case c.harm == late:
		p.world.after(c.late, func() {
			x.again = time.Now() // another may have come under its number
			at.arrive(from, there)
		})
	default:
		at.serving(func() { at.serve(from, there) })
	}
	switch c.harm {
	case repeated:
		p.world.after(c.late, func() { p.world.again(p, x, to, h) })
	case reused:
		h.Id = crossing.NewID(p.now())
		p.world.after(c.late, func() { p.world.again(p, x, to, h) })
	}
	return here, nil
}

// again says a header once more, in a stream of its own that nobody reads.
func (w *world) again(p *process, x *crossed, to *gateway, h *crossingv1.Header) {
	here, there, at, err := w.open(p, to, h)
	x.again = time.Now()
	if err != nil {
		return
	}
	if there != nil {
		at.arrive(p.gateway, there)
	}
	timer := time.AfterFunc(patience, func() { here.Reset(tunnel.CallerGone) })
	<-here.Done()
	timer.Stop()
}

// arrive serves a stream that was on its way for long, if the process is there still.
func (p *process) arrive(from *gateway, s *end) {
	if p.ctx.Err() == nil && !p.gone() {
		p.serving(func() { p.serve(from, s) })
	}
}

// deform harms a header.
func deform(h *crossingv1.Header, c *planned, seed uint64) {
	switch c.harm {
	case otherID:
		h.Id = crossing.NewID(time.Now())
	case noID:
		h.Id = "none"
	case otherSource:
		h.Source += "/other"
	case otherDestination:
		h.Destination += "/other"
	case otherTrace:
		h.Traceparent = "00-" + strings.Repeat("e", 32) + h.GetTraceparent()[35:]
	case otherNumber:
		h.Sequence += 1 + seed%3
	case farNumber:
		h.Sequence += 1 << 40
	case noNumber:
		h.Sequence = 0
	case otherRun:
		h.Run = strayRun(h.GetRun())
	}
}

// strayRun is a run that there is not.
func strayRun(run string) string {
	if strings.HasSuffix(run, "0") {
		return run[1:] + "1"
	}
	return run[1:] + "0"
}

// header is what the egress gateway says of a crossing.
func (p *process) header(c *planned, h *crossingv1.Half) *crossingv1.Header {
	return &crossingv1.Header{
		Id: h.GetId(), Run: h.GetKey().GetRun(), Sequence: h.GetKey().GetSequence(), Kind: crossingv1.Header_HTTP,
		Traceparent: "00-" + h.GetTrace() + "-" + h.GetSpan() + "-01", Source: h.GetSource(), Destination: h.GetDestination(),
		Opened: h.GetEnd().GetOpen(), Intent: fmt.Sprint(c.index), // the ingress gateway's model reads its plan by it
	}
}

// opening is a half as either gateway records it.
func (p *process) opening(c *planned, k *crossingv1.Key, side crossingv1.Side, id string) *crossingv1.Half {
	from, to := p.world.gateways[c.from].name, p.world.gateways[c.to].name
	h := &crossingv1.Half{
		Id: id, Key: k, Side: side,
		Transition: &crossingv1.Transition{From: from, To: to, Owner: "ml-platform", Sink: "records"},
		Source:     "spiffe://" + from + ".test/ai/agent", Destination: "spiffe://" + to + ".test/ai/llm",
		Trace: fmt.Sprintf("%032x", c.index+1), Span: fmt.Sprintf("%016x", c.index+1),
		Operation: &crossingv1.Operation{Protocol: "openai", Name: "POST /v1/chat/completions", Service: "chat", Authority: "llm"},
		End: &crossingv1.End{
			Gateway: p.id.String(), Decision: crossingv1.Decision_ALLOW, Intent: "plan", Open: timestamppb.New(p.now()),
			Policy: &crossingv1.PolicyRef{Serial: standing.Serial, Revision: standing.Revision},
		},
	}
	if c.refused || side == crossingv1.Side_INGRESS && c.denied {
		h.End.Decision, h.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_NO_INTENT
	}
	if c.refused {
		h.End.Close = crossingv1.Cause_REFUSED
	}
	return h
}

// serve takes a crossing in.
func (p *process) serve(from *gateway, s *end) {
	h := s.Header()
	id, err := crossing.ParseID(h.GetId())
	if err == nil && h.GetSequence() == 0 {
		err = errors.New("header without a sequence")
	}
	if err == nil {
		err = p.numbers.take(from.id.String(), h.GetRun(), h.GetSequence(), id)
	}
	if errors.Is(err, errReused) {
		p.keeper.Reused(from.id.String(), h.GetRun(), h.GetSequence())
	}
	switch {
	case errors.Is(err, crossing.ErrRepeated):
		s.Reset(tunnel.Repeated)
	case err != nil:
		p.recorder.Refuse(crossingv1.Reason_MALFORMED, netip.AddrPort{}, "tunnel", from.id.String()+": "+err.Error())
		s.Reset(tunnel.ProtocolError)
	case !p.keeper.Take(from.id.String(), h.GetRun(), h.GetSequence()):
		s.Reset(tunnel.ProtocolError)
	default:
		p.admit(from, s, h)
	}
}

// admit records a crossing that came in, and brings it to its destination.
func (p *process) admit(from *gateway, s *end, h *crossingv1.Header) {
	c := p.world.plannedOf(h.GetIntent())
	k := &crossingv1.Key{Egress: from.id.String(), Ingress: p.id.String(), Run: h.GetRun(), Sequence: h.GetSequence()}
	half := p.opening(c, k, crossingv1.Side_INGRESS, h.GetId())
	half.Source, half.Destination, half.Trace = h.GetSource(), h.GetDestination(), h.GetTraceparent()[3:35]
	began := time.Now()
	if err := p.recorder.Open(half, c.durable, false); err != nil {
		s.Reset(tunnel.Denied(crossingv1.Reason_NOT_RECORDED))
		return
	}
	end := &crossingv1.Close{Id: h.GetId(), Key: k, Side: crossingv1.Side_INGRESS}
	if c.denied {
		end.Cause, end.Reason = crossingv1.Cause_REFUSED, crossingv1.Reason_NO_INTENT
		s.Reset(tunnel.Denied(crossingv1.Reason_NO_INTENT))
	} else {
		p.answer(c, s, end)
	}
	end.Duration = durationpb.New(time.Since(began))
	p.recorder.Close(end)
	p.world.isOver(c)
}

// answer asks the destination, and tells the egress gateway what it says.
func (p *process) answer(c *planned, s *end, e *crossingv1.Close) {
	n, err := drain(s)
	e.RequestBytes = uint64(n)
	if err == nil {
		think := time.NewTimer(c.thinks)
		defer think.Stop()
		select {
		case <-think.C:
		case <-s.Done():
		}
		n, err = tunnel.Finish(s, make([]byte, c.response))
		e.ResponseBytes = uint64(n)
	}
	if e.Cause, e.Reason = fell(err); e.Cause == crossingv1.Cause_DONE {
		e.Status = 200
	}
}

// errReused says that a number came with another crossing than before.
var errReused = errors.New("the number is another crossing's")

// numbers knows which numbers have come to a process, as package exchange's do.
type numbers struct {
	mu   sync.Mutex // guards what follows
	runs map[string]*runNumbers
}

type runNumbers struct {
	seen crossing.Window
	ids  map[uint64][16]byte
}

func newNumbers() *numbers { return &numbers{runs: map[string]*runNumbers{}} }

func (n *numbers) take(peer, run string, sequence uint64, id [16]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.runs[peer+" "+run]
	if r == nil {
		r = &runNumbers{ids: map[uint64][16]byte{}}
		n.runs[peer+" "+run] = r
	}
	err := r.seen.Take(sequence)
	was, known := r.ids[sequence]
	switch {
	case err == nil:
		r.ids[sequence] = id
	case known && was != id:
		return fmt.Errorf("%w: %d", errReused, sequence)
	}
	return err
}
