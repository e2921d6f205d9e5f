package join

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// progress is how far a crossing has come at its egress gateway, some minutes after
// it opened.
func (c trip) progress(minutes int, bytes uint64) *crossingv1.Frame {
	f := frame(onprem1, nil, nil)
	f.Progress = &crossingv1.Progress{
		Id: c.id, Key: c.key(), Side: crossingv1.Side_EGRESS, At: timestamppb.New(c.opened().Add(time.Duration(minutes) * time.Minute)),
		RequestBytes: 7, ResponseBytes: bytes,
	}
	return f
}

// Progress shows while a crossing is open, in whatever order it came, and no more
// when it has ended.
func TestProgress(t *testing.T) {
	c := newTrip(0)
	for name, frames := range map[string][]*crossingv1.Frame{
		"in order":             {c.egressOpen(), c.progress(1, 100), c.progress(2, 250)},
		"late":                 {c.egressOpen(), c.progress(2, 250), c.progress(1, 100)},
		"before its opening":   {c.progress(2, 250), c.egressOpen(), c.progress(1, 100)},
		"again":                {c.egressOpen(), c.progress(2, 250), c.progress(2, 250)},
		"twice at one instant": {c.egressOpen(), c.progress(2, 250), c.progress(2, 249)},
	} {
		j := New()
		add(t, j, frames...)
		r := all(t, j, &controlv1.ListCrossingsRequest{})[0]
		if r.GetState() != crossingv1.Record_OPEN || r.GetEgress().GetResponseBytes() != 250 || r.GetEgress().GetRequestBytes() != 7 {
			t.Errorf("%s: record %v, want it open, with 250 bytes so far", name, r)
		}
		add(t, j, c.egressClose(), c.progress(3, 900))
		if r = all(t, j, &controlv1.ListCrossingsRequest{})[0]; r.GetEgress().GetResponseBytes() != 20 {
			t.Errorf("%s: %d bytes after its end, want the end's 20", name, r.GetEgress().GetResponseBytes())
		}
	}
}

// Progress under another number contradicts what came before, whichever came first.
func TestProgressConflicts(t *testing.T) {
	c := newTrip(0)
	other := c.progress(1, 100)
	other.Progress.Key.Sequence = 99
	for name, frames := range map[string][2]*crossingv1.Frame{
		"after the opening":  {c.egressOpen(), other},
		"before the opening": {other, c.egressOpen()},
		"after the end":      {c.egressClose(), other},
		"before the end":     {other, c.egressClose()},
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
	joined, oneSided, differs, denied := newTrip(0), newTrip(1), newTrip(2), newTrip(3)
	denied.ingress = ""
	add(t, j, joined.frames()...)
	add(t, j, denied.egressOpen(), differs.egressOpen(), differs.egressClose(), differs.ingressOpen(), oneSided.egressOpen(), oneSided.egressClose())
	end := differs.ingressClose()
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
	if len(ids) != 2 || ids[0] != oneSided.id || ids[1] != differs.id {
		t.Errorf("Unmatched() = %v, want %s and %s", ids, oneSided.id, differs.id)
	}
	stale := j.Unmatched()[0].Record
	add(t, j, oneSided.ingressOpen(), oneSided.ingressClose())
	if got := j.Unmatched(); len(got) != 1 {
		t.Errorf("Unmatched() has %d after the late half came, want 1", len(got))
	}
	if _, known := j.Of(stale); known {
		t.Error("Of() knows a record that has changed")
	}
	if _, known := j.At(&crossingv1.Key{Egress: onprem1, Ingress: azure1, Run: onpremRun, Sequence: 999}); known {
		t.Error("At() knows a number that never came")
	}
}

func TestOutageIsTheLast(t *testing.T) {
	j := New()
	at := func(minute int) *crossingv1.Frame {
		f := frame(onprem1, nil, nil)
		f.Outage = &crossingv1.Outage{
			Began: timestamppb.New(start.Add(time.Duration(minute) * time.Minute)), Ended: timestamppb.New(start.Add(time.Hour)), Cause: crossingv1.Outage_FULL,
		}
		return f
	}
	add(t, j, at(2), at(5), at(3), at(5))
	if got := j.Outage(onprem1); !proto.Equal(got, at(5).GetOutage()) {
		t.Errorf("Outage() = %v, want the one that began last", got)
	}
	if got := j.Outage(azure1); got != nil {
		t.Errorf("Outage() of a gateway without one = %v", got)
	}
}
