package recorder

import (
	"errors"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// outage is a recorder with books whose disk can fail.
type outage struct {
	*Recorder
	disk  *disktest.Faulty
	books *ledger
}

func faultyGateway(t *testing.T) outage {
	t.Helper()
	o := outage{disk: &disktest.Faulty{System: disktest.NewMemory()}, books: newLedger()}
	var err error
	if o.Recorder, err = New(Config{System: o.disk, Dir: powerDir, Gateway: self, MaxBytes: 1 << 20, Connect: nobody, Books: o.books}); err != nil {
		t.Fatal(err)
	}
	o.books.attach(o.Recorder)
	return o
}

// next is the opening of the next crossing.
func (o outage) next() *crossingv1.Half { return half(o.RunID(), o.Next(peer.String())) }

// frames are those that its spool has.
func (o outage) frames(t *testing.T) (all []*crossingv1.Frame) {
	t.Helper()
	for _, n := range o.spoolSegments(t) {
		_, _, err := spool.Scan(o.disk, spool.Path(o.cfg.Dir, n), func(payload []byte, _ int64) error {
			f, err := crossing.UnmarshalFrame(payload)
			all = append(all, f)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// said is what a frame says, in a word, and of whom.
func said(f *crossingv1.Frame) (word, id string) {
	switch {
	case f.GetOpen() != nil:
		return "open", f.GetOpen().GetId()
	case f.GetClose() != nil:
		return "close", f.GetClose().GetId()
	case f.GetOutage() != nil:
		return "outage", f.GetOutage().GetCause().String()
	}
	return "other", ""
}

// TestOutage: while the disk is full, fails or does not answer, crossings are refused,
// and others go on, as each is told; when it is back, what went on is recorded in its
// order, and then what the outage was.
func TestOutage(t *testing.T) {
	for name, c := range map[string]struct {
		faults disktest.Faults
		want   crossingv1.Outage_Cause
		took   time.Duration // until the first is refused
	}{
		"fails":   {disktest.Faults{Write: true}, crossingv1.Outage_FAILED, 0},
		"is full": {disktest.Faults{Write: true, Err: syscall.ENOSPC}, crossingv1.Outage_FULL, 0},
		"stalls":  {disktest.Faults{Stall: make(chan struct{})}, crossingv1.Outage_STALLED, spool.Patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.faults.Stall != nil {
					c.faults.Stall = make(chan struct{}) // of the bubble
				}
				testOutage(t, c.faults, c.want, c.took)
			})
		})
	}
}

func testOutage(t *testing.T, faults disktest.Faults, want crossingv1.Outage_Cause, took time.Duration) {
	o := faultyGateway(t)
	before := o.next()
	if err := o.Open(before, true, false); err != nil || o.Outage() != nil {
		t.Fatalf("Open = %v, outage %v", err, o.Outage())
	}
	began := time.Now()
	o.disk.Set(faults)
	refused, goes := []*crossingv1.Half{o.next(), o.next()}, []*crossingv1.Half{o.next(), o.next()}
	for _, h := range refused {
		if err := o.Open(h, true, false); err == nil || time.Since(began) != took {
			t.Errorf("Open = %v after %s", err, time.Since(began))
		}
	}
	for _, h := range goes {
		if err := o.Open(h, true, true); err != nil {
			t.Errorf("Open of what goes on = %v", err)
		}
	}
	for _, h := range []*crossingv1.Half{goes[0], before} {
		if err := o.Close(closeOf(h)); err != nil {
			t.Errorf("Close = %v behind others", err)
		}
	}
	o.flushOnce(time.Now())
	if is := o.Outage(); is.GetCause() != want || is.GetRefused() != 2 || is.GetUnrecorded() != 2 || is.GetDetail() == "" || is.GetEnded() != nil {
		t.Errorf("outage %v", is)
	}
	o.disk.Set(disktest.Faults{})
	if faults.Stall != nil {
		close(faults.Stall)
	}
	<-time.After(spool.ProbeDelay)
	o.flushOnce(time.Now())
	if is := o.Outage(); is != nil {
		t.Errorf("the outage goes on: %v", is)
	}
	frames := o.frames(t)
	var got []string
	for _, f := range frames {
		word, id := said(f)
		got = append(got, word+" "+id)
		if err := crossing.CheckFrame(f, self); word == "outage" && err != nil {
			t.Error(err)
		}
	}
	wanted := []string{
		"open " + before.GetId(), "open " + goes[0].GetId(), "open " + goes[1].GetId(),
		"close " + goes[0].GetId(), "close " + before.GetId(), "outage " + want.String(),
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("recorded %q, want %q", got, wanted)
	}
	if is := frames[len(frames)-1].GetOutage(); is.GetRefused() != 2 || is.GetUnrecorded() != 2 || is.GetEnded().AsTime().Sub(is.GetBegan().AsTime()) < spool.ProbeDelay {
		t.Errorf("recorded as %v", is)
	}
	o.checkBooks(t, refused, append(goes, before))
}

// checkBooks: numbers of what was refused are void, and the others have openings.
func (o outage) checkBooks(t *testing.T, refused, opened []*crossingv1.Half) {
	t.Helper()
	c := chain{self.String(), peer.String(), o.RunID()}
	var voids []uint64
	for _, h := range refused {
		voids = append(voids, h.GetKey().GetSequence())
	}
	if !slices.Equal(o.books.voids[c], voids) {
		t.Errorf("void are %d, want %d", o.books.voids[c], voids)
	}
	for _, h := range opened {
		if !o.books.hasOpening(h.GetKey()) {
			t.Errorf("the books have no opening %d", h.GetKey().GetSequence())
		}
	}
	o.books.check(t)
	if err := o.CloseSpool(); err != nil {
		t.Error(err)
	}
}

// TestUnrecorded: a peer's crossing that cannot be recorded is told of as such.
func TestUnrecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := faultyGateway(t)
		o.disk.Set(disktest.Faults{Write: true})
		h := arrived(peerRun, 7)
		if err := o.Open(h, false, false); !errors.Is(err, disktest.ErrDisk) {
			t.Errorf("Open = %v", err)
		}
		if got := o.books.voids[chainOf(h.GetKey())]; !slices.Equal(got, []uint64{7}) {
			t.Errorf("unrecorded are %d", got)
		}
		if n := len(o.open.keys()); n != 0 {
			t.Errorf("%d crossings are open", n)
		}
	})
}

