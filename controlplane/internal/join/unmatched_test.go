package join

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join/jointest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// progress is how far a crossing has come at its egress gateway, some minutes after
// it opened.
func progress(c jointest.Trip, minutes int, bytes uint64) *crossingv1.Frame {
	f := &crossingv1.Frame{Gateway: jointest.Onprem1, Run: jointest.Run}
	f.Progress = &crossingv1.Progress{
		Id: c.ID, Key: c.Key(), Side: crossingv1.Side_EGRESS, At: timestamppb.New(c.Opened().Add(time.Duration(minutes) * time.Minute)),
		RequestBytes: 7, ResponseBytes: bytes,
	}
	return f
}

// Progress shows while a crossing is open, in whatever order it came, and no more
// when it has ended.
func TestProgress(t *testing.T) {
	c := jointest.NewTrip(0)
	for name, frames := range map[string][]*crossingv1.Frame{
		"in order":             {c.EgressOpen(), progress(c, 1, 100), progress(c, 2, 250)},
		"late":                 {c.EgressOpen(), progress(c, 2, 250), progress(c, 1, 100)},
		"before its opening":   {progress(c, 2, 250), c.EgressOpen(), progress(c, 1, 100)},
		"again":                {c.EgressOpen(), progress(c, 2, 250), progress(c, 2, 250)},
		"twice at one instant": {c.EgressOpen(), progress(c, 2, 250), progress(c, 2, 249)},
	} {
		j := New()
		add(t, j, frames...)
		r := all(t, j, &controlv1.ListCrossingsRequest{})[0]
		if r.GetState() != crossingv1.Record_OPEN || r.GetEgress().GetResponseBytes() != 250 || r.GetEgress().GetRequestBytes() != 7 {
			t.Errorf("%s: record %v, want it open, with 250 bytes so far", name, r)
		}
		add(t, j, c.EgressClose(), progress(c, 3, 900))
		if r = all(t, j, &controlv1.ListCrossingsRequest{})[0]; r.GetEgress().GetResponseBytes() != 20 {
			t.Errorf("%s: %d bytes after its end, want the end's 20", name, r.GetEgress().GetResponseBytes())
		}
	}
}

// Progress under another number contradicts what came before, whichever came first.
func TestProgressConflicts(t *testing.T) {
	c := jointest.NewTrip(0)
	other := progress(c, 1, 100)
	other.Progress.Key.Sequence = 99
	for name, frames := range map[string][2]*crossingv1.Frame{
		"after the opening":  {c.EgressOpen(), other},
		"before the opening": {other, c.EgressOpen()},
		"after the end":      {c.EgressClose(), other},
		"before the end":     {other, c.EgressClose()},
	} {
		j := New()
		add(t, j, frames[0])
		if err := j.Add(frames[1]); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: Add() = %v, want %v", name, err, ErrConflict)
		}
	}
}

func TestUnmatched(t *testing.T) {
	j := New()
	joined, oneSided, differs, denied := jointest.NewTrip(0), jointest.NewTrip(1), jointest.NewTrip(2), jointest.NewTrip(3)
	denied.Ingress = ""
	add(t, j, joined.Frames()...)
	add(t, j, denied.EgressOpen(), differs.EgressOpen(), differs.EgressClose(), differs.IngressOpen(), oneSided.EgressOpen(), oneSided.EgressClose())
	end := differs.IngressClose()
	end.Close.ResponseBytes++
	add(t, j, end)
	var ids []string
	for _, h := range j.Unmatched() {
		ids = append(ids, h.Record.GetId())
		if at, known := j.At(h.Key()); !known || at.Record != h.Record {
			t.Errorf("At(%v) = %v, %t, want the record", h.Key(), at.Record, known)
		}
		if of, known := j.Of(h.Record); !known || of.Egress.Open != h.Egress.Open {
			t.Errorf("Of(%v) = %v, %t, want what it was joined from", h.Record, of, known)
		}
	}
	if len(ids) != 2 || ids[0] != oneSided.ID || ids[1] != differs.ID {
		t.Errorf("Unmatched() = %v, want %s and %s", ids, oneSided.ID, differs.ID)
	}
	stale := j.Unmatched()[0].Record
	add(t, j, oneSided.IngressOpen(), oneSided.IngressClose())
	if got := j.Unmatched(); len(got) != 1 {
		t.Errorf("Unmatched() has %d after the late half came, want 1", len(got))
	}
	if _, known := j.Of(stale); known {
		t.Error("Of() knows a record that has changed")
	}
	if _, known := j.At(&crossingv1.Key{Egress: jointest.Onprem1, Ingress: jointest.Azure1, Run: jointest.Run, Sequence: 999}); known {
		t.Error("At() knows a number that never came")
	}
}

func TestOutageIsTheLast(t *testing.T) {
	j := New()
	at := func(minute int) *crossingv1.Frame {
		f := &crossingv1.Frame{Gateway: jointest.Onprem1, Run: jointest.Run}
		f.Outage = &crossingv1.Outage{
			Began: timestamppb.New(jointest.Start.Add(time.Duration(minute) * time.Minute)), Ended: timestamppb.New(jointest.Start.Add(time.Hour)), Cause: crossingv1.Outage_FULL,
		}
		return f
	}
	add(t, j, at(2), at(5), at(3), at(5))
	if got := j.Outage(jointest.Onprem1); !proto.Equal(got, at(5).GetOutage()) {
		t.Errorf("Outage() = %v, want the one that began last", got)
	}
	if got := j.Outage(jointest.Azure1); got != nil {
		t.Errorf("Outage() of a gateway without one = %v", got)
	}
}
