package records

import (
	"bytes"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// key is what a crossing is known by.
type key struct{ id, egress, ingress string }

// row is what is kept of a record: what is asked for by index, and all of it.
type row struct {
	key

	opened              int64 // microseconds since 1970
	trace               string
	source, destination string
	service             string
	class               Class
	bytes               volume
	record              []byte
}

// volume of payload. Floating point, so that no claim of a gateway can make a sum
// overflow: it gets inexact instead, above 2^53.
type volume struct{ request, response float64 }

// rowOf a record. The error says why it cannot be kept.
func rowOf(j Joined) (*row, error) {
	r := j.Record
	if err := checkKey(j); err != nil {
		return nil, err
	}
	end := r.GetEgress()
	if end.GetOpen() == nil {
		end = r.GetIngress()
	}
	if err := end.GetOpen().CheckValid(); err != nil {
		return nil, fmt.Errorf("crossing %q has no time of opening: %w: %w", r.GetId(), err, ErrInvalid)
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("crossing %q: %w: %w", r.GetId(), err, ErrInvalid)
	}
	return &row{
		key:         key{r.GetId(), j.Egress, j.Ingress},
		opened:      end.GetOpen().AsTime().UnixMicro(),
		trace:       r.GetTrace(),
		source:      r.GetSource(),
		destination: r.GetDestination(),
		service:     r.GetOperation().GetService(),
		class:       classOf(r),
		bytes:       volumeOf(r),
		record:      encoded,
	}, nil
}

// checkKey: a record must say of itself nothing else than what it is put as.
func checkKey(j Joined) error {
	r := j.Record
	switch {
	case r.GetId() == "" || j.Egress == "":
		return fmt.Errorf("a record without an id or an egress gateway: %w", ErrInvalid)
	case r.GetState() == crossingv1.Record_STATE_UNSPECIFIED:
		return fmt.Errorf("crossing %q has no state: %w", r.GetId(), ErrInvalid)
	case r.Egress != nil && r.Egress.GetGateway() != j.Egress:
		return fmt.Errorf("crossing %q has the egress gateway %q, not %q: %w", r.GetId(), r.Egress.GetGateway(), j.Egress, ErrInvalid)
	case r.Ingress != nil && r.Ingress.GetGateway() != j.Ingress:
		return fmt.Errorf("crossing %q has the ingress gateway %q, not %q: %w", r.GetId(), r.Ingress.GetGateway(), j.Ingress, ErrInvalid)
	}
	return nil
}

func classOf(r *crossingv1.Record) Class {
	t := r.GetTransition()
	return Class{
		From: t.GetFrom(), To: t.GetTo(), Owner: t.GetOwner(), State: r.GetState(),
		Denied: r.GetEgress().GetDecision() == crossingv1.Decision_DENY || r.GetIngress().GetDecision() == crossingv1.Decision_DENY,
	}
}

func volumeOf(r *crossingv1.Record) volume {
	end := r.GetEgress()
	if end == nil {
		end = r.GetIngress()
	}
	return volume{float64(end.GetRequestBytes()), float64(end.GetResponseBytes())}
}

// unmatched says that it is one-sided, or that its halves disagree.
func (r *row) unmatched() bool {
	return r.class.State == crossingv1.Record_ONE_SIDED || r.class.State == crossingv1.Record_DISAGREE
}

// same says that the other record, of the same crossing, is no other.
func (r *row) same(encoded []byte) bool { return bytes.Equal(r.record, encoded) }

// counts of a sum of volumes.
func (v volume) counts(crossings uint64) Counts {
	return Counts{Crossings: crossings, RequestBytes: whole(v.request), ResponseBytes: whole(v.response)}
}

// whole is the number as far as there is one.
func whole(f float64) uint64 {
	switch {
	case f >= math.MaxUint64:
		return math.MaxUint64
	case f > 0:
		return uint64(f)
	}
	return 0
}
