package statement

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	nearGateway = "spiffe://near.example/sallyport/gateway/near-1"
	farGateway  = "spiffe://far.example/sallyport/gateway/far-1"
	nearRun     = "b41f0c9a7d5e43218f6a2b3c4d5e6f70"
	farRun      = "5c0ffee0c0ffee0c0ffee0c0ffee0c0f"
)

var (
	began     = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	testChain = Chain{Egress: nearGateway, Ingress: farGateway, Run: nearRun}
	policyRef = &crossingv1.PolicyRef{Serial: 41, Revision: "sha256:" + strings.Repeat("9", 64)}
)

// svid is a certificate of a gateway, signed by itself, and its key.
func svid(t testing.TB, gateway string) ([][]byte, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, gateway, key), key
}

func certificate(t testing.TB, gateway string, key crypto.Signer) [][]byte {
	t.Helper()
	id, err := url.Parse(gateway)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: began, NotAfter: began.Add(time.Hour), URIs: []*url.URL{id}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{der}
}

func trusted([]*x509.Certificate, time.Time) error { return nil }

// spool is what a gateway wrote down. A place is an index.
type spool struct {
	encoder *crossing.Encoder
	frames  []written
	kept    map[uint64]bool // crossings' frames that may not go yet
	cut     int             // those before it are gone
}

// written is one frame, and what it is of.
type written struct {
	frame []byte
	of    any // *Half, *Close or *Statement
}

func newSpool(t testing.TB, gateway, run string) *spool {
	t.Helper()
	e, err := crossing.NewEncoder(gateway, run)
	if err != nil {
		t.Fatal(err)
	}
	return &spool{encoder: e, kept: map[uint64]bool{}}
}

func (s *spool) half(h *crossingv1.Half) ([]byte, uint64) {
	b, err := s.encoder.AppendOpen(nil, h)
	return s.add(b, err, h)
}

func (s *spool) close(c *crossingv1.Close) ([]byte, uint64) {
	b, err := s.encoder.AppendClose(nil, c)
	return s.add(b, err, c)
}

func (s *spool) add(b []byte, err error, of any) ([]byte, uint64) {
	if err != nil {
		panic(err)
	}
	at := uint64(len(s.frames))
	s.frames = append(s.frames, written{b, of})
	s.kept[at] = true
	return b, at
}

// statement writes one down, which nobody waits for.
func (s *spool) statement(st *crossingv1.Statement) {
	s.frames = append(s.frames, written{nil, st})
}

// stated lets frames go. It fails if one goes twice.
func (s *spool) stated(t testing.TB, places []uint64) {
	t.Helper()
	for _, at := range places {
		if !s.kept[at] {
			t.Fatalf("frame %d is stated twice, or was never written", at)
		}
		delete(s.kept, at)
	}
}

var errGone = errors.New("gone")

func (s *spool) read(at uint64) ([]byte, error) {
	if at >= uint64(len(s.frames)) || at < uint64(s.cut) || s.frames[at].frame == nil {
		return nil, errGone
	}
	return s.frames[at].frame, nil
}

// trim forgets what may go, from the oldest on.
func (s *spool) trim() {
	for s.cut < len(s.frames) && !s.kept[uint64(s.cut)] {
		s.cut++
	}
}

