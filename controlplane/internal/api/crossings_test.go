package api

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	onprem1 = "spiffe://onprem.demo" + gatewayPath1
	azure1  = "spiffe://azure.demo/sallyport/gateway/azure-1"
	testRun = "00112233445566778899aabbccddeeff"
)

// refusalFrame is a frame that a gateway may write at any time.
func refusalFrame(t *testing.T, gateway string, count uint64) []byte {
	t.Helper()
	data, err := crossing.MarshalFrame(&crossingv1.Frame{
		Gateway: gateway, Run: testRun,
		Refusal: &crossingv1.Refusal{
			Reason: crossingv1.Reason_NO_IDENTITY, Prefix: "127.1.0.0/24", Listener: "attach", Count: count,
			Second: timestamppb.New(time.Unix(1_795_000_000, 0)),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// stored are the frames in the store, in order.
func stored(m *mesh) [][]byte {
	m.t.Helper()
	var all [][]byte
	if err := m.store.Replay(m.t.Context(), time.Time{}, func(_ string, _ time.Time, frames [][]byte) error {
		all = append(all, frames...)
		return nil
	}); err != nil {
		m.t.Fatal(err)
	}
	return all
}

// deliver sends one batch on a stream of its own.
func deliver(m *mesh, batch *controlv1.Batch) (*controlv1.Ack, error) {
	m.t.Helper()
	stream, err := controlv1.NewCrossingServiceClient(m.gateway()).Deliver(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	if err := stream.Send(batch); err != nil && !errors.Is(err, io.EOF) {
		m.t.Fatal(err)
	}
	ack, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		m.t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		m.t.Errorf("the stream ends with %v, want %v", err, io.EOF)
	}
	return ack, nil
}

func TestDeliverIsDurableBeforeItIsAcknowledged(t *testing.T) {
	m := published(t, nil)
	batch := &controlv1.Batch{Frames: [][]byte{refusalFrame(t, onprem1, 1), refusalFrame(t, onprem1, 2)}, Through: 4711}
	ack, err := deliver(m, batch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&controlv1.Ack{Through: 4711}, ack, protocmp.Transform()); diff != "" {
		t.Errorf("Ack (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(batch.GetFrames(), stored(m)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if got := m.records.added(); got != 2 {
		t.Errorf("%d frames were joined, want 2", got)
	}
}

func TestDeliverResumesAfterARestart(t *testing.T) {
	m := published(t, nil)
	batch := &controlv1.Batch{Frames: [][]byte{refusalFrame(t, onprem1, 1)}, Through: 10}
	if _, err := deliver(m, batch); err != nil {
		t.Fatal(err)
	}
	m.stop()
	m.serve(nil)
	ack, err := deliver(m, batch) // its acknowledgement may have been lost
	if err != nil || ack.GetThrough() != 10 || len(ack.GetRejected()) != 0 {
		t.Errorf("Deliver() again = %v, %v, want it acknowledged", ack, err)
	}
}

func TestDeliverTakesManyBatchesInOrder(t *testing.T) {
	m := published(t, nil)
	stream, err := controlv1.NewCrossingServiceClient(m.gateway()).Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const batches = 40
	for i := range uint64(batches) {
		if err := stream.Send(&controlv1.Batch{Frames: [][]byte{refusalFrame(t, onprem1, i+1)}, Through: i + 1}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(batches) {
		ack, err := stream.Recv()
		if err != nil || ack.GetThrough() != i+1 {
			t.Fatalf("acknowledgement %d = %v, %v", i+1, ack, err)
		}
	}
	if got := len(stored(m)); got != batches {
		t.Errorf("%d frames stored, want %d", got, batches)
	}
}

func TestForgedFramesAreRejectedAndTheOthersKept(t *testing.T) {
	m := published(t, nil)
	good := refusalFrame(t, onprem1, 1)
	ack, err := deliver(m, &controlv1.Batch{
		Frames:  [][]byte{refusalFrame(t, azure1, 1), good, {0xff, 0xfe}, nil, make([]byte, 1<<20)},
		Through: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	var indexes []uint32
	for _, r := range ack.GetRejected() {
		indexes = append(indexes, r.GetIndex())
		if !strings.Contains(r.GetWhy(), onprem1) {
			t.Errorf("rejection %d says %q, which does not name the sender", r.GetIndex(), r.GetWhy())
		}
	}
	if diff := cmp.Diff([]uint32{0, 2, 3, 4}, indexes); diff != "" {
		t.Errorf("rejected (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]byte{good}, stored(m)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func TestContradictingFrameIsRejectedInText(t *testing.T) {
	m := published(t, nil)
	m.records.conflict = func(f *crossingv1.Frame) error {
		if f.GetRefusal().GetCount() == 1 {
			return errors.New("contradicts \xff" + strings.Repeat("é", maxWhy))
		}
		return nil
	}
	ack, err := deliver(m, &controlv1.Batch{Frames: [][]byte{refusalFrame(t, azure1, 3), refusalFrame(t, onprem1, 2), refusalFrame(t, onprem1, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ack.GetRejected()); n != 2 || ack.GetRejected()[1].GetIndex() != 2 {
		t.Fatalf("rejected %v, want frames 0 and 2", ack.GetRejected())
	}
	if n := len(ack.GetRejected()[1].GetWhy()); n > maxWhy {
		t.Errorf("the rejection has %d bytes, want at most %d", n, maxWhy)
	}
}

func TestMalformedBatches(t *testing.T) {
	m := published(t, nil)
	_, err := deliver(m, &controlv1.Batch{Frames: make([][]byte, maxBatch+1)})
	wantCode(t, "a batch of too many frames", err, codes.InvalidArgument)
	ack, err := deliver(m, &controlv1.Batch{Frames: [][]byte{make([]byte, 10<<20)}, Through: 1})
	if err != nil || len(ack.GetRejected()) != 1 {
		t.Errorf("a frame of 10 MB = %v, %v, want it rejected", ack, err)
	}
	_, err = deliver(m, &controlv1.Batch{Frames: [][]byte{make([]byte, 17<<20)}})
	wantCode(t, "a message of 17 MB", err, codes.ResourceExhausted)
	if ack, err = deliver(m, &controlv1.Batch{Through: 9}); err != nil || ack.GetThrough() != 9 {
		t.Errorf("an empty batch = %v, %v, want it acknowledged", ack, err)
	}
	if got := stored(m); len(got) != 0 {
		t.Errorf("%d malformed frames were stored", len(got))
	}
}

func TestDeliverIntoABrokenStore(t *testing.T) {
	m := published(t, nil)
	m.stop()
	m.serve(func(c *Config) { c.Store = brokenStore{c.Store} })
	_, err := deliver(m, &controlv1.Batch{Frames: [][]byte{refusalFrame(t, onprem1, 1)}, Through: 1})
	wantCode(t, "Deliver()", err, codes.Unavailable)
	if got := m.records.added(); got != 0 {
		t.Errorf("%d frames that are not durable were joined", got)
	}
}

func TestGatewayThatLeftThePolicyDeliversNoMore(t *testing.T) {
	m := published(t, nil)
	stream, err := controlv1.NewCrossingServiceClient(m.gateway()).Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&controlv1.Batch{Through: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	p := testPolicy()
	p.Environments["onprem"].Gateways = map[string]*policyv1.Gateway{"onprem-2": {Tunnel: "127.1.0.2:8441"}}
	_, manifest := m.server.Current()
	if _, err := m.publish(m.sign(p, 2, manifest.GetRevision())); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&controlv1.Batch{Frames: [][]byte{refusalFrame(t, onprem1, 1)}, Through: 2}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantCode(t, "Deliver() of a removed gateway", err, codes.PermissionDenied)
}

func TestListCrossings(t *testing.T) {
	m := published(t, nil)
	in := func(sink string, delivered bool) *crossingv1.Transition {
		return &crossingv1.Transition{From: "onprem", Sink: sink, Delivered: delivered}
	}
	m.records.records = []*crossingv1.Record{{Id: "1"}, {Id: "2", Transition: in("records", false)}, {Id: "3", Transition: in("siem", true)}}
	before := m.records.records[1]
	req := &controlv1.ListCrossingsRequest{From: "onprem", Trace: "t"}
	stream, err := controlv1.NewCrossingServiceClient(m.operator()).ListCrossings(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	got := all(t, stream)
	// What is shown is stored: it has landed in the store, and in no sink that a
	// gateway merely says it has.
	want := []*crossingv1.Record{{Id: "1"}, {Id: "2", Transition: in("records", true)}, {Id: "3", Transition: in("siem", false)}}
	if before.GetTransition().GetDelivered() {
		t.Error("a shared record was changed")
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("ListCrossings() (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(req, m.records.asked, protocmp.Transform()); diff != "" {
		t.Errorf("the filter (-sent +asked):\n%s", diff)
	}
	noTime := &controlv1.ListCrossingsRequest{Since: timestamppb.New(time.Unix(2, 0)), Until: timestamppb.New(time.Unix(1, 0))}
	if stream, err = controlv1.NewCrossingServiceClient(m.operator()).ListCrossings(t.Context(), noTime); err == nil {
		_, err = stream.Recv()
	}
	wantCode(t, "until before since", err, codes.InvalidArgument)
}

func TestListRefusals(t *testing.T) {
	m := published(t, nil)
	m.records.refusals = []*controlv1.GatewayRefusal{{Gateway: onprem1, Refusal: &crossingv1.Refusal{Count: 3}}}
	client := controlv1.NewCrossingServiceClient(m.operator())
	for _, since := range []time.Time{time.Unix(0, 0).UTC(), time.Unix(1_795_000_000, 0).UTC()} {
		req := &controlv1.ListRefusalsRequest{}
		if since.Unix() > 0 {
			req.Since = timestamppb.New(since)
		}
		stream, err := client.ListRefusals(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if diff := cmp.Diff(m.records.refusals[0], got, protocmp.Transform()); diff != "" || err != nil {
			t.Errorf("ListRefusals() %v (-want +got):\n%s", err, diff)
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("ListRefusals() ends with %v", err)
		}
		if !m.records.since.Equal(since) {
			t.Errorf("asked since %v, want %v", m.records.since, since)
		}
	}
}

func TestListTransitions(t *testing.T) {
	m := published(t, nil)
	m.records.counts = map[join.Transition]join.Counts{
		{From: "onprem", To: "azure"}: {Allowed: 7, Denied: 2, Unmatched: 1, Failed: 4},
		{From: "onprem", To: "gone"}:  {Denied: 3},
	}
	got, err := controlv1.NewCrossingServiceClient(m.operator()).ListTransitions(t.Context(), &controlv1.ListTransitionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := &controlv1.ListTransitionsResponse{Transitions: []*controlv1.TransitionStatus{
		{From: "azure", To: "onprem", SinceSerial: 1},
		{
			From: "onprem", To: "azure", Owner: "ml-platform", Sink: "records", ReviewBy: "2999-01-01", Open: true,
			Allowed: 7, Denied: 2, Unmatched: 1, Failed: 4, SinceSerial: 1,
		},
		{From: "onprem", To: "gone", Denied: 3, SinceSerial: 1},
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("ListTransitions() (-want +got):\n%s", diff)
	}
}

// TestSinceSerial: a transition has an owner since the policy that gave it to them last,
// whatever else changed after it; also after a restart.
func TestSinceSerial(t *testing.T) {
	m := newMesh(t, nil)
	owned := func(owner string) func(*policyv1.Policy) {
		return func(p *policyv1.Policy) { p.Transitions[0].Owner = owner }
	}
	shut := func(p *policyv1.Policy) { p.Transitions, p.Intents = nil, nil }
	for n, step := range []struct {
		change     func(*policyv1.Policy)
		there, not uint64
	}{
		{owned("ml-platform"), 1, 1},
		{owned("cloud"), 2, 1},
		{owned("ml-platform"), 3, 1},
		{func(p *policyv1.Policy) { p.Transitions[0].ReviewBy = "2999-06-01" }, 3, 1},
		{shut, 5, 1},
		{func(p *policyv1.Policy) { shut(p); p.Teams["more"] = &policyv1.Team{Contact: "more@demo"} }, 5, 1},
		{owned("ml-platform"), 7, 1},
	} {
		inForce(m, ownedPolicy(step.change))
		resp, err := controlv1.NewCrossingServiceClient(m.operator()).ListTransitions(t.Context(), &controlv1.ListTransitionsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		back, there := resp.GetTransitions()[0], resp.GetTransitions()[1]
		if there.GetSinceSerial() != step.there || back.GetSinceSerial() != step.not {
			t.Errorf("under policy %d %s ─► %s is so since %d, and the other one since %d; want %d and %d", n+1,
				there.GetFrom(), there.GetTo(), there.GetSinceSerial(), back.GetSinceSerial(), step.there, step.not)
		}
	}
}

func TestListTransitionsWithoutAPolicy(t *testing.T) {
	m := newMesh(t, nil)
	got, err := controlv1.NewCrossingServiceClient(m.operator()).ListTransitions(t.Context(), &controlv1.ListTransitionsRequest{})
	if err != nil || len(got.GetTransitions()) != 0 {
		t.Errorf("ListTransitions() = %v, %v, want none", got, err)
	}
}
