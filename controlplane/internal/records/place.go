package records

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Place is where a record stands in the order of an answer: by when it opened, then by
// id, egress and ingress. The zero Place is none.
type Place struct {
	opened int64 // microseconds since 1970
	key
}

// PlaceOf a record.
func PlaceOf(j Joined) Place {
	return Place{openedOf(j.Record).AsTime().UnixMicro(), key{j.Record.GetId(), j.Egress, j.Ingress}}
}

// PlaceAt is where the first record with that id stands, if it opened at that time.
func PlaceAt(opened time.Time, id string) Place { return Place{opened.UnixMicro(), key{id: id}} }

// Compare is below 0 if p stands before o, and 0 if they are the same.
func (p Place) Compare(o Place) int {
	return cmp.Or(cmp.Compare(p.opened, o.opened), cmp.Compare(p.id, o.id), cmp.Compare(p.egress, o.egress), cmp.Compare(p.ingress, o.ingress))
}

// openedOf a record: as the egress gateway has it, or the ingress gateway where there is
// no more.
func openedOf(r *crossingv1.Record) *timestamppb.Timestamp {
	if at := r.GetEgress().GetOpen(); at != nil {
		return at
	}
	return r.GetIngress().GetOpen()
}
