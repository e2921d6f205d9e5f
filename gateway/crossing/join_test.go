package crossing

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// accounts are those of a crossing that both gateways saw alike.
func accounts() (egress, ingress *Account) {
	return &Account{Open: egressHalf(), Close: closing(crossingv1.Side_EGRESS)},
		&Account{Open: ingressHalf(), Close: closing(crossingv1.Side_INGRESS)}
}

// denyAtIngress makes the crossing one that the ingress gateway refused.
func denyAtIngress(e, i *Account) {
	i.Open.End.Decision, i.Open.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_POLICY_MISMATCH
	i.Close.Cause, i.Close.Reason = crossingv1.Cause_REFUSED, crossingv1.Reason_POLICY_MISMATCH
	i.Open.Transition, i.Open.Operation = &crossingv1.Transition{To: "azure"}, nil
	e.Close.Cause, e.Close.Reason = crossingv1.Cause_REFUSED_BY_PEER, crossingv1.Reason_POLICY_MISMATCH
}

func TestJoinState(t *testing.T) {
	const (
		open     = crossingv1.Record_OPEN
		joined   = crossingv1.Record_JOINED
		denied   = crossingv1.Record_DENIED
		refused  = crossingv1.Record_REFUSED
		oneSided = crossingv1.Record_ONE_SIDED
		disagree = crossingv1.Record_DISAGREE
	)
	tests := []struct {
		name   string
		change func(e, i *Account)
		want   crossingv1.Record_State
		differ []string
	}{
		{"both closed", func(*Account, *Account) {}, joined, nil},
		{"neither closed", func(e, i *Account) { e.Close, i.Close = nil, nil }, open, nil},
		{"egress open", func(e, _ *Account) { e.Close = nil }, open, nil},
		{"ingress open", func(_, i *Account) { i.Close = nil }, open, nil},
		{"ingress missing, egress open", func(e, i *Account) { e.Close, *i = nil, Account{} }, open, nil},
		{"ingress missing", func(_, i *Account) { *i = Account{} }, oneSided, nil},
		{"egress missing", func(e, _ *Account) { *e = Account{} }, oneSided, nil},
		{"egress missing, ingress open", func(e, i *Account) { *e, i.Close = Account{}, nil }, open, nil},
		{"ingress opening missing", func(_, i *Account) { i.Open = nil }, oneSided, nil},
		{"refused at egress", func(e, i *Account) { *e, *i = Account{Open: refusedHalf()}, Account{} }, denied, nil},
		{"allowed at egress, and no way", func(e, i *Account) { *e, *i = Account{Open: unreachableHalf()}, Account{} }, refused, nil},
		{"refused at egress and let in", func(e, i *Account) { *e = Account{Open: refusedHalf()} }, disagree, []string{"evidence.pair", "evidence.sequence", "decision"}},
		{"denied at ingress", denyAtIngress, joined, nil},
		{"policies differ", func(_, i *Account) { i.Open.End.Policy.Serial, i.Open.End.Intent = 42, "another" }, joined, nil},
		{"durations differ", func(_, i *Account) { i.Close.Duration, i.Close.FirstByte = nil, nil }, joined, nil},
		{"waits differ", func(_, i *Account) { i.Close.Throttled = durationpb.New(1) }, joined, nil},
		{"an answer's class", func(_, i *Account) { i.Close.AnswerClass = "restricted" }, disagree, []string{"answerClass"}},
		{"an answer's class, stopped there", func(e, i *Account) {
			e.Close.Cause, i.Close.Cause, i.Close.AnswerClass = crossingv1.Cause_REFUSED_BY_PEER, crossingv1.Cause_REFUSED, "restricted"
		}, joined, nil},
		{"sinks differ", func(_, i *Account) { i.Open.Transition.Sink = "other" }, joined, nil},

		{"ids", func(_, i *Account) { i.Open.Id = NewID(openedAt().AsTime()) }, disagree, []string{"id"}},
		{"pairs", func(_, i *Account) { i.Open.Key.Egress += "0" }, disagree, []string{"evidence.pair"}},
		{"runs", func(_, i *Account) { i.Open.Key.Run = ingressRun }, disagree, []string{"evidence.run"}},
		{"sequences", func(_, i *Account) { i.Open.Key.Sequence++ }, disagree, []string{"evidence.sequence"}},
		{"sources", func(_, i *Account) { i.Open.Source += "0" }, disagree, []string{"source"}},
		{"destinations", func(_, i *Account) { i.Open.Destination += "0" }, disagree, []string{"destination"}},
		{"traces", func(_, i *Account) { i.Open.Trace = egressRun }, disagree, []string{"trace"}},
		{"from", func(_, i *Account) { i.Open.Transition.From = "aws" }, disagree, []string{"transition.from"}},
		{"to", func(_, i *Account) { i.Open.Transition.To = "aws" }, disagree, []string{"transition.to"}},
		{"owners", func(_, i *Account) { i.Open.Transition.Owner = "nobody" }, disagree, []string{"transition.owner"}},
		{"services", func(_, i *Account) { i.Open.Operation.Service = "admin" }, disagree, []string{"operation.service"}},
		{"operations", func(_, i *Account) { i.Open.Operation.Name = "DELETE /" }, disagree, []string{"operation.name"}},
		{"authorities", func(_, i *Account) { i.Open.Operation.Authority = "llm.azure.mesh:8001" }, disagree, []string{"operation.authority"}},
		{"request bytes", func(_, i *Account) { i.Close.RequestBytes++ }, disagree, []string{"requestBytes"}},
		{"response bytes", func(_, i *Account) { i.Close.ResponseBytes++ }, disagree, []string{"responseBytes"}},
		{"statuses", func(_, i *Account) { i.Close.Status = 500 }, disagree, []string{"status"}},
		{"proofs", func(e, i *Account) { e.Open.End.Proof, i.Open.End.Proof = revision("5"), revision("6") }, disagree, []string{"proof"}},
		{"one proof", func(e, _ *Account) { e.Open.End.Proof = revision("5") }, joined, nil},
		{"all counts", func(_, i *Account) { i.Close.RequestBytes, i.Close.ResponseBytes, i.Close.Status = 0, 0, 0 }, disagree, []string{"requestBytes", "responseBytes", "status"}},
		{"denied at ingress and answered at egress", func(e, i *Account) {
			denyAtIngress(e, i)
			e.Close.Cause, e.Close.Reason = crossingv1.Cause_DONE, 0
		}, disagree, []string{"decision"}},
		{"answered at ingress and refused at egress", func(e, _ *Account) { e.Close.Cause = crossingv1.Cause_REFUSED_BY_PEER }, disagree, []string{"close"}},
		{"answered at egress alone", func(_, i *Account) { i.Close.Cause = crossingv1.Cause_DESTINATION_FAILED }, disagree, []string{"close"}},

		{"destination failed", func(e, i *Account) {
			i.Close.Cause, e.Close.Cause = crossingv1.Cause_DESTINATION_FAILED, crossingv1.Cause_REFUSED_BY_PEER
			i.Close.ResponseBytes = 0
		}, joined, nil},
		{"caller gone", func(e, i *Account) {
			e.Close.Cause, e.Close.ResponseBytes = crossingv1.Cause_CALLER_GONE, 12
		}, joined, nil},
		{"caller gone before the refusal came", func(e, i *Account) {
			denyAtIngress(e, i)
			e.Close.Cause, e.Close.Reason = crossingv1.Cause_CALLER_GONE, 0
		}, joined, nil},
		{"refused in the middle, before the refusal came", func(e, i *Account) {
			denyAtIngress(e, i)
			e.Close.Cause, e.Close.Reason = crossingv1.Cause_REFUSED, crossingv1.Reason_DISAGREES
		}, joined, nil},
		{"ingress gateway killed", func(e, i *Account) {
			i.Close = &crossingv1.Close{Id: crossingID, Key: key(), Side: crossingv1.Side_INGRESS, Cause: crossingv1.Cause_GATEWAY_STOPPED}
		}, joined, nil},
		{"egress gateway killed", func(e, _ *Account) {
			e.Close = &crossingv1.Close{Id: crossingID, Key: key(), Side: crossingv1.Side_EGRESS, Cause: crossingv1.Cause_GATEWAY_STOPPED}
		}, joined, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, i := accounts()
			tt.change(e, i)
			r := Join(e, i)
			if r.GetState() != tt.want || !cmp.Equal(r.GetDifferences(), tt.differ) {
				t.Errorf("Join is %s %q, want %s %q", r.GetState(), r.GetDifferences(), tt.want, tt.differ)
			}
			if there := r.Agree != nil; r.GetAgree() != (tt.want == joined) || there != (tt.want == joined || r.GetState() == crossingv1.Record_DISAGREE) {
				t.Errorf("agree is %v in state %s", r.Agree, r.GetState())
			}
		})
	}
}

