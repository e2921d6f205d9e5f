package statements

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	runE = "b41f0c9a7d5e43218f6a2b3c4d5e6f70"
	runI = "5c0ffee0c0ffee0c0ffee0c0ffee0c0f"
)

// noon is when every test begins.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// gate is a gateway that signs whatever a test has it sign: with a key of its own,
// and by the format's letter, so that what an honest one would never sign can be.
type gate struct {
	id      string
	run     string
	private ed25519.PrivateKey
	leaf    *x509.Certificate
	chain   [][]byte
	svid    crypto.Signer
}

func newGate(t testing.TB, domain *certstest.Domain, name, run string) *gate {
	t.Helper()
	svid, err := domain.Source("/sallyport/gateway/" + name).GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{id: svid.ID.String(), run: run, leaf: svid.Certificates[0], svid: svid.PrivateKey}
	for _, c := range svid.Certificates {
		g.chain = append(g.chain, c.Raw)
	}
	g.rekey(t)
	return g
}

// rekey makes another statement key, which is not announced.
func (g *gate) rekey(t testing.TB) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g.private = private
}

func (g *gate) public() ed25519.PublicKey {
	public, _ := g.private.Public().(ed25519.PublicKey)
	return public
}

// frame is a frame of the gateway's.
func (g *gate) frame(f *crossingv1.Frame) *crossingv1.Frame {
	f.Gateway, f.Run = g.id, g.run
	return f
}

// announce says under the SVID which key it is.
func (g *gate) announce(t testing.TB) *crossingv1.Frame {
	t.Helper()
	a := &crossingv1.Announcement{
		Gateway: g.id, Run: g.run, Algorithm: crossingv1.Algorithm_ED25519, Key: g.public(), At: timestamppb.New(time.Now()), Chain: g.chain,
	}
	sum := sha256.Sum256(encoded(t, a))
	digest := sha256.Sum256(append([]byte("sallyport.statement.v1 announcement\x00"), sum[:]...))
	var err error
	if a.Signature, err = g.svid.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	return g.frame(&crossingv1.Frame{Announcement: a})
}

