package api

import (
	"crypto"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const azureRun = "5c0ffee0c0ffee0c0ffee0c0ffee0c0f"

// stater is a gateway that signs statements.
type stater struct {
	m      *mesh
	id     string
	run    string
	signer *statement.Signer
}

func newStater(m *mesh, id, run string) *stater { return &stater{m, id, run, statement.NewSigner()} }

func (s *stater) frame(f *crossingv1.Frame) []byte {
	s.m.t.Helper()
	f.Gateway, f.Run = s.id, s.run
	data, err := crossing.MarshalFrame(f)
	if err != nil {
		s.m.t.Fatal(err)
	}
	return data
}

// announcement of its key, under the SVID that a trust domain gave to that ID.
func (s *stater) announcement(domain, id string, at time.Time) *crossingv1.Announcement {
	s.m.t.Helper()
	shown := s.m.domains[domain].Certificate(spiffeid.RequireFromString(id))
	key, ok := shown.PrivateKey.(crypto.Signer)
	if !ok {
		s.m.t.Fatalf("an SVID's key is a %T", shown.PrivateKey)
	}
	a, err := s.signer.Announce(s.id, s.run, shown.Certificate, key, at)
	if err != nil {
		s.m.t.Fatal(err)
	}
	return a
}

func (s *stater) announce() []byte {
	s.m.t.Helper()
	domain := spiffeid.RequireFromString(s.id).TrustDomain().Name()
	return s.frame(&crossingv1.Frame{Announcement: s.announcement(domain, s.id, time.Now())})
}

// claim of a chain in which nothing happened.
func (s *stater) claim(c statement.Chain, at time.Time) *crossingv1.Statement {
	return statement.NewEgress(c, at).Cut(statement.Facts{Now: at, Final: true}, s.signer)
}

func (s *stater) heartbeat(gateway string, at time.Time) *crossingv1.SignedHeartbeat {
	return s.signer.Heartbeat(&crossingv1.Heartbeat{Gateway: gateway, Run: s.run, At: timestamppb.New(at)})
}

// change changes a claim that was signed: it is no more, but that shows later.
func change(m *mesh, s *crossingv1.Statement, change func(*crossingv1.Claim)) *crossingv1.Statement {
	m.t.Helper()
	var c crossingv1.Claim
	if err := proto.Unmarshal(s.GetClaim(), &c); err != nil {
		m.t.Fatal(err)
	}
	change(&c)
	s = proto.CloneOf(s)
	var err error
	if s.Claim, err = proto.Marshal(&c); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// Whatever a gateway delivers that is none of its own honest words is refused with the
// gateway's name and a reason, counted, and not stored; what comes with it and after it
// on the same stream is taken.
func TestBadFramesAreRefusedAndTheStreamGoesOn(t *testing.T) {
	m := published(t, func(c *Config) { c.Statements.Serve(time.Now()) })
	here, there := newStater(m, onprem1, testRun), newStater(m, azure1, azureRun)
	ours := statement.Chain{Egress: onprem1, Ingress: azure1, Run: testRun}
	now, ahead := time.Now(), time.Now().Add(48*time.Hour)
	statementOf := func(s *crossingv1.Statement) []byte { return here.frame(&crossingv1.Frame{Statement: s}) }
	_, manifest := m.server.Current()
	half := carriedHalf(&crossingv1.PolicyRef{Serial: manifest.GetSerial(), Revision: manifest.GetRevision()})
	half.End.Open = timestamppb.New(ahead)
	forged := here.announcement("onprem.demo", onprem1, now)
	forged.Run = azureRun
	stranger := newStater(m, onprem1, testRun)
	good := here.claim(ours, now)
	tests := []struct {
		name  string
		frame []byte
		why   string
	}{
		{"no frame", []byte{0xff, 0xfe}, "decode frame"},
		{"10 MB", make([]byte, 10<<20), "the most is 65536"},
		{"another gateway's frame", there.frame(&crossingv1.Frame{Statement: good}), "the frame says it is of"},
		{"a statement that is none", statementOf(&crossingv1.Statement{Claim: []byte{0xff}}), "claim"},
		{"no party", statementOf(there.claim(statement.Chain{Egress: azure1, Ingress: "spiffe://aws.demo/sallyport/gateway/aws-1", Run: azureRun}, now)), "it is neither"},
		{"another's claim", statementOf(there.claim(statement.Chain{Egress: azure1, Ingress: onprem1, Run: azureRun}, now)), "without an answer of its own"},
		{"an impossible range", statementOf(change(m, good, func(c *crossingv1.Claim) { c.First, c.Next = 7, 3 })), "numbers from 7 to 3"},
		{"a huge range", statementOf(change(m, good, func(c *crossingv1.Claim) { c.Next = 1 << 60 })), "the most are"},
		{"numbers out of order", statementOf(change(m, good, func(c *crossingv1.Claim) { c.Next, c.Closed = 9, []uint64{1, 0} })), "closed"},
		{"a claim from the future", statementOf(here.claim(ours, ahead)), "in the future"},
		{"a claim that was changed", statementOf(change(m, good, func(c *crossingv1.Claim) { c.Open = 9 })), "signature"},
		{"a half from the future", here.frame(&crossingv1.Frame{Open: half}), "in the future"},
		{"progress from the future", here.frame(&crossingv1.Frame{Progress: &crossingv1.Progress{
			Id: half.GetId(), Key: half.GetKey(), Side: crossingv1.Side_EGRESS, At: timestamppb.New(ahead),
		}}), "in the future"},
		{"an outage that ends before it begins", here.frame(&crossingv1.Frame{Outage: &crossingv1.Outage{
			Began: timestamppb.New(now), Ended: timestamppb.New(now.Add(-time.Second)), Cause: crossingv1.Outage_FULL,
		}}), "before it began"},
		{"a heartbeat of another", here.frame(&crossingv1.Frame{Heartbeat: here.heartbeat(azure1, now)}), "a heartbeat of"},
		{"a heartbeat from the future", here.frame(&crossingv1.Frame{Heartbeat: here.heartbeat(onprem1, ahead)}), "in the future"},
		{"a heartbeat under an unknown key", here.frame(&crossingv1.Frame{Heartbeat: stranger.heartbeat(onprem1, now)}), "has not announced"},
		{"a heartbeat that is none", here.frame(&crossingv1.Frame{Heartbeat: &crossingv1.SignedHeartbeat{Heartbeat: []byte{0xff}}}), "decode heartbeat"},
		{"an SVID that nobody knows", here.frame(&crossingv1.Frame{Announcement: here.announcement("stranger.demo", onprem1, now)}), "SVID"},
		{"another's SVID", here.frame(&crossingv1.Frame{Announcement: here.announcement("onprem.demo", "spiffe://onprem.demo/ai/orchestrator", now)}), "the SVID is of"},
		{"an announcement from the future", here.frame(&crossingv1.Frame{Announcement: here.announcement("onprem.demo", onprem1, ahead)}), "in the future"},
		{"an announcement that was changed", here.frame(&crossingv1.Frame{Announcement: forged}), "signature"},
	}
	stream, err := controlv1.NewCrossingServiceClient(m.gateway()).Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send := func(frames ...[]byte) *controlv1.Ack {
		t.Helper()
		if err := stream.Send(&controlv1.Batch{Frames: frames, Through: 1}); err != nil {
			t.Fatal(err)
		}
		ack, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return ack
	}
	if ack := send(here.announce()); len(ack.GetRejected()) > 0 {
		t.Fatalf("the announcement: %v", ack)
	}
	for i, test := range tests {
		rejected := send(test.frame, refusalFrame(t, onprem1, uint64(i+1))).GetRejected()
		if len(rejected) != 1 || rejected[0].GetIndex() != 0 || !strings.Contains(rejected[0].GetWhy(), test.why) || !strings.HasPrefix(rejected[0].GetWhy(), "from "+onprem1+":") {
			t.Errorf("%s: rejected %v, want the first for %q", test.name, rejected, test.why)
		}
	}
	if ack := send(statementOf(good)); len(ack.GetRejected()) > 0 {
		t.Errorf("a good statement after them: %v", ack)
	}
	all, err := controlv1.NewGatewayServiceClient(m.operator()).ListGateways(t.Context(), &controlv1.ListGatewaysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := all.GetGateways()[1]; got.GetName() != "onprem-1" || got.GetRejected() != uint64(len(tests)) {
		t.Errorf("%s had %d frames rejected, want %d", got.GetName(), got.GetRejected(), len(tests))
	}
}

// A gateway that was away brings its announcement when its SVID has ended; another's
// would have to be good today.
func TestAnAnnouncementThatComesLate(t *testing.T) {
	m := published(t, nil)
	here, there := newStater(m, onprem1, testRun), newStater(m, azure1, azureRun)
	onprem, azure := m.domains["onprem.demo"], m.domains["azure.demo"]
	before, ttl := onprem.NotBefore, onprem.TTL
	for _, d := range []*certstest.Domain{onprem, azure} {
		d.NotBefore, d.TTL = -20*time.Second, 5*time.Second // the roots are not much older
	}
	then := time.Now().Add(-18 * time.Second)
	late := here.frame(&crossingv1.Frame{Announcement: here.announcement("onprem.demo", onprem1, then)})
	others := here.frame(&crossingv1.Frame{Announcement: there.announcement("azure.demo", azure1, then)})
	onprem.NotBefore, onprem.TTL = before, ttl
	ack, err := deliver(m, &controlv1.Batch{Frames: [][]byte{late, others}})
	if err != nil || len(ack.GetRejected()) != 1 || ack.GetRejected()[0].GetIndex() != 1 || !strings.Contains(ack.GetRejected()[0].GetWhy(), "expired") {
		t.Errorf("Deliver() = %v, %v, want the other gateway's rejected", ack, err)
	}
}

// oneSided is a record that only onprem-1 told of.
func oneSided(t *testing.T) join.Halves {
	t.Helper()
	h := carriedHalf(&crossingv1.PolicyRef{Serial: 1, Revision: "sha256:" + strings.Repeat("9", 64)})
	h.End.Open = timestamppb.New(time.Now().Add(-time.Hour))
	e := crossing.Account{Open: h, Close: &crossingv1.Close{Id: h.GetId(), Key: h.GetKey(), Side: crossingv1.Side_EGRESS, Cause: crossingv1.Cause_DONE}}
	return join.Halves{Record: crossing.Join(&e, nil), Egress: e}
}

func listUnmatched(t *testing.T, m *mesh, req *controlv1.ListUnmatchedRequest) []*controlv1.Finding {
	t.Helper()
	stream, err := controlv1.NewCrossingServiceClient(m.operator()).ListUnmatched(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return all(t, stream)
}

func TestListUnmatched(t *testing.T) {
	h := oneSided(t)
	m := published(t, func(c *Config) { c.Statements.Serve(time.Now().Add(-time.Hour)) })
	m.records.halves, m.records.records = []join.Halves{h}, []*crossingv1.Record{h.Record}
	here := newStater(m, onprem1, testRun)
	claim := here.claim(statement.Chain{Egress: onprem1, Ingress: azure1, Run: testRun}, time.Now())
	ack, err := deliver(m, &controlv1.Batch{Frames: [][]byte{here.announce(), here.frame(&crossingv1.Frame{Statement: claim})}})
	if err != nil || len(ack.GetRejected()) > 0 {
		t.Fatal(ack, err)
	}
	all := listUnmatched(t, m, &controlv1.ListUnmatchedRequest{})
	const cause = "azure-1's half may still be in its spool: azure-1 has delivered nothing yet"
	want := []*controlv1.Finding{{
		Kind: controlv1.Finding_ONE_SIDED, Uncertain: true, Crossing: h.Record.GetId(), Gateway: azure1, Number: 1, Since: h.Record.GetEgress().GetOpen(),
		Transition: &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "records"},
		Chain:      &crossingv1.Chain{Egress: onprem1, Ingress: azure1, Run: testRun}, Cause: cause,
	}}
	if diff := cmp.Diff(want, all, protocmp.Transform()); diff != "" {
		t.Errorf("ListUnmatched() (-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		req  *controlv1.ListUnmatchedRequest
		want int
	}{
		{&controlv1.ListUnmatchedRequest{Id: h.Record.GetId(), From: "onprem", To: "azure", Owner: "ml-platform"}, 1},
		{&controlv1.ListUnmatchedRequest{Id: "another"}, 0},
		{&controlv1.ListUnmatchedRequest{From: "azure"}, 0},
		{&controlv1.ListUnmatchedRequest{To: "onprem"}, 0},
		{&controlv1.ListUnmatchedRequest{Owner: "agents-team"}, 0},
	} {
		if got := listUnmatched(t, m, test.req); len(got) != test.want {
			t.Errorf("ListUnmatched(%v) = %v, want %d", test.req, got, test.want)
		}
	}
	stream, err := controlv1.NewCrossingServiceClient(m.operator()).ListCrossings(t.Context(), &controlv1.ListCrossingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetCause() != cause || h.Record.GetCause() != "" {
		t.Errorf("the record says %q, %v, want %q, and the shared one unchanged", r.GetCause(), err, cause)
	}
}

// What is stated is counted for its transition, and a chain that nobody answers is
// named with the transition's owner.
func TestTransitionsSayWhatIsStated(t *testing.T) {
	book := statements.NewBook() // not served: it is read as of the last frame
	m := published(t, func(c *Config) { c.Statements = book })
	here := newStater(m, onprem1, testRun)
	at := time.Now().Add(-time.Minute)
	chain := statement.Chain{Egress: onprem1, Ingress: azure1, Run: testRun}
	refused := statement.Chain{Egress: onprem1, Run: testRun}
	if ack, err := deliver(m, &controlv1.Batch{Frames: [][]byte{
		here.announce(), here.frame(&crossingv1.Frame{Statement: here.claim(chain, at)}), here.frame(&crossingv1.Frame{Statement: here.claim(refused, at)}),
	}}); err != nil || len(ack.GetRejected()) > 0 {
		t.Fatal(ack, err)
	}
	book.Serve(time.Now().Add(-time.Hour)) // since long ago
	resp, err := controlv1.NewCrossingServiceClient(m.operator()).ListTransitions(t.Context(), &controlv1.ListTransitionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := &controlv1.Statements{Count: 1, Last: timestamppb.New(at)}
	if diff := cmp.Diff(want, resp.GetTransitions()[1].GetStatements(), protocmp.Transform()); diff != "" {
		t.Errorf("statements from onprem to azure (-want +got):\n%s", diff)
	}
	if got := resp.GetTransitions()[0].GetStatements(); got != nil {
		t.Errorf("statements from azure to onprem: %v, want none", got)
	}
	s := crossings{config: Config{Statements: book, Records: m.records}, policies: m.server.policies}
	later := time.Now().Add(time.Hour)
	found := s.unmatched(later)
	if len(found) != 1 || found[0].GetKind() != controlv1.Finding_UNANSWERED || found[0].GetTransition().GetOwner() != "ml-platform" {
		t.Errorf("an hour later: %v, want it unanswered", found)
	}
	if got := s.stated(later)[join.Transition{From: "onprem", To: "azure"}]; got.GetSilent() == nil || got.GetDifferences() != 1 {
		t.Errorf("an hour later: %v, want it silent, and one difference", got)
	}
}

func TestGatewaysTellOfOutages(t *testing.T) {
	m := published(t, nil)
	m.records.outages = map[string]*crossingv1.Outage{azure1: {Cause: crossingv1.Outage_STALLED, Refused: 3}}
	all, err := controlv1.NewGatewayServiceClient(m.operator()).ListGateways(t.Context(), &controlv1.ListGatewaysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := all.GetGateways()[0].GetOutage(); got.GetRefused() != 3 {
		t.Errorf("the outage of %s is %v", all.GetGateways()[0].GetName(), got)
	}
	if got := all.GetGateways()[1].GetOutage(); got != nil {
		t.Errorf("%s, which had no outage, has %v", all.GetGateways()[1].GetName(), got)
	}
}