// TestJoinShowsADenialAtIngress: the record of a crossing that one gateway let
// out and the other refused says both, and why, at the gateway that refused.
func TestJoinShowsADenialAtIngress(t *testing.T) {
	e, i := accounts()
	denyAtIngress(e, i)
	r := Join(e, i)
	if r.GetEgress().GetDecision() != crossingv1.Decision_ALLOW || r.GetEgress().GetClose() != crossingv1.Cause_REFUSED_BY_PEER {
		t.Errorf("egress is %v", r.GetEgress())
	}
	if r.GetIngress().GetDecision() != crossingv1.Decision_DENY || r.GetIngress().GetReason() != crossingv1.Reason_POLICY_MISMATCH {
		t.Errorf("ingress is %v", r.GetIngress())
	}
	if r.GetTransition().GetOwner() != "ml-platform" {
		t.Errorf("owner is %q", r.GetTransition().GetOwner())
	}
}

// TestJoinShowsWhatTheDestinationSaid, and how often it was tried: neither is
// compared.
func TestJoinShowsWhatTheDestinationSaid(t *testing.T) {
	e, i := &Account{Open: egressHalf(), Close: closing(crossingv1.Side_EGRESS)}, &Account{Open: ingressHalf(), Close: closing(crossingv1.Side_INGRESS)}
	e.Close.Status, e.Close.Message = 5, "no such model"
	i.Close.Status, i.Close.Tries = 5, 3
	r := Join(e, i)
	if r.GetEgress().GetMessage() != "no such model" || r.GetEgress().GetTries() != 0 || r.GetIngress().GetMessage() != "" || r.GetIngress().GetTries() != 3 {
		t.Errorf("record %v", r)
	}
	if !r.GetAgree() {
		t.Errorf("the halves differ in %v", r.GetDifferences())
	}
}

