// Package verifytest makes evidence for tests, good and bad, with the packages that make
// it in the product: two gateways in two environments, each with a log.
package verifytest

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// The two trust domains.
const (
	Near = "near.example"
	Far  = "far.example"
)

// Began is when a mesh begins.
var Began = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)

func sum(b []byte) [sha256.Size]byte { return sha256.Sum256(b) }

// Gateway is one of the two.
type Gateway struct {
	// ID is its SPIFFE ID, and Run its run.
	ID, Run string
	// Signer has its statement key, SVID its certificate and Key the key of that.
	Signer *statement.Signer
	SVID   *x509.Certificate
	Key    crypto.Signer
	// Authority of its trust domain, and the log there.
	Authority *Authority
	Log       *Log

	// Public is its statement key, once announced.
	Public []byte

	encoder *crossing.Encoder
}

// Mesh is two gateways, and a chain from Near's to Far's.
type Mesh struct {
	// Near has the egress gateway, Far the ingress gateway.
	Near, Far *Gateway
	// Chain of their crossings.
	Chain statement.Chain
	// Now is every clock.
	Now time.Time
	// Witness cosigns both logs.
	Witness *Witness
	// Frame gets every frame with an opening or an end; nil keeps them in Frames.
	Frame func(frame []byte)
	// Frames that were delivered.
	Frames [][]byte
	// Statements of the chain, by epoch from 1.
	Statements []*statement.Stated

	t       testing.TB
	egress  *statement.Egress
	ingress *statement.Ingress
	leaves  map[place][]byte // encoded frames
	buffer  []byte
}

type place struct {
	side   crossingv1.Side
	ending bool
	number uint64
}

// Sides of a crossing.
const (
	Egress  = crossingv1.Side_EGRESS
	Ingress = crossingv1.Side_INGRESS
)

// New makes a mesh in which nothing has crossed yet. Both gateways have announced their
// keys.
func New(t testing.TB) *Mesh {
	m := &Mesh{t: t, Now: Began, Witness: NewWitness(t, "witness.example/w1"), leaves: map[place][]byte{}}
	m.Near = newGateway(t, Near, "near-1", "b41f0c9a7d5e43218f6a2b3c4d5e6f70")
	m.Far = newGateway(t, Far, "far-1", "5c0ffee0c0ffee0c0ffee0c0ffee0c0f")
	m.Chain = statement.Chain{Egress: m.Near.ID, Ingress: m.Far.ID, Run: m.Near.Run}
	m.egress, m.ingress = statement.NewEgress(m.Chain, m.Now), statement.NewIngress(m.Chain)
	m.Announce(m.Near)
	m.Announce(m.Far)
	return m
}

func newGateway(t testing.TB, td, name, run string) *Gateway {
	g := &Gateway{
		ID: "spiffe://" + td + "/sallyport/gateway/" + name, Run: run, Signer: statement.NewSigner(),
		Authority: NewAuthority(t, td, Began.Add(-time.Hour), 90*24*time.Hour), Log: NewLog(t, td),
	}
	g.SVID, g.Key = g.Authority.SVID(g.ID, Began.Add(-time.Minute), time.Hour)
	g.encoder = must[*crossing.Encoder](t)(crossing.NewEncoder(g.ID, g.Run))
	return g
}

// Announce has a gateway announce its key, in its own log.
func (m *Mesh) Announce(g *Gateway) {
	a := must[*crossingv1.Announcement](m.t)(g.Signer.Announce(g.ID, g.Run, [][]byte{g.SVID.Raw}, g.Key, m.Now))
	g.Public = a.GetKey()
	m.Deliver(g, &crossingv1.Frame{Announcement: a})
}

// Restart has both gateways begin another run, with another key, in which nothing has
// crossed yet.
func (m *Mesh) Restart() {
	m.t.Helper()
	for _, g := range []*Gateway{m.Near, m.Far} {
		g.Signer, g.Run = statement.NewSigner(), g.Run[1:]+g.Run[:1]
		g.encoder = must[*crossing.Encoder](m.t)(crossing.NewEncoder(g.ID, g.Run))
		m.Announce(g)
	}
	m.Chain.Run = m.Near.Run
	m.egress, m.ingress = statement.NewEgress(m.Chain, m.Now), statement.NewIngress(m.Chain)
}

