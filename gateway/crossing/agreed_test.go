package crossing

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// changed is one field that two ends say differently, and its name in a record.
type changed struct {
	field string
	of    func(h *crossingv1.Half, c *crossingv1.Close)
}

var openChanges = []changed{
	{"id", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Id = strings.Replace(h.Id, "8", "9", 1) }},
	{"evidence.sequence", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Key.Sequence++ }},
	{"source", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Source += "0" }},
	{"destination", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Destination += "0" }},
	{"trace", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Trace = egressRun }},
	{"transition.from", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Transition.From = "aws" }},
	{"transition.to", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Transition.To = "" }},
	{"transition.owner", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Transition.Owner = "nobody" }},
	{"operation.service", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Service = "admin" }},
	{"operation.name", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Name = "DELETE /" }},
	{"operation.authority", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Authority += "1" }},
}

var closeChanges = []changed{
	{"id", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Id = strings.Replace(c.Id, "8", "9", 1) }},
	{"evidence.sequence", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Key.Sequence++ }},
	{"close", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Cause = crossingv1.Cause_DESTINATION_FAILED }},
	{"requestBytes", func(_ *crossingv1.Half, c *crossingv1.Close) { c.RequestBytes++ }},
	{"responseBytes", func(_ *crossingv1.Half, c *crossingv1.Close) { c.ResponseBytes = 0 }},
	{"status", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Status = 500 }},
	{"transfer", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Transfer = nil }},
	{"transfer.id", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Transfer.Id = ingressRun }},
	{"transfer.extent", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Transfer.Extent = crossingv1.Transfer_WHOLE }},
	{"transfer.first", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Transfer.First++ }},
	{"transfer.contentSha256", func(_ *crossingv1.Half, c *crossingv1.Close) {
		c.Transfer.ContentSha256 = strings.Repeat("e", 64)
	}},
	{"transfer.digested", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Transfer.Digested++ }},
	{"answerClass", func(_ *crossingv1.Half, c *crossingv1.Close) { c.AnswerClass = "public" }},
	{"answerLabeler", func(_ *crossingv1.Half, c *crossingv1.Close) { c.AnswerLabeler += "2" }},
}

func moved(side crossingv1.Side) *crossingv1.Close {
	c := closing(side)
	c.Transfer = &crossingv1.Transfer{
		Id: egressRun, Direction: crossingv1.Transfer_DOWNLOAD, Object: "/models/m.bin", Extent: crossingv1.Transfer_RANGE,
		First: 1 << 20, ContentSha256: strings.Repeat("d", 64), Digested: 9433,
	}
	c.AnswerClass, c.AnswerLabeler = "restricted", "spiffe://azure.acme.example/dlp/labeler"
	return c
}

// TestAgreedFields: whatever one end says otherwise is named, and in its digest.
func TestAgreedFields(t *testing.T) {
	for _, change := range slices.Concat(openChanges, askChanges) {
		e, i := egressHalf(), ingressHalf()
		if slices.ContainsFunc(askChanges, func(c changed) bool { return c.field == change.field }) {
			e.Operation, i.Operation = chat(), chat()
		}
		if OpenDigest(e) != OpenDigest(i) || len(OpenDifferences(e, i)) > 0 {
			t.Fatal("two openings that say the same differ")
		}
		change.of(i, nil)
		if got := OpenDifferences(e, i); !slices.Equal(got, []string{change.field}) || OpenDigest(e) == OpenDigest(i) {
			t.Errorf("%s differs in an opening: %v, digests equal: %t", change.field, got, OpenDigest(e) == OpenDigest(i))
		}
	}
	for _, change := range slices.Concat(closeChanges, saidChanges) {
		e, i := moved(crossingv1.Side_EGRESS), moved(crossingv1.Side_INGRESS)
		e.Said, i.Said = spoken(), spoken()
		if CloseDigest(e) != CloseDigest(i) || len(CloseDifferences(e, i, false)) > 0 {
			t.Fatal("two ends that say the same differ")
		}
		change.of(nil, i)
		if got := CloseDifferences(e, i, false); !slices.Equal(got, []string{change.field}) || CloseDigest(e) == CloseDigest(i) {
			t.Errorf("%s differs in an end: %v, digests equal: %t", change.field, got, CloseDigest(e) == CloseDigest(i))
		}
	}
}

// TestDenialAtIngressIsAgreed: a denial shows in the digests and is no difference.
func TestDenialAtIngressIsAgreed(t *testing.T) {
	e, i := accounts()
	denyAtIngress(e, i)
	if OpenDigest(e.Open) == OpenDigest(i.Open) || CloseDigest(e.Close) != CloseDigest(i.Close) {
		t.Error("a denial does not show in the openings alone")
	}
	if d := OpenDifferences(e.Open, i.Open); len(d) > 0 {
		t.Errorf("the openings differ in %v", d)
	}
	if d := CloseDifferences(e.Close, i.Close, true); len(d) > 0 {
		t.Errorf("the ends differ in %v", d)
	}
	e.Close.Cause = crossingv1.Cause_DESTINATION_FAILED
	if d := CloseDifferences(e.Close, i.Close, true); !slices.Equal(d, []string{"decision"}) {
		t.Errorf("an end as if nothing had been denied differs in %v", d)
	}
}

