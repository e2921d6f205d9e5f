package http2

import (
	"errors"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// headBlock is a head or trailers that are being decoded. Its buffers are used
// again for the next one. It belongs to the read loop.
type headBlock struct {
	decoder          *hpack.Decoder
	limit, maxFields int

	open   bool // frames of it are still to come
	stream uint32
	end    bool // and nothing follows it
	frames int  // CONTINUATION frames so far

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

func (b *headBlock) init(cfg *Config) {
	b.limit, b.maxFields = cfg.MaxHead, cfg.MaxFields
	b.decoder = hpack.NewDecoder(tableSize, b.emit)
	b.decoder.SetMaxStringLength(2 * b.limit)
}

func (b *headBlock) begin(stream uint32, end bool) {
	*b = headBlock{
		decoder: b.decoder, limit: b.limit, maxFields: b.maxFields,
		open: true, stream: stream, end: end,
		fields: b.fields[:0], crumbs: b.crumbs[:0],
	}
}

// forget lets go of the strings.
func (b *headBlock) forget() {
	clear(b.fields)
	clear(b.crumbs)
	b.open, b.pseudo = false, [pseudos]string{}
}

// emit takes a decoded field. Beyond twice the limit no more are asked for: the
// table may hold a long one that each byte of a block repeats.
func (b *headBlock) emit(f hpack.HeaderField) {
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

func (b *headBlock) takePseudo(f hpack.HeaderField) {
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

func (b *headBlock) takeField(f hpack.HeaderField) {
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
func (b *headBlock) fault(what string) {
	if b.bad == "" {
		b.bad = what
	}
}

// take gives the fields, the crumbs of a cookie joined (RFC 9113 8.2.3).
func (b *headBlock) take() l7.Fields {
	if len(b.fields) == 0 {
		return nil
	}
	if len(b.crumbs) > 1 {
		b.fields[b.cookie].Value = strings.Join(b.crumbs, "; ")
	}
	return append(make(l7.Fields, 0, len(b.fields)+spareFields), b.fields...)
}

// spareFields is room for what a gateway adds to a head.
const spareFields = 4

// refusal is why a head is refused, and whether its stream must be reset for it.
type refusal struct {
	Refusal
	malformed bool // by RFC 9113 8.1.1
}

func malformed(detail string) *refusal {
	return &refusal{Refusal{400, crossingv1.Reason_MALFORMED, detail}, true}
}

func refuse(err error) *refusal {
	if errors.Is(err, l7.ErrTooLarge) {
		return tooLarge(err.Error())
	}
	return &refusal{Refusal{400, crossingv1.Reason_MALFORMED, err.Error()}, false}
}

func tooLarge(detail string) *refusal {
	return &refusal{Refusal{431, crossingv1.Reason_TOO_LARGE, detail}, false}
}

// request reads a request's head into s, as HTTP/1.1 would have it: a scheme that
// is the connection's own says nothing, as in origin form. What is refused is as
// far as it could be read.
func (b *headBlock) request(s *Stream, own string) *refusal {
	h := &s.request
	h.Method, h.Scheme, h.Authority, h.Path = b.pseudo[pseudoMethod], b.pseudo[pseudoScheme], b.pseudo[pseudoAuthority], b.pseudo[pseudoPath]
	h.Fields = b.take()
	if h.Scheme == own {
		h.Scheme = ""
	}
	if r := b.checkPseudo(h); r != nil {
		return r
	}
	if r := takeHost(h); r != nil {
		return r
	}
	if r := s.takeFraming(b.end); r != nil {
		return r
	}
	if err := h.Check(); err != nil {
		r := refuse(err)
		r.malformed = !validFields(h.Fields)
		return r
	}
	return nil
}

// checkPseudo checks which pseudo-headers there are (RFC 9113 8.3.1 and 8.5).
func (b *headBlock) checkPseudo(h *l7.RequestHead) *refusal {
	switch {
	case b.large:
		return tooLarge("a head beyond the limit")
	case b.bad != "":
		return malformed(b.bad)
	case b.given[pseudoStatus] || h.Method == "":
		return malformed("a request without :method, or with :status")
	case h.Method == "CONNECT":
		if b.given[pseudoScheme] || b.given[pseudoPath] || h.Authority == "" {
			return malformed("a CONNECT with :scheme or :path, or without :authority")
		}
		if _, port, err := l7.SplitAuthority(h.Authority); err != nil || port == "" {
			return refuse(errors.New("the authority of a CONNECT is not HOST:PORT"))
		}
	case !b.given[pseudoScheme] || h.Path == "":
		return malformed("a request without :scheme or :path")
	}
	return nil
}

// takeHost takes Host out. Beside :authority it must say the same; alone it is the
// authority (RFC 9113 8.3.1).
func takeHost(h *l7.RequestHead) *refusal {
	host, rows := "", 0
	for i := range h.Fields {
		if h.Fields[i].Name == "host" {
			host = h.Fields[i].Value
			rows++
		}
	}
	switch {
	case rows == 0:
		return nil
	case rows > 1:
		return malformed("more than one host field")
	case h.Authority == "":
		h.Authority = host
	case !strings.EqualFold(host, h.Authority):
		return malformed("host is not :authority")
	}
	h.Fields.Del("host")
	return nil
}

// takeFraming reads how long the content is and what the caller waits for.
func (s *Stream) takeFraming(end bool) *refusal {
	h := &s.request
	length, known, err := h.Fields.ContentLength()
	s.expect = -1
	switch {
	case err != nil:
		return malformed(err.Error())
	case known && h.Method == "CONNECT":
		return malformed("a CONNECT with content-length")
	case known && end && length > 0:
		return malformed("content-length of what has no content")
	case known:
		s.expect = length
	}
	for i := range h.Fields {
		switch f := &h.Fields[i]; f.Name {
		case "expect":
			if !strings.EqualFold(f.Value, "100-continue") {
				return &refusal{Refusal{417, crossingv1.Reason_MALFORMED, "only Expect: 100-continue is understood"}, false}
			}
			s.expects = !end
		case "trailer":
			if err := l7.CheckAnnounced(f.Value); err != nil {
				return refuse(err)
			}
		}
	}
	if s.expects || h.Fields.Has("expect") {
		h.Fields.Del("expect")
	}
	return nil
}

func validFields(f l7.Fields) bool {
	for i := range f {
		if !l7.ValidName(f[i].Name) || !l7.ValidValue(f[i].Value) {
			return false
		}
	}
	return true
}

// response reads an answer's head.
func (b *headBlock) response() (h l7.ResponseHead, bad string) {
	status := b.pseudo[pseudoStatus]
	for which, given := range b.given {
		if given != (which == pseudoStatus) {
			return h, "an answer without :status, or with another pseudo-header"
		}
	}
	switch {
	case b.large:
		return h, "the head of an answer beyond the limit"
	case b.bad != "":
		return h, b.bad
	case len(status) != 3 || status[0] < '1' || status > "999" || status[1] < '0' || status[1] > '9' || status[2] < '0':
		return h, ":status is not a status"
	}
	code := int(status[0]-'0')*100 + int(status[1]-'0')*10 + int(status[2]-'0')
	return l7.ResponseHead{Status: code, Fields: b.take()}, ""
}

// trailers reads trailers, without what a reader must not merge into the head.
func (b *headBlock) trailers() (l7.Fields, string) {
	switch {
	case !b.end:
		return nil, "trailers that do not end their stream"
	case b.large:
		return nil, "trailers beyond the limit"
	case b.bad != "":
		return nil, b.bad
	case b.given != [pseudos]bool{}:
		return nil, "a pseudo-header in trailers"
	}
	fields := b.take()
	if err := fields.Check(0); err != nil {
		return nil, "trailers that are not well formed"
	}
	if err := l7.StripTrailers(&fields); err != nil {
		return nil, "trailers that frame the content"
	}
	return fields, ""
}