// Deliver appends a frame to the gateway's log.
func (m *Mesh) Deliver(g *Gateway, f *crossingv1.Frame) {
	f.Gateway, f.Run = g.ID, g.Run
	g.Log.Add(m.Now.Add(100*time.Millisecond), &logv1.Entry{Frame: must[[]byte](m.t)(crossing.MarshalFrame(f))})
}

// Open is the opening of a number, as a gateway of the chain sees it.
func (m *Mesh) Open(side crossingv1.Side, n uint64) *crossingv1.Half {
	policy := &crossingv1.PolicyRef{Serial: 41, Revision: "sha256:" + strings.Repeat("9", 64)}
	h := &crossingv1.Half{
		Id: fmt.Sprintf("01a207e6-e4d8-7d3e-9a54-%012x", n), Side: side,
		Key:        &crossingv1.Key{Egress: m.Chain.Egress, Ingress: m.Chain.Ingress, Run: m.Chain.Run, Sequence: n},
		Transition: &crossingv1.Transition{From: "near", To: "far", Owner: "ml-platform", Sink: "siem"},
		Source:     "spiffe://" + Near + "/ai/orchestrator", Destination: "spiffe://" + Far + "/ai/llm",
		Trace: "4bf92f3577b34da6a3ce929d0e0e4736", Span: "00f067aa0ba902b7",
		Operation: &crossingv1.Operation{Protocol: "openai", Name: "POST /v1/chat/completions", Service: "chat", Authority: "llm.far.mesh:8000"},
		End: &crossingv1.End{
			Gateway: m.gateway(side).ID, Decision: crossingv1.Decision_ALLOW, Policy: policy, Intent: "plan-with-the-llm",
			Peer:        &crossingv1.Peer{Attach: crossingv1.Attach_MTLS, Svid: policy.Revision, Tls: "TLS 1.3 X25519MLKEM768", Address: "10.1.0.7:40312"},
			ContentSeen: true, Open: timestamppb.New(m.Now),
		},
		Tunnel: &crossingv1.Tunnel{Carrier: "TCP", Tls: "TLS 1.3 X25519MLKEM768", RoundTrip: durationpb.New(24 * time.Millisecond)},
	}
	return h
}

// End is the end of a crossing that opened so.
func (m *Mesh) End(h *crossingv1.Half) *crossingv1.Close {
	return &crossingv1.Close{
		Id: h.GetId(), Key: h.GetKey(), Side: h.GetSide(), Duration: durationpb.New(1904 * time.Millisecond), FirstByte: durationpb.New(213 * time.Millisecond),
		Cause: crossingv1.Cause_DONE, RequestBytes: 2210, ResponseBytes: 9433, Status: 200, Streamed: true,
	}
}

func (m *Mesh) gateway(side crossingv1.Side) *Gateway {
	if side == Ingress {
		return m.Far
	}
	return m.Near
}

// Out opens a crossing at the egress gateway.
func (m *Mesh) Out() *crossingv1.Half {
	h := m.Open(Egress, m.egress.Next())
	m.egress.Opened(h, m.write(h), h.GetKey().GetSequence())
	return h
}

// In has it come to the ingress gateway, as that sees it.
func (m *Mesh) In(h *crossingv1.Half) {
	if !m.ingress.Take(h.GetKey().GetSequence()) {
		m.t.Fatalf("%d is not taken", h.GetKey().GetSequence())
	}
	m.ingress.Opened(h, m.write(h), h.GetKey().GetSequence())
}

// Ended ends a crossing at its gateway.
func (m *Mesh) Ended(c *crossingv1.Close) {
	frame := m.writeEnd(c)
	if c.GetSide() == Ingress {
		m.ingress.Closed(c, frame, 1<<32|c.GetKey().GetSequence())
	} else {
		m.egress.Closed(c, frame, 1<<32|c.GetKey().GetSequence())
	}
}

// Cross is a whole crossing that both see alike. It gives its number.
func (m *Mesh) Cross() uint64 {
	h := m.Out()
	n := h.GetKey().GetSequence()
	i := m.Open(Ingress, n)
	m.In(i)
	m.Ended(m.End(h))
	m.Ended(m.End(i))
	return n
}

func (m *Mesh) write(h *crossingv1.Half) []byte {
	var err error
	m.buffer, err = m.gateway(h.GetSide()).encoder.AppendOpen(m.buffer[:0], h)
	return m.written(place{h.GetSide(), false, h.GetKey().GetSequence()}, err)
}

