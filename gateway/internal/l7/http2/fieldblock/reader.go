package fieldblock

import (
	"errors"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Errors after which the connection cannot go on, for its table is not what the
// peer takes it for. The text quotes nothing.
var (
	ErrDecode = errors.New("a head that does not decode")
	ErrBomb   = errors.New("a head beyond twice the limit")
)

// TableSize is the dynamic table of each direction: what HPACK begins with, and
// what is kept to.
const TableSize = 4096

// Reader reads one block after another, in the order they came, whatever becomes
// of them: later ones refer to earlier ones. It is not safe for concurrent use.
type Reader struct {
	decoder          *hpack.Decoder
	limit, maxFields int

	size    int
	large   bool // beyond the limit; what is beyond was not kept
	bomb    bool // beyond twice the limit
	bad     string
	pseudo  [pseudos]string
	given   [pseudos]bool
	regular bool // a field came that is no pseudo-header
	fields  l7.Fields
	crumbs  []string // values of cookie
	cookie  int      // where in fields they go
}

// The pseudo-headers of RFC 9113 8.3.
const (
	pseudoMethod = iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoStatus
	pseudos
)

// NewReader makes a reader of heads of limit bytes, as RFC 9113 10.5.1 counts
// them, and of maxFields fields.
func NewReader(limit, maxFields int) *Reader {
	b := &Reader{limit: limit, maxFields: maxFields}
	b.decoder = hpack.NewDecoder(TableSize, b.emit)
	b.decoder.SetMaxStringLength(2 * limit)
	return b
}

// Write decodes a fragment of a block.
func (b *Reader) Write(fragment []byte) error {
	_, err := b.decoder.Write(fragment)
	switch {
	case b.bomb || errors.Is(err, hpack.ErrStringLength):
		return ErrBomb
	case err != nil:
		return ErrDecode
	}
	return nil
}

// Close says that the block is whole. It can be read until Reset.
func (b *Reader) Close() error {
	if b.decoder.Close() != nil {
		return ErrDecode
	}
	return nil
}

// Reset lets go of what was read.
func (b *Reader) Reset() {
	clear(b.fields)
	clear(b.crumbs)
	*b = Reader{
		decoder: b.decoder, limit: b.limit, maxFields: b.maxFields,
		fields: b.fields[:0], crumbs: b.crumbs[:0],
	}
}

// emit takes a decoded field. Beyond twice the limit no more are asked for: the
// table may hold a long one that each byte of a block repeats.
func (b *Reader) emit(f hpack.HeaderField) {
	b.size += int(f.Size())
	switch {
	case b.size > 2*b.limit:
		b.bomb = true
		b.decoder.SetEmitEnabled(false)
	case b.size > b.limit || len(b.fields)+len(b.crumbs) > b.maxFields:
		b.large = true
	case f.IsPseudo():
		b.takePseudo(f)
	default:
		b.takeField(f)
	}
}

func (b *Reader) takePseudo(f hpack.HeaderField) {
	which := -1
	switch f.Name {
	case ":method":
		which = pseudoMethod
	case ":scheme":
		which = pseudoScheme
	case ":authority":
		which = pseudoAuthority
	case ":path":
		which = pseudoPath
	case ":status":
		which = pseudoStatus
	}
	switch {
	case which < 0:
		b.fault("a pseudo-header that is not known")
	case b.given[which]:
		b.fault("a pseudo-header twice")
	case b.regular:
		b.fault("a pseudo-header behind other fields")
	default:
		b.given[which], b.pseudo[which] = true, f.Value
	}
}

func (b *Reader) takeField(f hpack.HeaderField) {
	b.regular = true
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		b.fault("a field of the connection: " + f.Name) // RFC 9113 8.2.2
		return
	case "te":
		if f.Value != "trailers" {
			b.fault("te is not trailers")
			return
		}
	case "cookie":
		b.crumbs = append(b.crumbs, f.Value)
		if len(b.crumbs) > 1 {
			return
		}
		b.cookie = len(b.fields)
	}
	b.fields = append(b.fields, l7.Field{Name: f.Name, Value: f.Value})
}

// fault keeps the first thing that is wrong.
func (b *Reader) fault(what string) {
	if b.bad == "" {
		b.bad = what
	}
}

// take gives the fields, the crumbs of a cookie joined (RFC 9113 8.2.3), in room if
// they fit.
func (b *Reader) take(room l7.Fields) l7.Fields {
	if len(b.fields) == 0 {
		return nil
	}
	if len(b.crumbs) > 1 {
		b.fields[b.cookie].Value = strings.Join(b.crumbs, "; ")
	}
	if cap(room) < len(b.fields)+spareFields {
		room = make(l7.Fields, 0, len(b.fields)+spareFields)
	}
	return append(room[:0], b.fields...)
}

// spareFields is room for what a gateway adds to a head.
const spareFields = 4
