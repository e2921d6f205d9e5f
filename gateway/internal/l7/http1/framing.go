package http1

import (
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Lengths of content that are none in bytes.
const (
	Chunked    = -1 // in chunked coding
	UntilClose = -2 // it ends with the connection; only an answer's
)

// unknown is the length that a head does not tell.
const unknown = UntilClose

// framing is what the fields of a head say of how the message is carried.
type framing struct {
	lengths, codings int    // fields of that name
	length, coding   string // the last one's value
	close            bool   // the connection ends after the message
	trailer          string // a name that is announced and cannot be one
}

// note takes a field into account. It says whether it ends here: it is nobody
// else's business how this connection is coded.
func (m *framing) note(f l7.Field) (endsHere bool) {
	switch f.Name {
	case "content-length":
		m.length = f.Value
		m.lengths++
	case "transfer-encoding":
		m.coding = f.Value
		m.codings++
		return true
	case "connection":
		m.close = m.close || l7.HasToken(f.Value, "close")
	case "trailer":
		m.announce(f.Value)
	}
	return false
}

func (m *framing) announce(names string) {
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.ToLower(strings.Trim(name, " \t")); l7.FramesMessage(name) {
			m.trailer = name
		}
	}
}

// content is the length of the content in bytes, Chunked, or unknown. Whatever
// could make two readers see two lengths is refused (RFC 9112 6.1 and 6.3).
func (m *framing) content() (int64, error) {
	switch {
	case m.trailer != "":
		return 0, malformed("%s cannot be a trailer", m.trailer)
	case m.lengths > 1:
		return 0, malformed("more than one content-length")
	case m.lengths == 1 && m.codings > 0:
		return 0, malformed("both Content-Length and Transfer-Encoding")
	case m.lengths == 1:
		n, err := l7.ParseLength(m.length)
		if err != nil {
			return 0, refuse(err)
		}
		return n, nil
	case m.codings == 0:
		return unknown, nil
	case m.codings > 1 || !strings.EqualFold(m.coding, "chunked"):
		return 0, malformed("Transfer-Encoding is %.40q in %d fields, only chunked is understood", m.coding, m.codings)
	}
	return Chunked, nil
}