func (m *Mesh) writeEnd(c *crossingv1.Close) []byte {
	var err error
	m.buffer, err = m.gateway(c.GetSide()).encoder.AppendClose(m.buffer[:0], c)
	return m.written(place{c.GetSide(), true, c.GetKey().GetSequence()}, err)
}

func (m *Mesh) written(at place, err error) []byte {
	if err != nil {
		m.t.Fatal(err)
	}
	if m.Frame != nil {
		m.Frame(m.buffer)
		return m.buffer
	}
	frame := append([]byte(nil), m.buffer...)
	m.leaves[at] = frame
	m.Frames = append(m.Frames, frame)
	return frame
}

// Claim cuts the claim of an epoch of a second, and delivers it.
func (m *Mesh) Claim(final bool) *crossingv1.Statement {
	m.Now = m.Now.Add(time.Second)
	s := m.egress.Cut(statement.Facts{Now: m.Now, Final: final, Empty: true}, m.Near.Signer)
	m.Deliver(m.Near, &crossingv1.Frame{Statement: s})
	return s
}

// Epoch is one of a second, which both gateways state and deliver.
func (m *Mesh) Epoch(final bool) *statement.Stated {
	m.t.Helper()
	s := m.answer(m.Claim(final))
	st := must[*statement.Stated](m.t)(m.egress.Check(s, m.Far.Signer.Key(m.Far.ID, m.Far.Run)))
	m.egress.Answered(st)
	m.egress.Stated()
	m.Deliver(m.Far, &crossingv1.Frame{Statement: st.Statement})
	m.Deliver(m.Near, &crossingv1.Frame{Statement: st.Statement})
	m.Statements = append(m.Statements, st)
	return st
}

// Alone is an epoch that the ingress gateway does not answer.
func (m *Mesh) Alone() {
	st := must[*statement.Stated](m.t)(statement.Read(m.Claim(false)))
	m.egress.Alone()
	m.egress.Stated()
	m.Statements = append(m.Statements, st)
}

// answer has the ingress gateway answer a claim, which asks for what it needs.
func (m *Mesh) answer(s *crossingv1.Statement) *crossingv1.Statement {
	m.t.Helper()
	means := statement.Means{Run: m.Far.Run, Signer: m.Far.Signer, Frames: m.read(Ingress)}
	r := must[*statement.Review](m.t)(m.ingress.Review(s, m.Near.Signer.Key(m.Near.ID, m.Near.Run), means, m.Now))
	defer r.Drop()
	for turn := uint32(0); ; {
		step := must[statement.Step](m.t)(r.Step(m.Now))
		switch {
		case step.Ask != nil:
			turn++
			told := must[*crossingv1.Told](m.t)(m.egress.Tell(turn, step.Ask, m.read(Egress)))
			if err := r.Told(told); err != nil {
				m.t.Fatal(err)
			}
		case step.Answer != nil:
			r.Commit()
			m.ingress.Stated()
			return step.Answer
		default:
			m.Now = step.Wait
		}
	}
}

// read gives frames of a side by what the places of Out, In and Ended are.
func (m *Mesh) read(side crossingv1.Side) statement.Frames {
	return func(at uint64) ([]byte, error) {
		frame := m.leaves[place{side, at>>32 == 1, at & (1<<32 - 1)}]
		if frame == nil {
			return nil, fmt.Errorf("%d is not kept", at)
		}
		return frame, nil
	}
}

// Beat has both gateways say where the chain stands.
func (m *Mesh) Beat() {
	for g, standing := range map[*Gateway]*crossingv1.Standing{m.Near: m.egress.Standing(), m.Far: m.ingress.Standing()} {
		beat := &crossingv1.Heartbeat{Gateway: g.ID, Run: g.Run, At: timestamppb.New(m.Now), Standings: []*crossingv1.Standing{standing}}
		m.Deliver(g, &crossingv1.Frame{Heartbeat: g.Signer.Heartbeat(beat)})
	}
}

// Keys is the keys file that believes all of them: logs, the witness, statement keys of
// the gateways, and roots.
func (m *Mesh) Keys() string {
	text := "# whom to believe\nwitness w1 " + m.Witness.Key + "\nquorum w1\n"
	for _, g := range []*Gateway{m.Near, m.Far} {
		text += "log " + g.Log.Key + "\n" + g.KeyLine() + m.RootLine(g)
	}
	return text
}

