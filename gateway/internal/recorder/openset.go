package recorder

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// openFile keeps what is open beyond the segment that said so: as entries, the
	// number of the highest segment that is not needed for it, and frames.
	openFile = "open"
	// keptOrigins is how many origins are kept that nothing open is of: peers would
	// come and go with each crossing where there is little to do.
	keptOrigins = 64
)

// openSet is the crossings that have opened and not ended. A restart closes
// them: whoever reads the record learns that the gateway stopped. It keeps
// nothing of what it is told, and little for each crossing: many may be open, for
// long.
type openSet struct {
	mu      sync.Mutex // guards what follows
	open    map[openKey]struct{}
	origins map[origin]*shared
	last    *shared // for the next one is often of the same
}

// openKey names a half. The id alone does not: an egress gateway chose it, and
// another may have chosen the same.
type openKey struct {
	id       uuid.UUID
	sequence uint64
	of       *shared
}

// origin is what the halves of one gateway pair and run have in common.
type origin struct {
	by              writer
	egress, ingress string
	run             string // of the egress gateway
	side            crossingv1.Side
}

// writer is who wrote a frame.
type writer struct{ gateway, run string }

func writerOf(f *crossingv1.Frame) writer { return writer{f.GetGateway(), f.GetRun()} }

// shared is an origin and how many open crossings are of it.
type shared struct {
	origin
	open int
}

func newOpenSet() *openSet {
	return &openSet{open: map[openKey]struct{}{}, origins: map[origin]*shared{}}
}

// opened notes an opening. What was refused at egress is no open crossing. It
// fails if nobody could close it: its id is none.
func (o *openSet) opened(by writer, h *crossingv1.Half) error {
	if h.GetKey().GetIngress() == "" {
		return nil
	}
	return o.enter(by, h.GetId(), h.GetKey(), h.GetSide())
}

func (o *openSet) enter(by writer, id string, k *crossingv1.Key, side crossingv1.Side) error {
	parsed, err := crossing.ParseID(id)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	of := o.origin(by, k, side)
	key := openKey{parsed, k.GetSequence(), of}
	if _, ok := o.open[key]; !ok {
		o.open[key] = struct{}{}
		of.open++
	}
	return nil
}

// forget takes back what opened noted.
func (o *openSet) forget(by writer, h *crossingv1.Half) {
	o.leave(by, h.GetId(), h.GetKey(), h.GetSide())
}

// ended notes an end.
func (o *openSet) ended(by writer, c *crossingv1.Close) {
	o.leave(by, c.GetId(), c.GetKey(), c.GetSide())
}

func (o *openSet) leave(by writer, id string, k *crossingv1.Key, side crossingv1.Side) {
	parsed, err := crossing.ParseID(id)
	if err != nil {
		return // it never entered
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	of := o.origin(by, k, side)
	key := openKey{parsed, k.GetSequence(), of}
	if _, ok := o.open[key]; ok {
		delete(o.open, key)
		of.open--
	}
	if of.open == 0 && len(o.origins) > keptOrigins {
		delete(o.origins, of.origin)
		o.last = nil
	}
}

// origin is the one that a half is of. The caller holds mu.
func (o *openSet) origin(by writer, k *crossingv1.Key, side crossingv1.Side) *shared {
	is := origin{by, k.GetEgress(), k.GetIngress(), k.GetRun(), side}
	if o.last != nil && o.last.origin == is {
		return o.last
	}
	of := o.origins[is]
	if of == nil {
		of = &shared{origin: is.clone()}
		o.origins[of.origin] = of
	}
	o.last = of
	return of
}

// clone is the same without what its texts are parts of.
func (o origin) clone() origin {
	return origin{
		writer{strings.Clone(o.by.gateway), strings.Clone(o.by.run)},
		strings.Clone(o.egress), strings.Clone(o.ingress), strings.Clone(o.run), o.side,
	}
}

// end is the frame of an end that lacks its cause.
func (k openKey) end() *crossingv1.Frame {
	return &crossingv1.Frame{
		Gateway: k.of.by.gateway, Run: k.of.by.run,
		Close: &crossingv1.Close{
			Id:   k.id.String(),
			Key:  &crossingv1.Key{Egress: k.of.egress, Ingress: k.of.ingress, Run: k.of.run, Sequence: k.sequence},
			Side: k.of.side,
		},
	}
}

// note learns from a frame.
func (o *openSet) note(f *crossingv1.Frame) error {
	if c := f.GetClose(); c != nil {
		o.ended(writerOf(f), c)
	}
	if h := f.GetOpen(); h != nil {
		return o.opened(writerOf(f), h)
	}
	return nil
}

// keys are those of what is open now.
func (o *openSet) keys() []openKey {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.open))
}

// encode is what the file of open crossings has, and that segments up to the highest
// that was removed say nothing more of them.
func (o *openSet) encode(highest uint32) ([]byte, error) {
	text := spool.AppendEntry(nil, binary.LittleEndian.AppendUint32(nil, highest))
	for _, k := range o.keys() {
		payload, err := crossing.MarshalFrame(k.end())
		if err != nil {
			return nil, err
		}
		text = spool.AppendEntry(text, payload)
	}
	return text, nil
}

// load reads what encode gave. The highest segment is 0 if it did not say.
func (o *openSet) load(text []byte) (highest uint32, err error) {
	for len(text) > 0 {
		var payload []byte
		if payload, text, err = spool.CutEntry(text, crossing.MaxFrame); err != nil {
			return highest, err
		}
		if len(payload) == 4 {
			highest = binary.LittleEndian.Uint32(payload)
			continue
		}
		f, err := crossing.UnmarshalFrame(payload)
		if err != nil {
			return highest, err
		}
		c := f.GetClose()
		if err := o.enter(writerOf(f), c.GetId(), c.GetKey(), c.GetSide()); err != nil {
			return highest, err
		}
	}
	return highest, nil
}
