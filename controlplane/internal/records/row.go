package records

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// key is what a crossing is known by.
type key struct{ id, egress, ingress string }

// row is what is kept of a record: what is asked for by index, and all of it.
type row struct {
	key

	opened int64 // microseconds since 1970
	class  Class
	bytes  volume
	joined *crossingv1.Record
	record []byte // joined, encoded: the same for the same record
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
	opened := crossing.Opened(r)
	if err := opened.CheckValid(); err != nil {
		return nil, fmt.Errorf("crossing %q has no time of opening: %w: %w", r.GetId(), err, ErrInvalid)
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("crossing %q: %w: %w", r.GetId(), err, ErrInvalid)
	}
	return &row{
		key:    key{r.GetId(), j.Egress, j.Ingress},
		opened: opened.AsTime().UnixMicro(),
		class:  ClassOf(r),
		bytes:  volumeOf(r),
		joined: r,
		record: encoded,
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

// ClassOf is what a record is counted by.
func ClassOf(r *crossingv1.Record) Class {
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

// hour in which it opened, since 1970.
func (r *row) hour() int64 { return floor(r.opened, minute*hour) }

// columns of the row, in the order of insert.
func (r *row) columns() []any {
	c, j := &r.class, r.joined
	return []any{
		r.opened, mark(c.From), mark(c.To), mark(j.GetSource()), mark(j.GetDestination()),
		mark(j.GetOperation().GetService()), mark(c.Owner), mark(j.GetTrace()), c.Denied, unmatched(c.State),
		r.bytes.request, r.bytes.response, r.gateways(), r.id, r.egress, r.ingress, r.record,
	}
}

// unmatched says that it is one-sided, or that its halves disagree.
func unmatched(s crossingv1.Record_State) bool {
	return s == crossingv1.Record_ONE_SIDED || s == crossingv1.Record_DISAGREE
}

// gateways are the mark of both. An egress gateway that finds two ingress gateways
// with one mark has confused crossings of its own.
func (k key) gateways() int64 {
	return mark(fmt.Sprintf("%d:%s%s", len(k.egress), k.egress, k.ingress))
}

// mark of a text, 0 if it is empty. Others may have the same.
func mark(text string) int64 {
	if text == "" {
		return 0
	}
	var short [128]byte
	sum := sha256.Sum256(append(short[:0], text...))
	return int64(binary.BigEndian.Uint64(sum[:])) //nolint:gosec // any 64 bits are a mark
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