// TestOutageOfRoom: a spool that is full of what nobody takes is an outage, too, until
// there is room; statements are written all the same, for they make some.
func TestOutageOfRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := faultyGateway(t)
		o.spool.Bound(2000)
		for err := error(nil); err == nil; {
			err = o.Open(o.next(), false, false)
		}
		o.flushOnce(time.Now())
		if is := o.Outage(); is.GetCause() != crossingv1.Outage_FULL || is.GetRefused() != 1 {
			t.Errorf("outage %v", is)
		}
		if err := o.books.state(); err != nil {
			t.Errorf("a statement is refused: %v", err)
		}
		if err := o.spool.Acknowledge(o.spool.End()); err != nil {
			t.Fatal(err)
		}
		o.flushOnce(time.Now())
		if is := o.Outage(); is != nil {
			t.Errorf("there is room, and the outage goes on: %v", is)
		}
		if err := o.CloseSpool(); err != nil {
			t.Error(err)
		}
	})
}

// TestLateIsBounded: what goes on takes so much memory and no more; ends always find
// room.
func TestLateIsBounded(t *testing.T) {
	var l late
	frame := make([]byte, 1<<20)
	for range maxLate / len(frame) {
		if !l.opening(frame) {
			t.Fatal("there is no room")
		}
	}
	if l.opening(frame[:1]) {
		t.Error("there is room for one more")
	}
	l.end(frame[:1])
	for l.first() != nil {
		l.written()
	}
	if l.waits.Load() || l.size != 0 || !l.opening(frame) {
		t.Errorf("%d bytes wait", l.size)
	}
}
