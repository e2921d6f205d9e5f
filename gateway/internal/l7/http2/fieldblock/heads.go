package fieldblock

import (
	"errors"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Request is a request's head and what it says about the content.
type Request struct {
	Head     l7.RequestHead
	Length   int64 // of the content in bytes, -1 if it does not say
	Continue bool  // the caller waits for 100 Continue before it sends content
}

// Refusal says why a request is refused.
type Refusal struct {
	Status    int // HTTP status of the answer
	Reason    crossingv1.Reason
	Detail    string // for people; may quote a little of the request
	Malformed bool   // by RFC 9113 8.1.1, so that its stream must be reset
}

func malformed(detail string) *Refusal {
	return &Refusal{400, crossingv1.Reason_MALFORMED, detail, true}
}

func refuse(err error) *Refusal {
	if errors.Is(err, l7.ErrTooLarge) {
		return tooLarge(err.Error())
	}
	return &Refusal{400, crossingv1.Reason_MALFORMED, err.Error(), false}
}

func tooLarge(detail string) *Refusal {
	return &Refusal{431, crossingv1.Reason_TOO_LARGE, detail, false}
}

// Request reads a request's head into r, whose room for fields it uses, as HTTP/1.1 would have it: a scheme that
// is the connection's own says nothing, as in origin form. With end set no content
// follows. What is refused is as far as it could be read.
func (b *Reader) Request(r *Request, own string, end bool) *Refusal {
	h := &r.Head
	h.Method, h.Scheme, h.Authority, h.Path = b.pseudo[pseudoMethod], b.pseudo[pseudoScheme], b.pseudo[pseudoAuthority], b.pseudo[pseudoPath]
	h.Fields = b.take(h.Fields)
	if h.Scheme == own {
		h.Scheme = ""
	}
	if refused := b.checkPseudo(h); refused != nil {
		return refused
	}
	if refused := takeHost(h); refused != nil {
		return refused
	}
	if refused := r.takeFraming(end); refused != nil {
		return refused
	}
	if err := h.Check(); err != nil {
		refused := refuse(err)
		refused.Malformed = !validFields(h.Fields)
		return refused
	}
	return nil
}

// checkPseudo checks which pseudo-headers there are (RFC 9113 8.3.1 and 8.5).
func (b *Reader) checkPseudo(h *l7.RequestHead) *Refusal {
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
func takeHost(h *l7.RequestHead) *Refusal {
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
func (r *Request) takeFraming(end bool) *Refusal {
	h := &r.Head
	length, known, err := h.Fields.ContentLength()
	r.Length = -1
	switch {
	case err != nil:
		return malformed(err.Error())
	case known && h.Method == "CONNECT":
		return malformed("a CONNECT with content-length")
	case known && end && length > 0:
		return malformed("content-length of what has no content")
	case known:
		r.Length = length
	}
	for i := range h.Fields {
		switch f := &h.Fields[i]; f.Name {
		case "expect":
			if !strings.EqualFold(f.Value, "100-continue") {
				return &Refusal{417, crossingv1.Reason_MALFORMED, "only Expect: 100-continue is understood", false}
			}
			r.Continue = !end
		case "trailer":
			if err := l7.CheckAnnounced(f.Value); err != nil {
				return refuse(err)
			}
		}
	}
	if h.Fields.Has("expect") {
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

// Response reads an answer's head, which may be an interim one and is not checked
// otherwise. Its fields are in room if they fit. bad is what is wrong with it, "" if
// nothing is.
func (b *Reader) Response(room l7.Fields) (h l7.ResponseHead, bad string) {
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
	return l7.ResponseHead{Status: code, Fields: b.take(room)}, ""
}

// Trailers reads trailers, in room if they fit, without what a reader must not merge
// into the head.
func (b *Reader) Trailers(room l7.Fields) (f l7.Fields, bad string) {
	switch {
	case b.large:
		return nil, "trailers beyond the limit"
	case b.bad != "":
		return nil, b.bad
	case b.given != [pseudos]bool{}:
		return nil, "a pseudo-header in trailers"
	}
	fields := b.take(room)
	if err := fields.Check(0); err != nil {
		return nil, "trailers that are not well formed"
	}
	if err := l7.StripTrailers(&fields); err != nil {
		return nil, "trailers that frame the content"
	}
	return fields, ""
}
