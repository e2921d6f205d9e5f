package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

const (
	run   = "b41f0c9a7d5e43218f6a2b3c4d5e6f70"
	near  = "spiffe://onprem.test/sallyport/gateway/onprem-1"
	far   = "spiffe://azure.test/sallyport/gateway/azure-1"
	owner = "ml-platform"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// party is a gateway that states what a test has it state.
type party struct {
	id     string
	side   crossingv1.Side
	signer *statement.Signer
	key    *statement.Key
}

// mesh is two gateways, what they have delivered, and the log of each one's environment.
type mesh struct {
	t                testing.TB
	egress, ingress  *party
	nearLog, farLog  *translog.Log
	batches          []batch
	last             *statement.Stated
	voids            []uint64
	unseen, unended  []uint64 // at the ingress gateway, in the next statement
	deferred, absent []uint64
}

type batch struct {
	gateway string
	frames  [][]byte
}

func newMesh(t testing.TB) *mesh {
	t.Helper()
	m := &mesh{t: t}
	for _, p := range []**party{&m.egress, &m.ingress} {
		*p = &party{id: near, side: crossingv1.Side_EGRESS, signer: statement.NewSigner()}
		if p == &m.ingress {
			(*p).id, (*p).side = far, crossingv1.Side_INGRESS
		}
		(*p).key = (*p).signer.Key((*p).id, run)
	}
	m.nearLog, m.farLog = openLog(t, "onprem.test"), openLog(t, "azure.test")
	return m
}

func openLog(t testing.TB, td string) *translog.Log {
	t.Helper()
	l, err := translog.Open(t.Context(), translog.Config{Dir: t.TempDir(), Origin: translog.OriginOf(td), Interval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Replay implements Frames.
func (m *mesh) Replay(_ context.Context, _ time.Time, each func(string, time.Time, [][]byte) error) error {
	for _, b := range m.batches {
		if err := each(b.gateway, noon, b.frames); err != nil {
			return err
		}
	}
	return nil
}

func (m *mesh) config() Config {
	return Config{Frames: m, Log: func(gateway string) *translog.Reader {
		if gateway == near {
			return m.nearLog.Reader
		}
		return m.farLog.Reader
	}}
}

// deliver has a gateway deliver frames.
func (m *mesh) deliver(p *party, frames ...*crossingv1.Frame) {
	m.t.Helper()
	b := batch{gateway: p.id}
	for _, f := range frames {
		f.Gateway, f.Run = p.id, run
		data, err := crossing.MarshalFrame(f)
		if err != nil {
			m.t.Fatal(err)
		}
		b.frames = append(b.frames, data)
	}
	m.batches = append(m.batches, b)
}

func key(n uint64) *crossingv1.Key {
	return &crossingv1.Key{Egress: near, Ingress: far, Run: run, Sequence: n}
}

func crossingID(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return fmt.Sprintf("01a207e6-e4d8-7d3e-9a54-%x", b[2:])
}

func (p *party) open(n uint64) *crossingv1.Frame {
	return &crossingv1.Frame{Open: &crossingv1.Half{
		Id: crossingID(n), Key: key(n), Side: p.side, Trace: strings.Repeat("4b", 16), Span: strings.Repeat("5c", 8),
		Source: "spiffe://onprem.test/ai/orchestrator", Destination: "spiffe://azure.test/ai/llm",
		Transition: &crossingv1.Transition{From: "onprem", To: "azure", Owner: owner, Sink: "siem"},
		End: &crossingv1.End{
			Gateway: p.id, Decision: crossingv1.Decision_ALLOW, Open: timestamppb.New(noon),
			Policy: &crossingv1.PolicyRef{Serial: 1, Revision: "sha256:" + strings.Repeat("9", 64)},
		},
	}}
}

func (p *party) close(n uint64) *crossingv1.Frame {
	return &crossingv1.Frame{Close: &crossingv1.Close{
		Id: crossingID(n), Key: key(n), Side: p.side, Duration: durationpb.New(time.Second), Cause: crossingv1.Cause_DONE, Status: 200,
	}}
}

// cross has both gateways record numbers, the ingress gateway but for those.
func (m *mesh) cross(opened, closed []uint64, notIngress ...uint64) {
	m.t.Helper()
	for _, p := range []*party{m.egress, m.ingress} {
		var frames []*crossingv1.Frame
		for _, n := range opened {
			if p == m.egress || !slices.Contains(notIngress, n) {
				frames = append(frames, p.open(n))
			}
		}
		for _, n := range closed {
			if p == m.egress || !slices.Contains(notIngress, n) {
				frames = append(frames, p.close(n))
			}
		}
		if len(frames) > 0 {
			m.deliver(p, frames...)
		}
	}
}

// roots are over a gateway's frames but for those that it has none of.
func (p *party) roots(t testing.TB, first, next uint64, closed, notOpened, notClosed []uint64) *crossingv1.Roots {
	t.Helper()
	leaf := func(f *crossingv1.Frame, none bool) statement.Hash {
		if none {
			return statement.Leaf(nil)
		}
		f.Gateway, f.Run = p.id, run
		data, err := crossing.MarshalFrame(f)
		if err != nil {
			t.Fatal(err)
		}
		return statement.Leaf(data)
	}
	var opened, ended []statement.Hash
	for n := first; n < next; n++ {
		opened = append(opened, leaf(p.open(n), slices.Contains(notOpened, n)))
	}
	for _, n := range closed {
		ended = append(ended, leaf(p.close(n), slices.Contains(notClosed, n)))
	}
	o, c := statement.Root(opened), statement.Root(ended)
	return &crossingv1.Roots{Opened: o[:], Closed: c[:]}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func distances(numbers []uint64, from uint64) (all []uint64) {
	for _, n := range numbers {
		all, from = append(all, n-from), n
	}
	return all
}

// state has both state numbers up to before next, and those ended, deliver that, and enter
// it in their logs.
func (m *mesh) state(next uint64, closed ...uint64) {
	m.t.Helper()
	none := sha256.Sum256(nil)
	c := &crossingv1.Claim{
		Chain: &crossingv1.Chain{Egress: near, Ingress: far, Run: run}, Epoch: 1, First: 1, Next: next, Closed: distances(closed, 0),
		Agreed: &crossingv1.Agreed{Opened: none[:], Closed: none[:]}, Since: timestamppb.New(noon), At: timestamppb.New(noon),
	}
	if m.last != nil {
		c.Epoch, c.First = m.last.Claim.GetEpoch()+1, m.last.Claim.GetNext()
		c.Previous, c.Answered = m.last.ClaimHash[:], m.last.AnswerHash[:]
	}
	c.Voids = distances(m.voids, c.GetFirst())
	c.Roots = m.egress.roots(m.t, c.GetFirst(), next, closed, m.voids, nil)
	claim := m.egress.signer.Claim(&crossingv1.Statement{Claim: encoded(m.t, c)})
	s, err := statement.Read(claim)
	if err != nil {
		m.t.Fatal(err)
	}
	m.absent = append(m.absent, m.unseen...)
	a := &crossingv1.Answer{
		Claim: s.ClaimHash[:], Run: run, At: timestamppb.New(noon), Deferred: distances(m.deferred, 0),
		Roots: m.ingress.roots(m.t, c.GetFirst(), next, closed, slices.Concat(m.voids, m.unseen), slices.Concat(m.absent, m.unended, m.deferred)),
	}
	for kind, numbers := range map[crossingv1.Difference_Kind][]uint64{crossingv1.Difference_UNSEEN: m.unseen, crossingv1.Difference_UNENDED: m.unended} {
		if len(numbers) > 0 {
			a.Differences = append(a.Differences, &crossingv1.Difference{Kind: kind, Numbers: distances(numbers, 0)})
		}
	}
	slices.SortFunc(a.Differences, func(a, b *crossingv1.Difference) int { return int(a.GetKind()) - int(b.GetKind()) })
	claim.Answer = encoded(m.t, a)
	whole := m.ingress.signer.Answer(claim)
	if m.last, err = statement.Read(whole); err != nil {
		m.t.Fatal(err)
	}
	m.voids, m.unseen, m.unended, m.deferred = nil, nil, nil, nil
	for p, log := range map[*party]*translog.Log{m.egress: m.nearLog, m.ingress: m.farLog} {
		m.deliver(p, &crossingv1.Frame{Statement: whole})
		m.enter(log, m.batches[len(m.batches)-1].frames...)
	}
}

func (m *mesh) enter(log *translog.Log, frames ...[]byte) {
	m.t.Helper()
	for _, data := range frames {
		if err := log.Add(m.t.Context(), &logv1.Entry{Frame: data}); err != nil {
			m.t.Fatal(err)
		}
	}
}

// prove waits until a crossing is proven.
func (m *mesh) prove(x Crossing) ([]byte, error) {
	m.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		size, err := m.nearLog.Checkpoint(m.t.Context())
		if err == nil && size.Size >= m.last.Claim.GetEpoch() || time.Now().After(deadline) {
			return m.config().Prove(m.t.Context(), x)
		}
	}
}