// RootLine is the line of the root of a gateway's trust domain.
func (m *Mesh) RootLine(g *Gateway) string {
	td, _, _ := strings.Cut(strings.TrimPrefix(g.ID, "spiffe://"), "/")
	return "root " + td + " " + base64.StdEncoding.EncodeToString(g.Authority.Root.Raw) + "\n"
}

// KeyLine is the line of a gateway's statement key.
func (g *Gateway) KeyLine() string {
	return "gateway " + g.ID + " " + base64.StdEncoding.EncodeToString(g.Public) + "\n"
}

// Claimed is a statement with a claim that a gateway with the egress gateway's key might
// sign instead: that one, changed, and without its answer.
func (m *Mesh) Claimed(s *crossingv1.Statement, change func(c *crossingv1.Claim)) *crossingv1.Statement {
	m.t.Helper()
	c := new(crossingv1.Claim)
	if err := proto.Unmarshal(s.GetClaim(), c); err != nil {
		m.t.Fatal(err)
	}
	change(c)
	return m.Near.Signer.Claim(&crossingv1.Statement{Claim: must[[]byte](m.t)(proto.MarshalOptions{Deterministic: true}.Marshal(c))})
}

// Answers is a statement with an answer that a gateway with the ingress gateway's key might
// sign instead.
func (m *Mesh) Answers(s *crossingv1.Statement, change func(a *crossingv1.Answer)) *crossingv1.Statement {
	m.t.Helper()
	a := new(crossingv1.Answer)
	if err := proto.Unmarshal(s.GetAnswer(), a); err != nil {
		m.t.Fatal(err)
	}
	change(a)
	again := proto.CloneOf(s)
	again.Answer = must[[]byte](m.t)(proto.MarshalOptions{Deterministic: true}.Marshal(a))
	return m.Far.Signer.Answer(again)
}

// Rest lets time pass in which nothing crosses: both gateways say so every ten seconds.
func (m *Mesh) Rest(beats int) {
	for range beats {
		m.Now = m.Now.Add(10 * time.Second)
		m.Beat()
	}
}

// Void gives a number out that never opens.
func (m *Mesh) Void() { m.egress.Void(m.egress.Next()) }

// Unrecorded has the ingress gateway refuse a number that it could not record.
func (m *Mesh) Unrecorded(n uint64) {
	if m.ingress.Take(n) {
		m.ingress.Unrecorded(n)
	}
}

// Takes says whether the ingress gateway still takes a number, and takes it.
func (m *Mesh) Takes(n uint64) bool { return m.ingress.Take(n) }

// Taken has a number that was taken open at the ingress gateway.
func (m *Mesh) Taken(h *crossingv1.Half) { m.ingress.Opened(h, m.write(h), h.GetKey().GetSequence()) }

// FrameOf is the frame of a side with the opening, or the end, of a number; nil if there is
// none.
func (m *Mesh) FrameOf(side crossingv1.Side, ending bool, n uint64) []byte {
	return m.leaves[place{side, ending, n}]
}

// State is the egress gateway's account of the chain, as it keeps it.
func (m *Mesh) State() *crossingv1.ChainState { return m.egress.State() }

// PutBack has the egress gateway go on from an earlier state of its account, with ends
// that it finds in its spool. It claims an epoch again, which nobody delivers, is shown
// what it has signed since, and goes on from there: its next claim resumes.
func (m *Mesh) PutBack(to *crossingv1.ChainState, ends ...*crossingv1.Close) {
	m.t.Helper()
	m.egress = must[*statement.Egress](m.t)(statement.RestoreEgress(to))
	for _, c := range ends {
		n := c.GetKey().GetSequence()
		m.egress.Closed(c, m.leaves[place{Egress, true, n}], 1<<32|n)
	}
	m.Now = m.Now.Add(time.Second)
	again := m.egress.Cut(statement.Facts{Now: m.Now, Empty: true}, m.Near.Signer)
	key := m.Near.Signer.Key(m.Near.ID, m.Near.Run)
	_, err := m.ingress.Review(again, key, statement.Means{Run: m.Far.Run, Signer: m.Far.Signer, Frames: m.read(Ingress)}, m.Now)
	var refused *statement.RefusedError
	if !errors.As(err, &refused) || refused.Code != crossingv1.Refused_BEHIND {
		m.t.Fatalf("a claim of before is refused with %v", err)
	}
	if err := m.egress.Adopt(refused.Last, key); err != nil {
		m.t.Fatal(err)
	}
}
