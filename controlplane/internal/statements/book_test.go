package statements

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// What is stated and delivered alike leaves nothing to find, whatever came first.
func TestNothingIsFoundWhereAllIsWell(t *testing.T) {
	d := announced(t)
	d.bothOpen(1, 2, 3)
	d.bothEnd(1)
	d.state(4, nil, []uint64{1})
	d.want("frames before the statement")
	claim := d.claim(6, []uint64{4}, []uint64{2, 3})
	whole := d.answer()
	d.deliver(stated(d.i, whole), stated(d.e, claim))
	d.bothEnd(3, 2)
	d.bothOpen(5)
	d.deliver(stated(d.e, whole))
	d.want("the statement before the frames")
	d.state(6, nil, []uint64{5})
	d.bothEnd(5)
	d.pass(2 * Late)
	d.want("long after")
	c := d.book.chains[statement.Chain{Egress: d.e.id, Ingress: d.i.id, Run: d.e.run}]
	for s := range sides {
		if n := len(c.openings[s].leaves) + len(c.ends[s].leaves); n > 0 {
			t.Errorf("%d hashes are kept although all was stated", n)
		}
	}
	if len(c.waits) > 0 {
		t.Errorf("%d epochs wait although all has come", len(c.waits))
	}
}

// A long stream's end is put off, and stated again.
func TestAnEndThatIsPutOff(t *testing.T) {
	d := announced(t)
	d.bothOpen(1, 2)
	d.deliver(d.ending(d.e, 1), d.ending(d.e, 2), d.ending(d.i, 2))
	d.deliver(stated(d.e, d.claim(3, nil, []uint64{1, 2})))
	whole := d.answer(func(a *crossingv1.Answer) {
		a.Deferred = []uint64{1}
		a.Roots = d.roots(d.i, 1, 3, []uint64{1, 2}, nil, []uint64{1})
	})
	d.deliver(stated(d.e, whole), stated(d.i, whole))
	d.pass(2 * Late)
	d.want("while it goes on at ingress")
	d.deliver(d.ending(d.i, 1))
	d.state(3, nil, []uint64{1})
	d.pass(2 * Late)
	d.want("when it has ended there too")
}

// A frame whose statement came and that never came itself is lost, a minute after it
// should have been here; one that comes late mends that.
func TestLost(t *testing.T) {
	d := announced(t)
	d.bothOpen(1, 2)
	d.deliver(d.ending(d.e, 1))
	d.state(3, nil, []uint64{1})
	d.want("at once")
	d.pass(Late)
	d.want("a minute later", "LOST azure-1 epoch 1 number 1")
	d.deliver(d.ending(d.i, 1))
	d.want("when it came after all")

	d.deliver(d.opening(d.e, 3))
	d.state(5, nil, nil)
	d.pass(Late)
	d.want("openings, both ends' or one's", "LOST onprem-1 epoch 2 number 4", "LOST azure-1 epoch 2 number 3", "LOST azure-1 epoch 2 number 4")
}

// A gateway that does not deliver has not lost anything, as far as is known.
func TestNotDeliveredIsNotLost(t *testing.T) {
	d := announced(t)
	d.deliver(d.opening(d.e, 1))
	d.deliver(stated(d.e, d.claim(2, nil, nil)), stated(d.e, d.answer()))
	for range 30 {
		d.now = d.now.Add(10 * time.Second)
		d.deliver(d.heartbeat(d.e, d.standing()))
	}
	d.want("while azure-1 delivers nothing", "SILENT azure-1 epoch 1 number 1")
	// It comes back: what it writes now comes behind what it has kept.
	d.deliver(d.heartbeat(d.i))
	d.want("when it is back")
	d.pass(Late)
	d.want("a minute after it is back", "LOST azure-1 epoch 1 number 1")
	d.deliver(d.opening(d.i, 1), stated(d.i, d.last))
	d.want("when it has delivered")
}

// What one gateway delivers otherwise than it states is named, with the gateway and
// the epoch.
func TestAltered(t *testing.T) {
	d := announced(t)
	d.bothOpen(1)
	changed := d.opening(d.i, 2)
	changed.Open.Source = "spiffe://onprem.demo/ai/somebody-else"
	d.deliver(d.opening(d.e, 2), changed)
	d.state(3, nil, nil)
	d.want("an opening", "ALTERED azure-1 epoch 1 number 0")
	end := d.ending(d.e, 1)
	end.Close.ResponseBytes = 1
	d.deliver(end, d.ending(d.i, 1))
	d.state(3, nil, []uint64{1})
	d.pass(2 * Late)
	d.want("an end", "ALTERED azure-1 epoch 1 number 0", "ALTERED onprem-1 epoch 2 number 0")
}