// TestJoinShowsWhyItEnded: an end that has a detail says it in the record.
func TestJoinShowsWhyItEnded(t *testing.T) {
	e, i := accounts()
	e.Open.End.Detail, e.Close.Detail = "at first", "at last"
	i.Open.End.Detail = "at first"
	if r := Join(e, i); r.GetEgress().GetDetail() != "at last" || r.GetIngress().GetDetail() != "at first" {
		t.Errorf("details %q and %q", r.GetEgress().GetDetail(), r.GetIngress().GetDetail())
	}
}

// TestJoinShowsWhatCarried: where a crossing moved, the end says where to.
func TestJoinShowsWhatCarried(t *testing.T) {
	e, i := accounts()
	e.Close.Tunnel = &crossingv1.Tunnel{Carrier: "QUIC"}
	for _, ingress := range []*Account{i, nil} {
		if got := Join(e, ingress).GetTunnel().GetCarrier(); got != "QUIC" {
			t.Errorf("the record says it was carried by %s", got)
		}
	}
	e.Open = nil
	if got := Join(e, i).GetTunnel().GetCarrier(); got != "QUIC" {
		t.Errorf("without the opening, the record says it was carried by %s", got)
	}
}

func TestJoinOfNothing(t *testing.T) {
	want := &crossingv1.Record{Schema: Schema}
	for _, a := range []*Account{nil, {}, {Close: closing(crossingv1.Side_EGRESS)}} {
		if got := Join(a, a); !proto.Equal(got, want) {
			t.Errorf("Join(%v) = %v, want %v", a, got, want)
		}
	}
}

