package decoder

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// stated is a statement, and the frames that it is on.
type stated struct {
	Statement string            `json:"statement"`
	Egress    []string          `json:"egress"`
	Ingress   []string          `json:"ingress"`
	Keys      map[string]string `json:"keys"`
}

// understood is what the other decoder makes of it.
type understood struct {
	Refused    string                       `json:"refused"` // why it is not well formed; "" if it is
	Claim      any                          `json:"claim"`
	Answer     any                          `json:"answer"`
	Voids      []uint64                     `json:"voids"`
	Closed     []uint64                     `json:"closed"`
	Deferred   []uint64                     `json:"deferred"`
	ClaimHash  string                       `json:"claimHash"`
	AnswerHash string                       `json:"answerHash"`
	Roots      map[string]map[string]string `json:"roots"`
	Agreed     map[string]string            `json:"agreed"`
	Leaves     []string                     `json:"leaves"` // of all frames
	Signed     map[string]bool              `json:"signed"`
}

// gatewayOf is one gateway of a chain, with all that it wrote.
type gatewayOf struct {
	encoder *crossing.Encoder
	signer  *statement.Signer
	public  string
	frames  []string
	raw     [][]byte
}

func newGateway(t *testing.T, id, run string) *gatewayOf {
	t.Helper()
	e, err := crossing.NewEncoder(id, run)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g := &gatewayOf{encoder: e, signer: statement.NewSigner()}
	a, err := g.signer.Announce(id, run, [][]byte{{0}}, svid, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	g.public = hex.EncodeToString(a.GetKey())
	return g
}

// write keeps a frame, and gives its place.
func (g *gatewayOf) write(b []byte, err error) ([]byte, uint64) {
	if err != nil {
		panic(err)
	}
	g.frames, g.raw = append(g.frames, hex.EncodeToString(b)), append(g.raw, b)
	return b, uint64(len(g.raw) - 1)
}

func (g *gatewayOf) read(at uint64) ([]byte, error) {
	if at >= uint64(len(g.raw)) {
		return nil, errors.New("no such frame")
	}
	return g.raw[at], nil
}

const (
	egressID   = "spiffe://onprem.acme.example/sallyport/gateway/onprem-1"
	ingressID  = "spiffe://azure.acme.example/sallyport/gateway/azure-1"
	egressRun  = "b41f0c9a7d5e43218f6a2b3c4d5e6f70"
	ingressRun = "5c0ffee0c0ffee0c0ffee0c0ffee0c0f"
)

// chain is two gateways, and what both have of the crossings between them.
type chain struct {
	*mathrand.Rand
	t           *testing.T
	now         time.Time
	near, far   *gatewayOf
	egress      *statement.Egress
	ingress     *statement.Ingress
	half, other *crossingv1.Half // patterns
	open        [][2]*crossingv1.Half
}

func newChain(t *testing.T, seed uint64) *chain {
	c := statement.Chain{Egress: egressID, Ingress: ingressID, Run: egressRun}
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	ch := &chain{
		Rand: mathrand.New(mathrand.NewPCG(3, seed)), t: t, now: now, near: newGateway(t, egressID, egressRun), far: newGateway(t, ingressID, ingressRun),
		egress: statement.NewEgress(c, now), ingress: statement.NewIngress(c),
	}
	names, all := readVectors(t)
	for i, name := range names {
		if name == "joined" {
			ch.half, ch.other = openingOf(t, all[i].Frames[0].Hex), openingOf(t, all[i].Frames[1].Hex)
		}
	}
	if ch.half.GetSide() != crossingv1.Side_EGRESS {
		ch.half, ch.other = ch.other, ch.half
	}
	return ch
}

func openingOf(t *testing.T, text string) *crossingv1.Half {
	t.Helper()
	f, err := accept(t, text)
	if err != nil || f.GetOpen() == nil {
		t.Fatalf("%v, %v", f, err)
	}
	return f.GetOpen()
}

// cross is one more crossing, with whatever may happen to it at either end.
func (c *chain) cross() {
	n := c.egress.Next()
	if c.IntN(12) == 0 {
		c.egress.Void(n)
		return
	}
	var halves [2]*crossingv1.Half
	for i, pattern := range []*crossingv1.Half{c.half, c.other} {
		h := proto.CloneOf(pattern)
		h.Id = fmt.Sprintf("01a207e6-e4d8-7d3e-9a54-%012x", n)
		h.Key = &crossingv1.Key{Egress: egressID, Ingress: ingressID, Run: egressRun, Sequence: n}
		halves[i] = h
	}
	if c.IntN(15) == 0 {
		halves[1].Operation.Name = "another"
	}
	frame, at := c.near.write(c.near.encoder.AppendOpen(nil, halves[0]))
	c.egress.Opened(halves[0], frame, at)
	if c.IntN(15) == 0 || !c.ingress.Take(n) {
		halves[1] = nil // it never comes
	} else {
		frame, at := c.far.write(c.far.encoder.AppendOpen(nil, halves[1]))
		c.ingress.Opened(halves[1], frame, at)
	}
	c.open = append(c.open, halves)
}

// end ends some that are open, at one end before the other perhaps.
func (c *chain) end() {
	var left [][2]*crossingv1.Half
	for _, halves := range c.open {
		if halves[0] != nil && c.IntN(3) > 0 {
			e := ending(halves[0])
			frame, at := c.near.write(c.near.encoder.AppendClose(nil, e))
			c.egress.Closed(e, frame, at)
			halves[0] = nil
		}
		if halves[1] != nil && c.IntN(3) > 0 {
			e := ending(halves[1])
			if c.IntN(15) == 0 {
				e.ResponseBytes++
			}
			frame, at := c.far.write(c.far.encoder.AppendClose(nil, e))
			c.ingress.Closed(e, frame, at)
			halves[1] = nil
		}
		if halves[0] != nil || halves[1] != nil {
			left = append(left, halves)
		}
	}
	c.open = left
}

func ending(h *crossingv1.Half) *crossingv1.Close {
	return &crossingv1.Close{
		Id: h.GetId(), Key: h.GetKey(), Side: h.GetSide(), Cause: crossingv1.Cause_DONE, RequestBytes: 2210, ResponseBytes: 9433, Status: 200,
	}
}

// epoch states what there is, and gives the whole statement; nil if there is nothing.
func (c *chain) epoch() *statement.Stated {
	c.now = c.now.Add(time.Second)
	ref := &crossingv1.PolicyRef{Serial: 41, Revision: c.half.GetEnd().GetPolicy().GetRevision()}
	claim := c.egress.Cut(statement.Facts{Now: c.now, Policy: ref}, c.near.signer)
	if claim == nil {
		return nil
	}
	means := statement.Means{Run: ingressRun, Policy: ref, Signer: c.far.signer, Frames: c.far.read}
	r, err := c.ingress.Review(claim, c.near.signer.Key(egressID, egressRun), means, c.now)
	for err == nil {
		var step statement.Step
		if step, err = r.Step(c.now); err != nil {
			break
		}
		switch {
		case step.Ask != nil:
			var told *crossingv1.Told
			if told, err = c.egress.Tell(step.Ask.GetTurn(), step.Ask, c.near.read); err == nil {
				err = r.Told(told)
			}
		case step.Answer != nil:
			r.Commit()
			st, err := c.egress.Check(step.Answer, c.far.signer.Key(ingressID, ingressRun))
			if err != nil {
				c.t.Fatal(err)
			}
			c.egress.Answered(st)
			return st
		default:
			c.now = step.Wait
		}
	}
	c.t.Fatal(err)
	return nil
}

// TestStatements: of random histories of two gateways, the other decoder reads the
// statements as they are, verifies their signatures, and comes to the roots and digests
// in them from the frames alone.
func TestStatements(t *testing.T) {
	var cases []stated
	var want []*statement.Stated
	for seed := range uint64(6) {
		c := newChain(t, seed)
		var of []*statement.Stated
		for range 4 {
			for range c.IntN(40) {
				c.cross()
			}
			c.end()
			if st := c.epoch(); st != nil {
				of = append(of, st)
			}
		}
		for _, st := range of {
			data, err := proto.Marshal(st.Statement)
			if err != nil {
				t.Fatal(err)
			}
			cases = append(cases, stated{hex.EncodeToString(data), c.near.frames, c.far.frames, map[string]string{"egress": c.near.public, "ingress": c.far.public}})
		}
		want = append(want, of...)
	}
	differences, deferred, voids := 0, 0, 0
	for i, got := range run[understood](t, cases) {
		st := want[i]
		differences, deferred, voids = differences+len(st.Answer.GetDifferences()), deferred+len(st.Deferred()), voids+len(st.Voids())
		same(t, st, got)
	}
	if differences < 10 || deferred < 10 || voids < 10 {
		t.Errorf("%d differences, %d deferred, %d voids; the test tests little", differences, deferred, voids)
	}
}

// same holds that a statement was understood as it is.
func same(t *testing.T, st *statement.Stated, got understood) {
	t.Helper()
	text := hex.EncodeToString
	want := understood{
		Claim: shown(t, st.Claim), Answer: shown(t, st.Answer),
		Voids: append([]uint64{}, st.Voids()...), Closed: append([]uint64{}, st.Closed()...), Deferred: append([]uint64{}, st.Deferred()...),
		ClaimHash: text(st.ClaimHash[:]), AnswerHash: text(st.AnswerHash[:]),
		Roots: map[string]map[string]string{
			"egress":  {"opened": text(st.Claim.GetRoots().GetOpened()), "closed": text(st.Claim.GetRoots().GetClosed())},
			"ingress": {"opened": text(st.Answer.GetRoots().GetOpened()), "closed": text(st.Answer.GetRoots().GetClosed())},
		},
		Agreed: map[string]string{"opened": text(st.Claim.GetAgreed().GetOpened()), "closed": text(st.Claim.GetAgreed().GetClosed())},
		Signed: map[string]bool{"egress": true, "ingress": true},
	}
	got.Leaves = nil
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("epoch %d (-want +got):\n%s", st.Claim.GetEpoch(), d)
	}
}