// halfOf is a crossing as one of the two gateways opened it.
func halfOf(side crossingv1.Side, n uint64) *crossingv1.Half {
	id := []byte("01a207e6-e4d8-7d3e-9a54-000000000000")
	for at := len(id) - 1; n > 0 && at > len(id)-12; at-- {
		id[at] = "0123456789abcdef"[n%16]
		n /= 16
	}
	h := &crossingv1.Half{
		Id: string(id), Side: side,
		Transition:  &crossingv1.Transition{From: "near", To: "far", Owner: "ml-platform", Sink: "siem"},
		Source:      "spiffe://near.example/ai/orchestrator",
		Destination: "spiffe://far.example/ai/llm",
		Trace:       "4bf92f3577b34da6a3ce929d0e0e4736", Span: "00f067aa0ba902b7",
		Operation: &crossingv1.Operation{Protocol: "openai", Name: "POST /v1/chat/completions", Service: "chat", Authority: "llm.far.mesh:8000"},
		End: &crossingv1.End{
			Gateway: nearGateway, Decision: crossingv1.Decision_ALLOW, Policy: policyRef, Intent: "plan-with-the-llm",
			Peer:        &crossingv1.Peer{Attach: crossingv1.Attach_MTLS, Svid: policyRef.Revision, Tls: "TLS 1.3 X25519MLKEM768", Address: "10.1.0.7:40312"},
			ContentSeen: true, Open: timestamppb.New(began),
		},
		Tunnel: &crossingv1.Tunnel{Carrier: "TCP", Tls: "TLS 1.3 X25519MLKEM768", RoundTrip: durationpb.New(24 * time.Millisecond)},
	}
	if side == crossingv1.Side_INGRESS {
		h.End.Gateway, h.End.Peer = farGateway, nil
	}
	return h
}

// opening is that of a number of the chain.
func opening(c Chain, side crossingv1.Side, n uint64) *crossingv1.Half {
	h := halfOf(side, n)
	h.Key = &crossingv1.Key{Egress: c.Egress, Ingress: c.Ingress, Run: c.Run, Sequence: n}
	return h
}

// ending is the end of a crossing that opened so.
func ending(h *crossingv1.Half, cause crossingv1.Cause) *crossingv1.Close {
	c := &crossingv1.Close{
		Id: h.GetId(), Key: h.GetKey(), Side: h.GetSide(), Duration: durationpb.New(1904 * time.Millisecond),
		FirstByte: durationpb.New(213 * time.Millisecond), Cause: cause,
	}
	if cause == crossingv1.Cause_DONE {
		c.RequestBytes, c.ResponseBytes, c.Status, c.Streamed = 2210, 9433, 200, true
	}
	if cause == crossingv1.Cause_REFUSED {
		c.Reason = crossingv1.Reason_POLICY_MISMATCH
	}
	return c
}

// party is one gateway of the pair.
type party struct {
	gateway, run string
	signer       *Signer
	key          *Key
	spool        *spool
}

func newParty(t testing.TB, gateway, run string) *party {
	s := NewSigner()
	return &party{gateway, run, s, s.Key(gateway, run), newSpool(t, gateway, run)}
}

// pair is two gateways and a chain between them.
type pair struct {
	t         testing.TB
	now       time.Time
	near, far *party
	egress    *Egress
	ingress   *Ingress
	asks      int
	digests   int
	frames    int
	answers   []*Stated
	talk      []*crossingv1.Talk // what was asked in the last review, and told
}

func newPair(t testing.TB) *pair {
	return &pair{
		t: t, now: began, near: newParty(t, nearGateway, nearRun), far: newParty(t, farGateway, farRun),
		egress: NewEgress(testChain, began), ingress: NewIngress(testChain),
	}
}

// out is a crossing that opens at the egress gateway.
func (p *pair) out() *crossingv1.Half {
	h := opening(testChain, crossingv1.Side_EGRESS, p.egress.Next())
	p.outAs(h)
	return h
}

func (p *pair) outAs(h *crossingv1.Half) {
	frame, at := p.near.spool.half(h)
	p.egress.Opened(h, frame, at)
}

// in is one that comes to the ingress gateway, which takes it or does not.
func (p *pair) in(h *crossingv1.Half) bool {
	if !p.ingress.Take(h.GetKey().GetSequence()) {
		return false
	}
	frame, at := p.far.spool.half(h)
	p.ingress.Opened(h, frame, at)
	return true
}

func (p *pair) endOut(c *crossingv1.Close) {
	frame, at := p.near.spool.close(c)
	p.egress.Closed(c, frame, at)
}