// TestJoinSharesNothing: a record may be changed and handed on while its halves
// are joined again.
func TestJoinSharesNothing(t *testing.T) {
	e, i := accounts()
	want := proto.CloneOf(Join(e, i))
	r := Join(e, i)
	r.Transition.Delivered, r.Operation.Name, r.Tunnel.Carrier = true, "changed", "changed"
	r.Egress.Policy.Serial, r.Egress.Duration.Seconds, r.Ingress.Peer.Svid = 1, 99, "changed"
	r.Ingress.Open.Seconds, r.Ingress.FirstByte.Seconds, r.Evidence.Run = 0, 99, "changed"
	if d := cmp.Diff(want, Join(e, i), protocmp.Transform()); d != "" {
		t.Errorf("changing a record changed its halves:\n%s", d)
	}
}

// anyAccount is an account of any kind: missing, open, refused, closed, alike
// or not.
func anyAccount(t *rapid.T, name string, side crossingv1.Side) *Account {
	a := &Account{Open: egressHalf(), Close: closing(side)}
	if side == crossingv1.Side_INGRESS {
		a.Open = ingressHalf()
	}
	text := rapid.SampledFrom([]string{"", "a", "b"})
	a.Open.Destination += text.Draw(t, name+" destination")
	a.Open.Transition.Owner += text.Draw(t, name+" owner")
	a.Close.Status = rapid.SampledFrom([]uint32{200, 403}).Draw(t, name+" status")
	a.Close.Cause = crossingv1.Cause(rapid.Int32Range(1, 8).Draw(t, name+" cause"))
	a.Open.End.Decision = crossingv1.Decision(rapid.Int32Range(1, 2).Draw(t, name+" decision"))
	if rapid.Bool().Draw(t, name+" has come on") {
		a.Progress = &crossingv1.Progress{
			Id: a.Open.GetId(), Key: a.Open.GetKey(), Side: side, At: a.Open.GetEnd().GetOpen(),
			RequestBytes: rapid.Uint64Range(0, 3).Draw(t, name+" sent so far"), ResponseBytes: rapid.Uint64Range(0, 3).Draw(t, name+" got so far"),
		}
	}
	switch rapid.IntRange(0, 5).Draw(t, name+" has") {
	case 0:
		a.Close = nil
	case 1:
		a.Open = nil
	case 2:
		if side == crossingv1.Side_EGRESS {
			a.Open, a.Progress, a.Close = rapid.SampledFrom([]*crossingv1.Half{refusedHalf(), unreachableHalf()}).Draw(t, name+" kept"), nil, nil
		}
	case 3:
		return nil
	}
	return a
}

// TestLateHalvesMend: what was one-sided or open is so no longer when the rest
// comes, as if it had come in time.
func TestLateHalvesMend(t *testing.T) {
	e, i := accounts()
	want := Join(e, i)
	for _, early := range [][2]*Account{
		{e, nil}, {nil, i}, {e, {}}, {{}, i}, {{Open: e.Open}, i}, {e, {Open: i.Open}}, {{Close: e.Close}, i}, {e, {Close: i.Close}},
	} {
		before := Join(early[0], early[1])
		if s := before.GetState(); s != crossingv1.Record_ONE_SIDED && s != crossingv1.Record_OPEN {
			t.Errorf("before the rest came, the record was %s", s)
		}
	}
	if got := Join(e, i); !proto.Equal(got, want) || got.GetState() != crossingv1.Record_JOINED {
		t.Errorf("mended record %v, want %v", got, want)
	}
}

// TestEveryCause: a crossing that ended for any cause at each end gives a
// record, and the ends' causes are in it.
func TestEveryCause(t *testing.T) {
	for ec := crossingv1.Cause_DONE; ec <= crossingv1.Cause_PROTOCOL_ERROR; ec++ {
		for ic := crossingv1.Cause_DONE; ic <= crossingv1.Cause_PROTOCOL_ERROR; ic++ {
			e, i := accounts()
			e.Close.Cause, i.Close.Cause = ec, ic
			r := Join(e, i)
			if r.GetEgress().GetClose() != ec || r.GetIngress().GetClose() != ic {
				t.Errorf("causes %s and %s read %s and %s", ec, ic, r.GetEgress().GetClose(), r.GetIngress().GetClose())
			}
			// The answer that one end had whole, the other must have given, or may have.
			want := crossingv1.Record_JOINED
			switch {
			case ec == crossingv1.Cause_REFUSED_BY_PEER && ic == crossingv1.Cause_DONE,
				ec == crossingv1.Cause_DONE && ic != crossingv1.Cause_DONE &&
					ic != crossingv1.Cause_PEER_LOST && ic != crossingv1.Cause_GATEWAY_STOPPED:
				want = crossingv1.Record_DISAGREE
			}
			if r.GetState() != want {
				t.Errorf("causes %s and %s give %s, want %s", ec, ic, r.GetState(), want)
			}
		}
	}
}