// TestSpoiltStatements: of statements in which a field says something else, both
// decoders take the same for well formed.
func TestSpoiltStatements(t *testing.T) {
	c := newChain(t, 7)
	var of []*statement.Stated
	for range 6 {
		for range 25 {
			c.cross()
		}
		c.end()
		if st := c.epoch(); st != nil {
			of = append(of, st)
		}
	}
	var cases []stated
	var want []error
	for i, st := range of {
		for round := range uint64(250) {
			s := spoiler{mathrand.New(mathrand.NewPCG(uint64(i), round))}
			spoilt := s.statement(st)
			data, err := proto.Marshal(spoilt)
			if err != nil {
				continue
			}
			_, err = statement.Read(spoilt)
			cases = append(cases, stated{Statement: hex.EncodeToString(data), Keys: map[string]string{"egress": "", "ingress": ""}, Egress: []string{}, Ingress: []string{}})
			want = append(want, err)
		}
	}
	refused := 0
	for i, got := range run[understood](t, cases) {
		if want[i] != nil {
			refused++
		}
		if (want[i] == nil) != (got.Refused == "") {
			t.Errorf("%v, and by the other decoder %q\n%s", want[i], got.Refused, cases[i].Statement)
		}
	}
	if refused < 200 || refused > len(cases)-200 {
		t.Errorf("%d of %d refused; the test tests little", refused, len(cases))
	}
}

