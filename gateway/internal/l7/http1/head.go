package http1

import (
	"bufio"
	"bytes"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Request is the head of a request and what it says about the connection.
type Request struct {
	// Head has its fields as they were sent, those of the connection too, but
	// for Host and Transfer-Encoding: l7.StripIncoming takes the rest out.
	Head     l7.RequestHead
	Proxy    bool   // asked as of a forward proxy: a CONNECT, or in absolute form
	Length   int64  // of the body in bytes, or Chunked
	Close    bool   // the caller will not use the connection again
	Continue bool   // the caller waits for 100 Continue before it sends the body
	Upgrade  string // the protocols that the caller would change to; "" if none

	text string // the last one, unless it was long
}

// keptText is the most that is kept of a request for the next one, in bytes.
const keptText = 4 << 10

// ReadHead reads the head of a request into r, whose memory it uses again. It
// returns io.EOF if there is no byte, io.ErrUnexpectedEOF if it is cut off, an
// *Error if it is refused, else the reader's error. Of a head that is refused, r
// has as much as could be read, for the record alone. It reads nothing beyond
// the head out of br.
func ReadHead(br *bufio.Reader, r *Request) error {
	r.Reset()
	var s scan
	head, err := s.head(br)
	if err != nil {
		return err
	}
	err = r.parse(head)
	s.take(br)
	return err
}

// Reset forgets the request, and keeps the memory.
func (r *Request) Reset() {
	fields := r.Head.Fields
	clear(fields[:cap(fields)]) // others may have appended
	*r = Request{Head: l7.RequestHead{Fields: fields[:0]}, text: r.text}
}

// parse reads a whole head, its empty line included.
func (r *Request) parse(head []byte) error {
	first := bytes.IndexByte(head, '\n') + 1
	fault := checkRows(head[first : len(head)-len("\r\n")])
	text := l7.Again(r.text, head)
	if len(text) <= keptText {
		r.text = text
	}
	target, err := r.parseRequestLine(text[:first-len("\r\n")])
	if err != nil {
		return err
	}
	if fault != nil {
		return fault
	}
	m := r.parseFields(text[first : len(text)-len("\r\n")])
	if err := r.parseTarget(target, &m); err != nil {
		return err
	}
	if err := r.parseFraming(&m); err != nil {
		return err
	}
	if err := r.Head.CheckLine(); err != nil {
		return refuse(err)
	}
	if m.size += len(r.Head.Method) + len(r.Head.Authority) + len(r.Head.Path); m.size > l7.MaxHeadBytes {
		return tooLarge(431, "head of more than %d bytes", l7.MaxHeadBytes)
	}
	return nil
}

func (r *Request) parseRequestLine(line string) (target string, err error) {
	method, rest, _ := strings.Cut(line, " ")
	target, version, found := strings.Cut(rest, " ")
	if !found || !l7.IsToken(method) || target == "" {
		return "", malformed("the request line is not METHOD TARGET VERSION: %.40q", line)
	}
	if version != "HTTP/1.1" {
		if isVersion(version) {
			return "", &Error{505, crossingv1.Reason_MALFORMED, version + " is not spoken here, HTTP/1.1 is"}
		}
		return "", malformed("%.20q is not an HTTP version", version)
	}
	r.Head.Method = method
	return target, nil
}

func isVersion(s string) bool {
	return len(s) == len("HTTP/1.0") && strings.HasPrefix(s, "HTTP/") && s[6] == '.' &&
		'0' <= s[5] && s[5] <= '9' && '0' <= s[7] && s[7] <= '9'
}

// message is what the fields of a request say of the message itself.
type message struct {
	framing
	host  string
	hosts int
	unmet bool // something else is expected than 100 Continue
	size  int  // of the fields that are kept, in bytes
}

// parseFields puts rows of fields that are well formed into the head, but for
// those that are only about the message.
func (r *Request) parseFields(rows string) (m message) {
	fields := r.Head.Fields
	if fields == nil {
		fields = make(l7.Fields, 0, strings.Count(rows, "\n"))
	}
	for rows != "" {
		var f l7.Field
		f, rows = cutRow(rows)
		if m.note(f) || r.note(f, &m) {
			continue
		}
		m.size += len(f.Name) + len(f.Value) + 4
		fields = append(fields, f)
	}
	r.Head.Fields = fields
	return m
}

// note is framing's for what only requests say.
func (r *Request) note(f l7.Field, m *message) (endsHere bool) {
	switch f.Name {
	case "host":
		m.host = f.Value
		m.hosts++
		return true
	case "expect":
		r.Continue = true
		m.unmet = m.unmet || !strings.EqualFold(f.Value, "100-continue")
		return true
	case "upgrade":
		r.Upgrade = strings.TrimPrefix(r.Upgrade+", "+f.Value, ", ")
	}
	return false
}

// parseTarget reads the four forms of RFC 9112 3.2 and takes Host out.
func (r *Request) parseTarget(target string, m *message) error {
	if m.hosts != 1 {
		return malformed("%d Host fields, there must be one", m.hosts)
	}
	h, host := &r.Head, m.host
	if err := l7.CheckAuthority(host); err != nil {
		h.Authority = host
		return malformed("Host: %v", err)
	}
	switch {
	case h.Method == "CONNECT":
		r.Proxy, h.Authority = true, target
		if _, port, err := l7.SplitAuthority(target); err != nil {
			return malformed("the target of a CONNECT: %v", err)
		} else if port == "" {
			return malformed("the target of a CONNECT is not HOST:PORT: %.80q", target)
		}
	case target[0] == '/' || target == "*":
		h.Authority, h.Path = host, target
	default:
		if err := r.parseAbsolute(target); err != nil {
			return err
		}
	}
	if r.Proxy && !sameHost(host, h) {
		return malformed("Host %.80q is not the target's %.80q", host, h.Authority)
	}
	return nil
}

func (r *Request) parseAbsolute(target string) error {
	scheme, rest, found := strings.Cut(target, "://")
	scheme = strings.ToLower(scheme)
	if !found || scheme != "http" && scheme != "https" {
		return malformed("the target is neither a path nor an http or https URL: %.40q", target)
	}
	h, end := &r.Head, strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	r.Proxy, h.Scheme, h.Authority, h.Path = true, scheme, rest[:end], rest[end:]
	if _, _, err := l7.SplitAuthority(h.Authority); err != nil {
		return malformed("%v", err)
	}
	switch {
	case h.Path == "" && h.Method == "OPTIONS":
		h.Path = "*" // RFC 9112 3.2.4
	case !strings.HasPrefix(h.Path, "/"):
		h.Path = "/" + h.Path
	}
	return nil
}

// sameHost says that Host names the target's authority; a default port may
// stand in one and not in the other, and for a CONNECT the port may be absent.
func sameHost(host string, h *l7.RequestHead) bool {
	want, got := h.Authority, host
	switch {
	case h.Method == "CONNECT":
		if _, port, _ := l7.SplitAuthority(got); port == "" {
			want = want[:strings.LastIndexByte(want, ':')]
		}
	case h.Scheme == "https":
		want, got = strings.TrimSuffix(want, ":443"), strings.TrimSuffix(got, ":443")
	default:
		want, got = strings.TrimSuffix(want, ":80"), strings.TrimSuffix(got, ":80")
	}
	return strings.EqualFold(want, got)
}

// parseFraming says how long the content is, and what becomes of the connection.
func (r *Request) parseFraming(m *message) error {
	length, err := m.content()
	if err != nil {
		return err
	}
	if length == unknown {
		length = 0 // RFC 9112 6.3, number 7
	}
	r.Length, r.Close, r.Continue = length, m.close, r.Continue && length != 0
	switch {
	case r.Head.Method == "CONNECT" && length != 0:
		return malformed("a CONNECT has no content")
	case m.unmet:
		return &Error{417, crossingv1.Reason_MALFORMED, "only Expect: 100-continue is understood"}
	}
	return nil
}