// TestJoinShowsHowFar: while it is open, its ends say what has passed so far.
func TestJoinShowsHowFar(t *testing.T) {
	e, i := accounts()
	e.Further(&crossingv1.Progress{RequestBytes: 1, ResponseBytes: 2})
	for _, state := range []struct {
		close *crossingv1.Close
		want  [2]uint64
	}{{nil, [2]uint64{1, 2}}, {e.Close, [2]uint64{e.Close.GetRequestBytes(), e.Close.GetResponseBytes()}}} {
		e.Close = state.close
		r := Join(e, i)
		if got := [2]uint64{r.GetEgress().GetRequestBytes(), r.GetEgress().GetResponseBytes()}; got != state.want {
			t.Errorf("in state %s %d bytes have passed, want %d", r.GetState(), got, state.want)
		}
	}
}

// frames are an account's pieces as they arrive.
func (a *Account) frames(into *Account) []func() {
	var f []func()
	if a != nil && a.Open != nil {
		f = append(f, func() { into.Open = a.Open })
	}
	if a != nil && a.Progress != nil {
		earlier := proto.CloneOf(a.Progress)
		earlier.At.Seconds--
		f = append(f, func() { into.Further(a.Progress) }, func() { into.Further(earlier) })
	}
	if a != nil && a.Close != nil {
		f = append(f, func() { into.Close = a.Close })
	}
	return f
}

// cloneAll is what the accounts say now.
func cloneAll(accounts ...*Account) []Account {
	var all []Account
	for _, a := range accounts {
		if a != nil {
			all = append(all, Account{proto.CloneOf(a.Open), proto.CloneOf(a.Progress), proto.CloneOf(a.Close)})
		}
	}
	return all
}

// TestJoinIsAFunctionOfWhatIsKnown: in whatever order the pieces come and how
// often, the last record is the same.
func TestJoinIsAFunctionOfWhatIsKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, i := anyAccount(t, "egress", crossingv1.Side_EGRESS), anyAccount(t, "ingress", crossingv1.Side_INGRESS)
		before := cloneAll(e, i)
		want := Join(e, i)
		if d := cmp.Diff(before, cloneAll(e, i), protocmp.Transform()); d != "" {
			t.Fatalf("joining changed the halves:\n%s", d)
		}
		gotE, gotI := new(Account), new(Account)
		pieces := append(e.frames(gotE), i.frames(gotI)...)
		pieces = append(pieces, pieces...)
		for _, piece := range rapid.Permutation(pieces).Draw(t, "order") {
			piece()
			Join(gotE, gotI)
		}
		got := Join(gotE, gotI)
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Fatalf("joined piece by piece (-at once +piece by piece):\n%s", d)
		}
		checkRecord(t, got)
	})
}

// checkRecord holds what is true of every record.
func checkRecord(t *rapid.T, r *crossingv1.Record) {
	if r.GetId() == "" {
		return // there was no opening
	}
	two := r.GetEgress() != nil && r.GetIngress() != nil
	switch r.GetState() {
	case crossingv1.Record_JOINED, crossingv1.Record_DISAGREE:
		if !two || r.GetAgree() != (len(r.GetDifferences()) == 0) {
			t.Fatalf("record %v", r)
		}
	case crossingv1.Record_DENIED, crossingv1.Record_REFUSED, crossingv1.Record_ONE_SIDED:
		if two || r.Agree != nil {
			t.Fatalf("record %v", r)
		}
	case crossingv1.Record_OPEN:
		if r.Agree != nil || len(r.GetDifferences()) > 0 {
			t.Fatalf("record %v", r)
		}
	default:
		t.Fatalf("record without a state: %v", r)
	}
}

func BenchmarkJoin(b *testing.B) {
	e, i := accounts()
	b.ReportAllocs()
	for b.Loop() {
		Join(e, i)
	}
}