// The same content in another encoding is another frame than the one that was stated.
func TestAnotherEncodingIsAltered(t *testing.T) {
	d := announced(t)
	d.deliver(d.opening(d.e, 1))
	f := d.opening(d.i, 1)
	data := append(encoded(t, &crossingv1.Frame{Open: f.GetOpen()}), encoded(t, &crossingv1.Frame{Gateway: f.GetGateway(), Run: f.GetRun()})...)
	if err := d.tryBytes(data, d.i.id); err != nil {
		t.Fatal(err)
	}
	d.state(2, nil, nil)
	d.want("", "ALTERED azure-1 epoch 1 number 0")
}

// What is said to have never been, and is delivered, is named.
func TestUnstated(t *testing.T) {
	d := announced(t)
	d.bothOpen(1)
	d.state(3, []uint64{2}, nil)
	d.deliver(d.opening(d.e, 2))
	d.want("a void that was delivered", "UNSTATED onprem-1 epoch 0 number 2")
	d.bothEnd(1)
	d.deliver(stated(d.e, d.claim(3, nil, nil, func(c *crossingv1.Claim) { c.Final = true })), stated(d.e, d.answer()))
	d.want("what the last statement leaves out", "UNSTATED onprem-1 epoch 0 number 1", "UNSTATED onprem-1 epoch 0 number 2", "UNSTATED azure-1 epoch 0 number 1")
}

// What both gateways have signed that they differ in is named by kind and number.
func TestDifferences(t *testing.T) {
	d := announced(t)
	d.bothOpen(1)
	d.deliver(d.opening(d.e, 2), d.opening(d.e, 3), d.ending(d.e, 2))
	claim := d.claim(4, nil, []uint64{2})
	whole := d.answer(func(a *crossingv1.Answer) {
		a.Roots = d.roots(d.i, 1, 4, []uint64{2}, []uint64{2, 3}, []uint64{2})
		a.Differences = []*crossingv1.Difference{
			{Kind: crossingv1.Difference_UNSEEN, Numbers: []uint64{2}},
			{Kind: crossingv1.Difference_UNRECORDED, Numbers: []uint64{3}},
			{Kind: crossingv1.Difference_DENIED, Numbers: []uint64{1}},
		}
	})
	d.deliver(stated(d.e, claim), stated(d.e, whole), stated(d.i, whole))
	d.pass(2 * Late)
	want := []string{"DIFFERENCE  epoch 1 number 2 UNSEEN", "DIFFERENCE  epoch 1 number 3 UNRECORDED"}
	d.want("openings that never came", want...)
	// Its end is stated later, and the ingress gateway still has none of it.
	d.deliver(d.ending(d.e, 3))
	claim = d.claim(4, nil, []uint64{3})
	whole = d.answer(func(a *crossingv1.Answer) { a.Roots = d.roots(d.i, 4, 4, []uint64{3}, nil, []uint64{3}) })
	d.deliver(stated(d.e, claim), stated(d.i, whole))
	d.pass(2 * Late)
	d.want("the end of one that never came", want...)
}

// A kind of difference that is added needs words, or it would be told without.
func TestEveryDifferenceHasWords(t *testing.T) {
	c := newChain(statement.Chain{Egress: "spiffe://a/sallyport/gateway/a-1", Ingress: "spiffe://b/sallyport/gateway/b-1"}, noon)
	for n, name := range crossingv1.Difference_Kind_name {
		if words := c.words(crossingv1.Difference_Kind(n)); n > 0 && statement.Faulty(crossingv1.Difference_Kind(n)) && strings.Contains(words, "not known here") {
			t.Errorf("%s has no words", name)
		}
	}
}

func TestForked(t *testing.T) {
	d := announced(t)
	d.bothOpen(1, 2)
	d.state(2, nil, nil)
	last, epoch, next := d.last, d.epoch, d.next
	other := d.claim(3, nil, nil)
	d.last, d.epoch, d.next = last, epoch, next
	d.deliver(stated(d.e, other))
	d.now = d.now.Add(time.Second)
	d.state(3, nil, nil)
	d.want("two claims of epoch 2", "FORKED  epoch 2 number 0")
	d.deliver(stated(d.e, other))
	d.state(3, nil, nil)
	d.pass(2 * Late)
	d.want("the same again", "FORKED  epoch 2 number 0")
}