func (p *pair) endIn(c *crossingv1.Close) {
	frame, at := p.far.spool.close(c)
	p.ingress.Closed(c, frame, at)
}

// cross is a whole crossing that both see alike.
func (p *pair) cross() uint64 {
	h := p.out()
	n := h.GetKey().GetSequence()
	i := opening(testChain, crossingv1.Side_INGRESS, n)
	if !p.in(i) {
		p.t.Fatalf("%d is not taken", n)
	}
	p.endOut(ending(h, crossingv1.Cause_DONE))
	p.endIn(ending(i, crossingv1.Cause_DONE))
	return n
}

// claim cuts a claim and writes it down; nil if there is nothing to say.
func (p *pair) claim(final bool) *crossingv1.Statement {
	p.now = p.now.Add(Epoch)
	s := p.egress.Cut(Facts{Now: p.now, Policy: policyRef, Final: final}, p.near.signer)
	if s != nil {
		p.near.spool.statement(s)
	}
	return s
}

func (p *pair) means() Means {
	return Means{Run: farRun, Policy: policyRef, Signer: p.far.signer, Frames: p.far.spool.read}
}

// review answers a claim: the exchange of the two, but for what carries it. hurry
// says that the ingress gateway waits for nothing.
func (p *pair) review(s *crossingv1.Statement) (*crossingv1.Statement, error) {
	r, err := p.ingress.Review(s, p.near.key, p.means(), p.now)
	if err != nil {
		return nil, err
	}
	defer r.Drop()
	p.talk = nil
	for turn := uint32(0); ; {
		step, err := r.Step(p.now)
		switch {
		case err != nil:
			return nil, err
		case step.Ask != nil:
			turn++
			told, err := p.egress.Tell(turn, overWire(p.t, step.Ask), p.near.spool.read)
			if err != nil {
				return nil, err
			}
			p.talk = append(p.talk, &crossingv1.Talk{Ask: step.Ask}, &crossingv1.Talk{Told: told})
			p.asks++
			p.digests += len(told.GetDigests())
			p.frames += len(told.GetFrames())
			if err := r.Told(overWire(p.t, told)); err != nil {
				return nil, err
			}
		case step.Answer != nil:
			p.far.spool.statement(step.Answer)
			r.Commit()
			p.far.spool.stated(p.t, p.ingress.Stated())
			return step.Answer, nil
		default:
			p.now = step.Wait
		}
	}
}

// answered gives the egress gateway the answer.
func (p *pair) answered(s *crossingv1.Statement) *Stated {
	p.t.Helper()
	st, err := p.egress.Check(s, p.far.key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.near.spool.statement(st.Statement)
	p.egress.Answered(st)
	p.near.spool.stated(p.t, p.egress.Stated())
	p.answers = append(p.answers, st)
	return st
}

// epoch is a whole one; nil if there was nothing to say.
func (p *pair) epoch(final bool) *Stated {
	p.t.Helper()
	claim := p.claim(final)
	if claim == nil {
		return nil
	}
	s, err := p.review(claim)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.answered(s)
}

// alone lets a claim stand alone.
func (p *pair) alone() {
	p.egress.Alone()
	p.near.spool.stated(p.t, p.egress.Stated())
}

// named is what answers say, by kind and number, and in which epoch first.
type named map[difference]uint64

type difference struct {
	kind   crossingv1.Difference_Kind
	number uint64
}

func (n named) add(st *Stated) {
	if st == nil {
		return
	}
	for _, d := range st.Answer.GetDifferences() {
		for _, number := range Numbers(d) {
			if key := (difference{d.GetKind(), number}); n[key] == 0 {
				n[key] = st.Claim.GetEpoch()
			}
		}
	}
}

// fieldsOf are the fields of a difference that an answer names.
func fieldsOf(st *Stated, kind crossingv1.Difference_Kind, n uint64) []string {
	for _, d := range st.Answer.GetDifferences() {
		if d.GetKind() == kind && has(Numbers(d), n) {
			return d.GetFields()
		}
	}
	return nil
}