// statement is one that says something else in one place, of which the signature and
// the answer are still those of the one before, or made to fit.
func (s *spoiler) statement(st *statement.Stated) *crossingv1.Statement {
	out, claim, answer := proto.CloneOf(st.Statement), proto.CloneOf(st.Claim), proto.CloneOf(st.Answer)
	switch s.IntN(8) {
	case 0:
		s.spoil(out.ProtoReflect())
		return out
	case 1, 2, 3:
		s.spoil(claim.ProtoReflect())
	default:
		s.spoil(answer.ProtoReflect())
	}
	var err error
	if out.Claim, err = proto.Marshal(claim); err != nil {
		return out
	}
	if s.IntN(8) > 0 && len(answer.GetClaim()) > 0 {
		sum := sha256.Sum256(out.GetClaim())
		answer.Claim = sum[:]
	}
	out.Answer, _ = proto.Marshal(answer) // none, if a text is not UTF-8
	return out
}

// TestForgedStatement: a signature of other bytes, or of another key, is none.
func TestForgedStatement(t *testing.T) {
	c := newChain(t, 99)
	c.cross()
	c.cross()
	st := c.epoch()
	answer := proto.CloneOf(st.Answer)
	answer.At = timestamppb.New(c.now.Add(time.Second))
	data, err := proto.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	forged := proto.CloneOf(st.Statement)
	forged.Answer = data
	var cases []stated
	for _, s := range []*crossingv1.Statement{st.Statement, forged} {
		data, err := proto.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, stated{hex.EncodeToString(data), c.near.frames, c.far.frames, map[string]string{"egress": c.near.public, "ingress": c.far.public}})
	}
	stranger := cases[0]
	stranger.Keys = map[string]string{"egress": c.far.public, "ingress": c.far.public}
	got := run[understood](t, append(cases, stranger))
	for i, want := range []map[string]bool{{"egress": true, "ingress": true}, {"egress": true, "ingress": false}, {"egress": false, "ingress": true}} {
		if d := cmp.Diff(want, got[i].Signed); d != "" {
			t.Errorf("%d (-want +got):\n%s", i, d)
		}
	}
}
