package records

import (
	"cmp"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

// Place is where a record stands in the order of an answer: by when it opened, then by
// id, egress and ingress. The zero Place is none.
type Place struct {
	opened int64 // microseconds since 1970
	key
}

// PlaceOf a record.
func PlaceOf(j Joined) Place {
	return Place{crossing.Opened(j.Record).AsTime().UnixMicro(), key{j.Record.GetId(), j.Egress, j.Ingress}}
}

// PlaceAt is where the first record with that id stands, if it opened at that time.
func PlaceAt(opened time.Time, id string) Place { return Place{opened.UnixMicro(), key{id: id}} }

// Compare is below 0 if p stands before o, and 0 if they are the same.
func (p Place) Compare(o Place) int {
	return cmp.Or(cmp.Compare(p.opened, o.opened), cmp.Compare(p.id, o.id), cmp.Compare(p.egress, o.egress), cmp.Compare(p.ingress, o.ingress))
}