// A fork shows however late it comes.
func TestForkedLongAgo(t *testing.T) {
	d := announced(t)
	other := d.claim(1, nil, nil, func(c *crossingv1.Claim) { c.Open = 1 })
	d.epoch, d.last = 0, nil
	for range followed + 10 {
		d.state(1, nil, nil)
	}
	c := d.book.chains[statement.Chain{Egress: d.e.id, Ingress: d.i.id, Run: d.e.run}]
	d.want("before")
	d.deliver(stated(d.e, other), stated(d.e, other))
	d.want("and after", "FORKED  epoch 1 number 0")
	if c.floor() != 10 {
		t.Errorf("the first epoch that is followed is %d", c.floor())
	}
}

func TestTwoAnswers(t *testing.T) {
	d := announced(t)
	d.bothOpen(1)
	claim := d.claim(2, nil, nil)
	one := d.answer()
	d.now = d.now.Add(time.Second)
	two := d.answer()
	d.deliver(stated(d.e, claim), stated(d.e, one), stated(d.i, two))
	d.want("", "FORKED  epoch 1 number 0")
}

func TestBroken(t *testing.T) {
	for name, change := range map[string]func(*crossingv1.Claim){
		"another claim before it": func(c *crossingv1.Claim) { c.Previous = slices.Repeat([]byte{7}, 32) },
		"a gap of numbers":        func(c *crossingv1.Claim) { c.First++; c.Next++ },
		"numbers again":           func(c *crossingv1.Claim) { c.First-- },
	} {
		t.Run(name, func(t *testing.T) {
			d := announced(t)
			d.bothOpen(1, 2)
			d.state(3, nil, nil)
			d.deliver(stated(d.e, d.claim(3, nil, nil, change)))
			if got := d.found(); !slices.Contains(got, "BROKEN onprem-1 epoch 2 number 0") {
				t.Errorf("found %q", got)
			}
		})
	}
}

func TestRolledBack(t *testing.T) {
	d := announced(t)
	d.state(1, nil, nil)
	d.deliver(stated(d.e, d.claim(1, nil, nil, func(c *crossingv1.Claim) { c.Resumed = true })))
	d.deliver(stated(d.i, d.answer(func(a *crossingv1.Answer) { a.Forgot = true })))
	d.want("", "ROLLED_BACK onprem-1 epoch 2 number 0", "ROLLED_BACK azure-1 epoch 2 number 0")
}

func TestGap(t *testing.T) {
	d := announced(t)
	d.bothOpen(1, 2, 3)
	d.state(2, nil, nil)
	lost := d.claim(3, nil, nil)
	d.now = d.now.Add(time.Second)
	claim := d.claim(4, nil, nil)
	whole := d.answer(func(a *crossingv1.Answer) { a.Missed = 1 })
	d.deliver(stated(d.e, claim), stated(d.e, whole), stated(d.i, whole))
	d.want("at once")
	d.pass(Late)
	d.want("a minute later", "GAP onprem-1 epoch 2 number 0")
	d.deliver(stated(d.e, lost))
	d.want("when it came")
}

// The frames of a claim may be in the spool of another run than the claim, and come after
// it and its answer: what that puts off is put off all the same.
func TestPutOffBeforeFramesCome(t *testing.T) {
	d := announced(t)
	d.bothOpen(1, 2)
	claim := d.claim(3, nil, []uint64{1, 2})
	whole := d.answer(func(a *crossingv1.Answer) {
		a.Deferred = distances([]uint64{2}, 0)
		a.Roots = d.roots(d.i, 1, 3, []uint64{1, 2}, nil, []uint64{2})
	})
	d.deliver(stated(d.e, claim), stated(d.e, whole), stated(d.i, whole))
	d.bothEnd(1)
	d.state(3, nil, []uint64{2})
	d.bothEnd(2)
	d.pass(2 * Late)
	d.want("")
}