// TestEqualDigestsAgree: over random ends, two of the same digest differ in nothing,
// and what is agreed on cannot be taken for something else.
func TestEqualDigestsAgree(t *testing.T) {
	fill := filler{Rand: rand.New(rand.NewPCG(7, 7)), made: true}
	same, all := 0, map[string]bool{}
	for range 5_000 {
		e, i := egressHalf(), ingressHalf()
		ec, ic := moved(crossingv1.Side_EGRESS), moved(crossingv1.Side_INGRESS)
		if fill.IntN(2) == 0 {
			e.Operation, i.Operation = chat(), chat()
		}
		changes := slices.Concat(openChanges, askChanges)
		for range fill.IntN(3) {
			changes[fill.IntN(len(changes))].of(i, nil)
		}
		for _, c := range []*crossingv1.Close{ec, ic} {
			c.Cause = crossingv1.Cause(1 + fill.IntN(8))
			if c.Said = spoken(); fill.IntN(2) == 0 {
				saidChanges[fill.IntN(len(saidChanges))].of(nil, c)
			}
			switch fill.IntN(4) {
			case 0:
				c.Transfer = nil
			case 1:
				c.Transfer.Id, c.Transfer.Anonymous = "", 1
			}
			c.Status = uint32(fill.IntN(2))
		}
		if OpenDigest(e) == OpenDigest(i) {
			same++
			if d := OpenDifferences(e, i); len(d) > 0 {
				t.Fatalf("openings of one digest differ in %v:\n%v\n%v", d, e, i)
			}
		}
		if CloseDigest(ec) == CloseDigest(ic) {
			same++
			if d := CloseDifferences(ec, ic, false); len(d) > 0 {
				t.Fatalf("ends of one digest differ in %v:\n%v\n%v", d, ec, ic)
			}
		}
		all[string(AppendAgreedOpen(nil, i))], all[string(AppendAgreedClose(nil, ic))] = true, true
	}
	if same < 1_000 || len(all) < 50 {
		t.Fatalf("%d equal digests, %d texts; the test tests little", same, len(all))
	}
	for a := range all {
		for b := range all {
			if a != b && strings.HasPrefix(b, a) {
				t.Fatalf("%x begins %x", a, b)
			}
		}
	}
}

// TestAgreedOfAnything: nothing that a decoder lets through breaks it, and an
// encoding and back changes no digest.
func TestAgreedOfAnything(t *testing.T) {
	for seed := range uint64(2_000) {
		fill := filler{Rand: rand.New(rand.NewPCG(9, seed)), wild: true}
		f := new(crossingv1.Frame)
		fill.fill(f.ProtoReflect())
		b, err := proto.Marshal(&crossingv1.Frame{Open: f.GetOpen(), Close: f.GetClose()})
		if err != nil {
			continue
		}
		back := new(crossingv1.Frame)
		if err := proto.Unmarshal(b, back); err != nil {
			t.Fatal(err)
		}
		if OpenDigest(f.GetOpen()) != OpenDigest(back.GetOpen()) || CloseDigest(f.GetClose()) != CloseDigest(back.GetClose()) {
			t.Fatalf("seed %d: the digests of %v changed on the way", seed, f)
		}
	}
}

// TestDigestsAllocateNothing, of what a crossing usually says.
func TestDigestsAllocateNothing(t *testing.T) {
	h, c := egressHalf(), moved(crossingv1.Side_EGRESS)
	h.Operation, c.Said = chat(), spoken()
	if n := testing.AllocsPerRun(100, func() { OpenDigest(h); CloseDigest(c) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if n := len(AppendAgreedOpen(nil, h)); n > 3*usualAgreed/4 {
		t.Errorf("an opening's agreed bytes are %d", n)
	}
	long := egressHalf()
	long.Operation.Name = strings.Repeat("n", maxText)
	if b := AppendAgreedOpen(nil, long); OpenDigest(long) != sha256.Sum256(b) || !bytes.Contains(b, []byte(long.Operation.Name)) {
		t.Error("what is long is cut")
	}
}

// BenchmarkAgreed: what do a join digest, and the bytes that it is of, cost?
func BenchmarkAgreed(b *testing.B) {
	h, c := egressHalf(), closing(crossingv1.Side_EGRESS)
	room := make([]byte, 0, usualAgreed)
	open, end := AppendAgreedOpen(nil, h), AppendAgreedClose(nil, c)
	for _, of := range []struct {
		name string
		run  func()
	}{
		{"bytes of an opening", func() { AppendAgreedOpen(room, h) }},
		{"digest of an opening", func() { OpenDigest(h) }},
		{"SHA-256 of an opening's bytes", func() { sha256.Sum256(open) }},
		{"bytes of an end", func() { AppendAgreedClose(room, c) }},
		{"digest of an end", func() { CloseDigest(c) }},
		{"SHA-256 of an end's bytes", func() { sha256.Sum256(end) }},
	} {
		b.Run(of.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				of.run()
			}
		})
	}
	b.ReportMetric(float64(len(open)), "open-bytes")
}
