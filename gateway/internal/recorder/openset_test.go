package recorder

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// arrived is an opening of a peer's run at its ingress gateway.
func arrived(run string, sequence uint64) *crossingv1.Half {
	h := half(run, sequence)
	h.Side, h.End.Gateway = crossingv1.Side_INGRESS, self.String()
	h.Key.Egress, h.Key.Ingress = peer.String(), self.String()
	return h
}

// TestOpenSetIsSmall: a peer that has a new run for each crossing takes no more
// room than one that has not, and what it left open is still known.
func TestOpenSetIsSmall(t *testing.T) {
	o, by := newOpenSet(), writer{self.String(), crossing.NewRun()}
	left := arrived(crossing.NewRun(), 1)
	if err := o.opened(by, left); err != nil {
		t.Fatal(err)
	}
	for range 10 * keptOrigins {
		h := arrived(crossing.NewRun(), 1)
		if err := o.opened(by, h); err != nil {
			t.Fatal(err)
		}
		o.ended(by, closeOf(h))
	}
	if len(o.origins) > keptOrigins+1 {
		t.Errorf("%d origins are kept", len(o.origins))
	}
	keys := o.keys()
	if len(keys) != 1 || !proto.Equal(keys[0].end().GetClose(), &crossingv1.Close{Id: left.Id, Key: left.Key, Side: left.Side}) {
		t.Fatalf("open: %v", keys)
	}
	if o.ended(by, closeOf(left)); len(o.keys()) != 0 {
		t.Error("it ended, and is open")
	}
}

// TestOpenSetTellsApart: halves that differ in anything that names them are
// different ones, and the same one twice is one.
func TestOpenSetTellsApart(t *testing.T) {
	o, by := newOpenSet(), writer{self.String(), crossing.NewRun()}
	run := crossing.NewRun()
	first := arrived(run, 1)
	all := []*crossingv1.Half{first}
	for _, change := range []func(h *crossingv1.Half){
		func(h *crossingv1.Half) { h.Id = crossing.NewID(time.Now()) },
		func(h *crossingv1.Half) { h.Key.Sequence = 2 },
		func(h *crossingv1.Half) { h.Key.Run = crossing.NewRun() },
		func(h *crossingv1.Half) { h.Key.Egress = self.String() },
		func(h *crossingv1.Half) { h.Key.Ingress = peer.String() },
		func(h *crossingv1.Half) { h.Side = crossingv1.Side_EGRESS },
	} {
		h := proto.CloneOf(first)
		change(h)
		all = append(all, h)
	}
	for n, h := range all {
		for range 2 {
			if err := o.opened(by, h); err != nil {
				t.Fatal(err)
			}
		}
		if len(o.open) != n+1 {
			t.Fatalf("%d open of %d", len(o.open), n+1)
		}
	}
	for n, h := range all {
		o.ended(by, closeOf(h))
		o.ended(by, closeOf(h))
		if want := len(all) - n - 1; len(o.open) != want {
			t.Fatalf("%d open, want %d", len(o.open), want)
		}
	}
	for of := range o.origins {
		if o.origins[of].open != 0 {
			t.Errorf("%+v has %d open", of, o.origins[of].open)
		}
	}
}

// TestNoID: an opening that nothing could close is no opening.
func TestNoID(t *testing.T) {
	r := open(t, t.TempDir(), spool.SegmentSize)
	defer r.CloseSpool()
	h := half(r.RunID(), 1)
	h.Id = "x"
	if err := r.Open(h, false, false); err == nil {
		t.Error("an opening without an id was recorded")
	}
	if r.Pending() != 0 {
		t.Errorf("%d bytes were written", r.Pending())
	}
}

// TestKeepsNothing: what was given to Open and Close is the caller's again, even
// when the disk failed.
func TestKeepsNothing(t *testing.T) { synctest.Test(t, testKeepsNothing) }

func testKeepsNothing(t *testing.T) {
	dir, faulty := t.TempDir(), &disktest.Faulty{System: disk.OS{}}
	r := openOn(t, faulty, dir, spool.SegmentSize)
	spoil := func(texts ...*string) {
		for _, s := range texts {
			*s = "spoilt"
		}
	}
	left, late := half(r.RunID(), 1), half(r.RunID(), 2)
	end := proto.CloneOf(closeOf(late))
	want := map[string]crossingv1.Cause{left.Id: crossingv1.Cause_GATEWAY_STOPPED, late.Id: crossingv1.Cause_DONE}
	for _, h := range []*crossingv1.Half{left, late} {
		if err := r.Open(h, true, false); err != nil {
			t.Fatal(err)
		}
		spoil(&h.Id, &h.Key.Egress, &h.Key.Ingress, &h.Key.Run)
	}
	faulty.Set(disktest.Faults{Write: true})
	if err := r.Close(end); !errors.Is(err, disktest.ErrDisk) {
		t.Fatalf("Close = %v", err)
	}
	spoil(&end.Id, &end.Key.Egress, &end.Key.Ingress, &end.Key.Run)
	faulty.Set(disktest.Faults{})
	<-time.After(spool.ProbeDelay)
	r.flushOnce(time.Now())
	if err := r.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir, spool.SegmentSize).CloseSpool(); err != nil {
		t.Fatal(err)
	}
	got := map[string]crossingv1.Cause{}
	for _, f := range spooled(t, dir) {
		if c := f.GetClose(); c != nil {
			got[c.GetId()] = c.GetCause()
			if err := crossing.CheckFrame(f, self); err != nil {
				t.Error(err)
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("ends %v, want %v", got, want)
	}
}