// The answers of one chain may be in the spools of several runs, and come in any order:
// what a later one says is held against the frames as if they had come in theirs.
func TestAnswersOutOfOrder(t *testing.T) {
	for name, change := range map[string]func(f *crossingv1.Frame){
		"":                         func(*crossingv1.Frame) {},
		"ALTERED azure-1 epoch 2 ": func(f *crossingv1.Frame) { f.Close.ResponseBytes = 1 },
	} {
		d := announced(t)
		d.bothOpen(1)
		d.deliver(d.opening(d.e, 2), d.ending(d.e, 1), d.ending(d.e, 2))
		d.claim(3, nil, nil)
		first := d.answer(func(a *crossingv1.Answer) {
			a.Roots = d.roots(d.i, 1, 3, nil, []uint64{2}, nil)
			a.Differences = []*crossingv1.Difference{{Kind: crossingv1.Difference_UNSEEN, Numbers: []uint64{2}}}
		})
		d.claim(3, nil, []uint64{1, 2})
		second := d.answer(func(a *crossingv1.Answer) { a.Roots = d.roots(d.i, 3, 3, []uint64{1, 2}, nil, []uint64{2}) })
		d.deliver(stated(d.e, second), stated(d.i, second))
		end := d.ending(d.i, 1)
		change(end)
		d.deliver(end)
		d.want("the second answer alone")
		d.pass(2 * Late)
		d.want("the first one missing", "GAP onprem-1 epoch 1 number 0")
		bare := &crossingv1.Statement{Claim: first.GetClaim(), Egress: first.GetEgress()}
		d.deliver(stated(d.e, bare))
		d.want("its claim alone", "LOST azure-1 epoch 1 number 0")
		d.deliver(stated(d.i, first))
		want := []string{"DIFFERENCE  epoch 1 number 2 UNSEEN"}
		if name != "" {
			want = append(want, name+"number 0")
		}
		d.want("both", want...)
	}
}

// An epoch that only heartbeats speak of is missing, too.
func TestGapAtTheEnd(t *testing.T) {
	d := announced(t)
	d.bothOpen(1)
	d.state(2, nil, nil)
	lost := d.claim(2, nil, nil)
	d.pass(10 * time.Second)
	d.want("when it is named")
	d.pass(Late)
	d.want("a minute later", "GAP onprem-1 epoch 2 number 1")
	d.deliver(stated(d.e, lost))
	d.want("when it came")
}

func TestSilent(t *testing.T) {
	d := announced(t)
	d.bothOpen(1, 2)
	d.state(3, nil, nil)
	d.pass(time.Minute)
	d.want("with heartbeats")
	since := d.now
	d.now = since.Add(Silence)
	d.want("after two heartbeats")
	d.now = since.Add(Silence + time.Second)
	d.want("after more", "SILENT onprem-1 epoch 1 number 2")
	if f := d.book.Findings(d.now)[0]; !f.GetUncertain() || !f.GetSince().AsTime().Equal(since) {
		t.Errorf("it is silent since %s, uncertain %t; want %s", f.GetSince().AsTime(), f.GetUncertain(), since)
	}
	d.deliver(d.heartbeat(d.e, d.standing()))
	d.want("of one alone", "SILENT azure-1 epoch 1 number 2")
	d.deliver(d.heartbeat(d.i, d.standing()))
	d.want("when both are back")

	st := d.standing()
	st.Silent = timestamppb.New(since)
	d.deliver(d.heartbeat(d.e, st))
	d.want("that the other one tells of", "SILENT azure-1 epoch 1 number 2")
	d.beat()
	d.want("and no more")
}

// A gateway that heartbeats and leaves one chain out is silent on that.
func TestSilentOnOneChain(t *testing.T) {
	d := announced(t)
	d.bothOpen(1)
	for range 4 {
		d.now = d.now.Add(10 * time.Second)
		d.deliver(d.heartbeat(d.e), d.heartbeat(d.i))
	}
	d.want("", "SILENT onprem-1 epoch 0 number 0")
}

// A run that has ended is not silent; one whose last claim nobody answered is named.
func TestOver(t *testing.T) {
	d := announced(t)
	d.state(1, nil, nil)
	d.deliver(stated(d.e, d.claim(1, nil, nil, func(c *crossingv1.Claim) { c.Final = true })))
	d.now = d.now.Add(time.Hour)
	d.want("unanswered", "UNANSWERED azure-1 epoch 2 number 0")
	d.deliver(stated(d.i, d.answer()))
	d.want("answered")
	if all := d.book.Chains(d.now); len(all) != 1 || !all[0].Over || all[0].Epochs != 2 || !all[0].Silent.IsZero() {
		t.Errorf("Chains() = %+v", all)
	}
}

// A control plane that was away has heard nobody, and blames nobody for it; one that
// is stopped is read as of the last that it heard.
func TestAsOf(t *testing.T) {
	d := announced(t)
	d.bothOpen(1)
	d.state(2, nil, nil)
	d.now = d.now.Add(time.Hour)
	d.book.Serve(d.now)
	d.want("just started")
	d.now = d.now.Add(Silence + time.Second)
	d.want("and two heartbeats later", "SILENT onprem-1 epoch 1 number 1")
	d.book.Serve(time.Time{})
	d.want("stopped")
	if got := d.book.AsOf(d.now); !got.Equal(noon) {
		t.Errorf("AsOf() = %s, want %s", got, noon)
	}
}