func (g *gate) sign(context string, sums ...statement.Hash) *crossingv1.Signature {
	message := []byte("sallyport.statement.v1 " + context + "\x00")
	for _, sum := range sums {
		message = append(message, sum[:]...)
	}
	key := sha256.Sum256(g.public())
	return &crossingv1.Signature{Algorithm: crossingv1.Algorithm_ED25519, Key: key[:], Value: ed25519.Sign(g.private, message)}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// duo is two gateways, a chain between them, and a control plane's book.
type duo struct {
	t     testing.TB
	e, i  *gate
	book  *Book
	now   time.Time
	trust Trust
	last  *crossingv1.Statement // the last that was made
	next  uint64
	epoch uint64
}

func newDuo(t testing.TB) *duo {
	t.Helper()
	domains := certstest.Mesh(t, "onprem.demo", "azure.demo")
	d := &duo{
		t: t, e: newGate(t, domains["onprem.demo"], "onprem-1", runE), i: newGate(t, domains["azure.demo"], "azure-1", runI),
		book: NewBook(), now: noon, next: 1,
	}
	roots := map[string]*x509.CertPool{"onprem.demo": domains["onprem.demo"].Roots(), "azure.demo": domains["azure.demo"].Roots()}
	d.trust = func(chain []*x509.Certificate, at time.Time) error {
		id, err := spiffeid.FromURI(chain[0].URIs[0])
		if err != nil {
			return err
		}
		below := x509.NewCertPool()
		for _, c := range chain[1:] {
			below.AddCert(c)
		}
		_, err = chain[0].Verify(x509.VerifyOptions{
			Roots: roots[id.TrustDomain().Name()], Intermediates: below, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		return err
	}
	d.book.Serve(noon)
	return d
}

// announced is a duo whose keys are known.
func announced(t testing.TB) *duo {
	t.Helper()
	d := newDuo(t)
	d.deliver(d.e.announce(t))
	d.deliver(d.i.announce(t))
	return d
}

// try delivers a frame as the API does.
func (d *duo) try(f *crossingv1.Frame) error {
	d.t.Helper()
	data, err := crossing.MarshalFrame(f)
	if err != nil {
		return err
	}
	return d.tryBytes(data, f.GetGateway())
}

func (d *duo) tryBytes(data []byte, from string) error {
	d.t.Helper()
	f, err := crossing.UnmarshalFrame(data)
	if err != nil {
		return err
	}
	if err := crossing.CheckFrame(f, spiffeid.RequireFromString(from)); err != nil {
		return err
	}
	if err := Check(f, d.trust, time.Now()); err != nil {
		return err
	}
	return d.book.Add(f, data, d.now)
}

func (d *duo) deliver(frames ...*crossingv1.Frame) {
	d.t.Helper()
	for _, f := range frames {
		if err := d.try(f); err != nil {
			d.t.Fatalf("deliver: %v", err)
		}
	}
}

func (d *duo) key(n uint64) *crossingv1.Key {
	return &crossingv1.Key{Egress: d.e.id, Ingress: d.i.id, Run: d.e.run, Sequence: n}
}

func crossingID(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return fmt.Sprintf("01a207e6-e4d8-7d3e-9a54-%x", b[2:])
}

// opening is the frame with which a gateway opened a number, and ending the one with
// which it ended.
func (d *duo) opening(g *gate, n uint64) *crossingv1.Frame {
	side := crossingv1.Side_EGRESS
	if g == d.i {
		side = crossingv1.Side_INGRESS
	}
	return g.frame(&crossingv1.Frame{Open: &crossingv1.Half{
		Id: crossingID(n), Key: d.key(n), Side: side, Trace: strings.Repeat("4b", 16), Span: strings.Repeat("5c", 8),
		Source: "spiffe://onprem.demo/ai/orchestrator", Destination: "spiffe://azure.demo/ai/llm",
		Transition: &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "siem"},
		End: &crossingv1.End{
			Gateway: g.id, Decision: crossingv1.Decision_ALLOW, Open: timestamppb.New(noon),
			Policy: &crossingv1.PolicyRef{Serial: 1, Revision: "sha256:" + strings.Repeat("9", 64)},
		},
	}})
}

func (d *duo) ending(g *gate, n uint64) *crossingv1.Frame {
	side := crossingv1.Side_EGRESS
	if g == d.i {
		side = crossingv1.Side_INGRESS
	}
	return g.frame(&crossingv1.Frame{Close: &crossingv1.Close{
		Id: crossingID(n), Key: d.key(n), Side: side, Duration: durationpb.New(time.Second), Cause: crossingv1.Cause_DONE, Status: 200,
	}})
}

// bothOpen and bothEnd deliver numbers from both gateways.
func (d *duo) bothOpen(numbers ...uint64) {
	d.t.Helper()
	for _, n := range numbers {
		d.deliver(d.opening(d.e, n), d.opening(d.i, n))
	}
}

func (d *duo) bothEnd(numbers ...uint64) {
	d.t.Helper()
	for _, n := range numbers {
		d.deliver(d.ending(d.e, n), d.ending(d.i, n))
	}
}

func distances(numbers []uint64, from uint64) []uint64 {
	var all []uint64
	for _, n := range numbers {
		all, from = append(all, n-from), n
	}
	return all
}

// roots are over a gateway's frames of those numbers but the ones it has none of.
func (d *duo) roots(g *gate, first, next uint64, closed, unopened, unended []uint64) *crossingv1.Roots {
	var opened, ended []statement.Hash
	for n := first; n < next; n++ {
		opened = append(opened, d.leaf(d.opening(g, n), slices.Contains(unopened, n)))
	}
	for _, n := range closed {
		ended = append(ended, d.leaf(d.ending(g, n), slices.Contains(unended, n)))
	}
	o, c := statement.Root(opened), statement.Root(ended)
	return &crossingv1.Roots{Opened: o[:], Closed: c[:]}
}

func (d *duo) leaf(f *crossingv1.Frame, absent bool) statement.Hash {
	d.t.Helper()
	if absent {
		return statement.Leaf(nil)
	}
	data, err := crossing.MarshalFrame(f)
	if err != nil {
		d.t.Fatal(err)
	}
	return statement.Leaf(data)
}

// claim makes the next claim: numbers up to before next opened but the voids, and
// those ended.
func (d *duo) claim(next uint64, voids, closed []uint64, change ...func(*crossingv1.Claim)) *crossingv1.Statement {
	d.t.Helper()
	d.epoch++
	none := sha256.Sum256(nil)
	c := &crossingv1.Claim{
		Chain: &crossingv1.Chain{Egress: d.e.id, Ingress: d.i.id, Run: d.e.run}, Epoch: d.epoch, First: d.next, Next: next,
		Voids: distances(voids, d.next), Closed: distances(closed, 0), Roots: d.roots(d.e, d.next, next, closed, voids, nil),
		Agreed: &crossingv1.Agreed{Opened: none[:], Closed: none[:]}, Since: timestamppb.New(d.now.Add(-time.Second)), At: timestamppb.New(d.now),
	}
	if d.last != nil {
		sum := sha256.Sum256(d.last.GetClaim())
		c.Previous = sum[:]
		if len(d.last.GetAnswer()) > 0 {
			sum := sha256.Sum256(d.last.GetAnswer())
			c.Answered = sum[:]
		}
	}
	for _, change := range change {
		change(c)
	}
	data := encoded(d.t, c)
	d.last = &crossingv1.Statement{Claim: data, Egress: d.e.sign("claim", sha256.Sum256(data))}
	d.next = next
	return d.last
}

// answer answers the last claim: the ingress gateway has all of it, unless change says
// otherwise.
func (d *duo) answer(change ...func(*crossingv1.Answer)) *crossingv1.Statement {
	d.t.Helper()
	s, err := statement.Read(d.last)
	if err != nil {
		d.t.Fatal(err)
	}
	a := &crossingv1.Answer{
		Claim: s.ClaimHash[:], Run: d.i.run, At: timestamppb.New(d.now),
		Roots: d.roots(d.i, s.Claim.GetFirst(), s.Claim.GetNext(), s.Closed(), s.Voids(), nil),
	}
	for _, change := range change {
		change(a)
	}
	data := encoded(d.t, a)
	d.last = &crossingv1.Statement{
		Claim: d.last.GetClaim(), Egress: d.last.GetEgress(), Answer: data, Ingress: d.i.sign("answer", s.ClaimHash, sha256.Sum256(data)),
	}
	return d.last
}

// stated is a frame with a statement, as one of the two delivers it.
func stated(g *gate, s *crossingv1.Statement) *crossingv1.Frame {
	return g.frame(&crossingv1.Frame{Statement: s})
}

// state makes the next statement, and has both deliver it.
func (d *duo) state(next uint64, voids, closed []uint64) {
	d.t.Helper()
	claim := d.claim(next, voids, closed)
	d.deliver(stated(d.e, claim))
	whole := d.answer()
	d.deliver(stated(d.e, whole), stated(d.i, whole))
}

func (d *duo) heartbeat(g *gate, standings ...*crossingv1.Standing) *crossingv1.Frame {
	d.t.Helper()
	data := encoded(d.t, &crossingv1.Heartbeat{Gateway: g.id, Run: g.run, At: timestamppb.New(d.now), Standings: standings})
	return g.frame(&crossingv1.Frame{Heartbeat: &crossingv1.SignedHeartbeat{Heartbeat: data, Signature: g.sign("heartbeat", sha256.Sum256(data))}})
}

// standing is where the chain stands.
func (d *duo) standing() *crossingv1.Standing {
	st := &crossingv1.Standing{Chain: &crossingv1.Chain{Egress: d.e.id, Ingress: d.i.id, Run: d.e.run}, Epoch: d.epoch, Next: d.next}
	if d.last != nil {
		sum := sha256.Sum256(d.last.GetClaim())
		st.Claim, st.Answered = sum[:], len(d.last.GetAnswer()) > 0
	}
	return st
}

// beat has both say that they live.
func (d *duo) beat() {
	d.t.Helper()
	d.deliver(d.heartbeat(d.e, d.standing()), d.heartbeat(d.i, d.standing()))
}

// pass lets time pass, with a heartbeat every ten seconds.
func (d *duo) pass(for_ time.Duration) {
	d.t.Helper()
	for until := d.now.Add(for_); d.now.Before(until); {
		d.now = d.now.Add(10 * time.Second)
		d.beat()
	}
}

// found are the findings as short texts: kind, gateway, epoch and number.
func (d *duo) found() []string {
	var all []string
	for _, f := range d.book.Findings(d.now) {
		text := fmt.Sprintf("%s %s epoch %d number %d", f.GetKind(), Short(f.GetGateway()), f.GetEpoch(), f.GetNumber())
		if f.GetKind() == controlv1.Finding_DIFFERENCE {
			text += " " + f.GetDifference().String()
		}
		all = append(all, text)
	}
	return all
}

// want holds what is found.
func (d *duo) want(what string, want ...string) {
	d.t.Helper()
	if got := d.found(); !slices.Equal(got, want) {
		d.t.Errorf("%s: found %q, want %q", what, got, want)
		for _, f := range d.book.Findings(d.now) {
			d.t.Logf("%v", f)
		}
	}
}