// A statement whose key comes later is held until then, its claim sooner than its
// answer; one whose key never comes is unproven.
func TestHeld(t *testing.T) {
	d := newDuo(t)
	d.bothOpen(1)
	claim := d.claim(2, nil, nil)
	whole := d.answer()
	d.deliver(stated(d.e, claim), stated(d.e, whole), stated(d.e, whole))
	d.now = d.now.Add(Late)
	if got := d.found(); !slices.Contains(got, "UNPROVEN onprem-1 epoch 1 number 0") {
		t.Errorf("found %q, want the statements unproven", got)
	}
	d.deliver(d.e.announce(t))
	if all := d.book.Chains(d.now); len(all) != 1 || all[0].Epochs != 1 {
		t.Errorf("Chains() = %+v, want the claim known", all)
	}
	d.want("the answer's key is missing", "SILENT onprem-1 epoch 1 number 1", "UNPROVEN onprem-1 epoch 1 number 0")
	d.deliver(d.i.announce(t))
	d.beat()
	d.want("with both keys")
	if n := len(d.book.held) + d.book.owed[d.e.id]; n != 0 {
		t.Errorf("%d statements are held still", n)
	}
}

// A chain of refused crossings is stated by the egress gateway alone.
func TestRefusedAtEgress(t *testing.T) {
	d := announced(t)
	f := d.opening(d.e, 1)
	f.Open.Key.Ingress, f.Open.Transition = "", &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform"}
	f.Open.End.Decision, f.Open.End.Reason, f.Open.End.Close = crossingv1.Decision_DENY, crossingv1.Reason_NO_INTENT, crossingv1.Cause_REFUSED
	d.deliver(f)
	root, empty := statement.Root([]statement.Hash{d.leaf(f, false)}), statement.Root(nil)
	d.deliver(stated(d.e, d.claim(2, nil, nil, func(c *crossingv1.Claim) {
		c.Chain.Ingress = ""
		c.Roots = &crossingv1.Roots{Opened: root[:], Closed: empty[:]}
	})))
	d.want("stated")
	for range 20 {
		d.now = d.now.Add(10 * time.Second)
		st := d.standing()
		st.Chain.Ingress = ""
		d.deliver(d.heartbeat(d.e, st))
	}
	d.want("and nobody else has to")
}

// Delivered again, in any order, frames change nothing.
func TestReplayChangesNothing(t *testing.T) {
	d := announced(t)
	var all []*crossingv1.Frame
	keep := func(frames ...*crossingv1.Frame) {
		all = append(all, frames...)
		d.deliver(frames...)
	}
	keep(d.opening(d.e, 1), d.opening(d.i, 1), d.opening(d.e, 2), d.ending(d.e, 1), d.ending(d.i, 1))
	claim := d.claim(4, []uint64{3}, []uint64{1})
	whole := d.answer()
	keep(stated(d.e, claim), stated(d.e, whole), stated(d.i, whole), d.heartbeat(d.e, d.standing()), d.heartbeat(d.i, d.standing()))
	d.now = d.now.Add(Late)
	d.beat()
	want := d.found()
	if !slices.Equal(want, []string{"LOST azure-1 epoch 1 number 2"}) {
		t.Fatalf("found %q", want)
	}
	for range 3 {
		slices.Reverse(all)
		for _, f := range all {
			d.deliver(proto.CloneOf(f))
		}
		d.want("delivered again", want...)
	}
}

// BenchmarkCrossing is what a crossing costs: its four frames, and its part of the
// statements of 1,000.
func BenchmarkCrossing(b *testing.B) {
	const each = 1000
	d := announced(b)
	first := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		type delivery struct {
			frame *crossingv1.Frame
			data  []byte
		}
		var all []delivery
		keep := func(f *crossingv1.Frame) { all = append(all, delivery{f, encodedFrame(b, f)}) }
		var numbers []uint64
		for n := first; n < first+each; n++ {
			numbers = append(numbers, n)
			for _, g := range []*gate{d.e, d.i} {
				keep(d.opening(g, n))
				keep(d.ending(g, n))
			}
		}
		first += each
		claim := d.claim(first, nil, numbers)
		whole := d.answer()
		keep(stated(d.e, claim))
		keep(stated(d.e, whole))
		keep(stated(d.i, whole))
		b.StartTimer()
		for _, one := range all {
			if err := d.book.Add(one.frame, one.data, d.now); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/each, "ns/crossing")
}

func encodedFrame(t testing.TB, f *crossingv1.Frame) []byte {
	t.Helper()
	data, err := crossing.MarshalFrame(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
