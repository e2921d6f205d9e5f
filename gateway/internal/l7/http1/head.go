package http1

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Chunked is the Length of a body in chunked coding.
const Chunked = -1

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
}

// ReadHead reads the head of a request. It returns io.EOF if there is no byte,
// io.ErrUnexpectedEOF if it is cut off, what ParseHead returns if it is refused,
// else the reader's error. It reads nothing beyond the head out of br.
func ReadHead(br *bufio.Reader) (*Request, error) {
	var head strings.Builder
	for rows := 0; ; rows++ {
		start := head.Len()
		if err := readLine(br, &head, rows); err != nil {
			if errors.Is(err, io.EOF) && head.Len() > 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if line := head.String()[start:]; line == "\r\n" && rows > 0 {
			return ParseHead(head.String())
		} else if !strings.HasSuffix(line, "\r\n") {
			return nil, malformed("a line of the head does not end in CRLF")
		}
		if rows > l7.MaxFields {
			return nil, tooLarge(431, "more than %d fields", l7.MaxFields)
		}
	}
}

// readLine appends a line with its end to head, within the limits.
func readLine(br *bufio.Reader, head *strings.Builder, row int) error {
	for {
		part, err := br.ReadSlice('\n')
		head.Write(part)
		switch {
		case row == 0 && head.Len() > maxRequestLine:
			return tooLarge(414, "request line of more than %d bytes", maxRequestLine)
		case head.Len() > l7.MaxHeadBytes:
			return tooLarge(431, "head of more than %d bytes", l7.MaxHeadBytes)
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// ParseHead reads a whole head, its empty line included. Errors are *Error; the
// request is then as far as it was read, for the record alone, nil if not at all.
func ParseHead(s string) (*Request, error) {
	s, whole := strings.CutSuffix(s, "\r\n\r\n")
	if !whole {
		return nil, malformed("the head does not end in an empty line")
	}
	line, rows, _ := strings.Cut(s, "\r\n")
	r := &Request{}
	target, err := r.parseRequestLine(line)
	if err != nil {
		return r, err
	}
	if r.Head.Fields, err = parseFields(rows); err != nil {
		return r, err
	}
	if err := r.parseTarget(target); err != nil {
		return r, err
	}
	if err := r.parseFraming(); err != nil {
		return r, err
	}
	if err := r.parseConnection(); err != nil {
		return r, err
	}
	if err := r.Head.Check(); err != nil {
		return r, refuse(err)
	}
	return r, nil
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

// parseFields reads rows of fields divided by CRLF; "" has none.
func parseFields(rows string) (l7.Fields, error) {
	if rows == "" {
		return nil, nil
	}
	fields := make(l7.Fields, 0, strings.Count(rows, "\r\n")+1)
	for row := range strings.SplitSeq(rows, "\r\n") {
		if row == "" || row[0] == ' ' || row[0] == '\t' {
			return nil, malformed("a folded or empty line among the fields")
		}
		name, value, found := strings.Cut(row, ":")
		if !found || !l7.IsToken(name) {
			return nil, malformed("%.40q is not NAME: VALUE", row)
		}
		value = strings.Trim(value, " \t")
		if !l7.ValidValue(value) {
			return nil, malformed("the value of field %.40q has control characters", name)
		}
		fields = append(fields, l7.Field{Name: strings.ToLower(name), Value: value})
	}
	return fields, nil
}

// parseTarget reads the four forms of RFC 9112 3.2 and takes Host out.
func (r *Request) parseTarget(target string) error {
	host, err := r.takeHost()
	if err != nil {
		return err
	}
	h := &r.Head
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

func (r *Request) takeHost() (string, error) {
	fields := &r.Head.Fields
	host, rows := "", 0
	for _, f := range *fields {
		if f.Name == "host" {
			host = f.Value
			rows++
		}
	}
	if rows != 1 {
		return "", malformed("%d Host fields, there must be one", rows)
	}
	if err := l7.CheckAuthority(host); err != nil {
		r.Head.Authority = host
		return "", malformed("Host: %v", err)
	}
	fields.Del("host")
	return host, nil
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

// parseFraming says how long the body is. Whatever could make two readers see
// two lengths is refused (RFC 9112 6.1 and 6.3).
func (r *Request) parseFraming() error {
	fields := &r.Head.Fields
	length, known, err := fields.ContentLength()
	if err != nil {
		return malformed("%v", err)
	}
	r.Length = length
	if fields.Has("transfer-encoding") {
		rows := 0
		for _, f := range *fields {
			if f.Name == "transfer-encoding" {
				rows++
			}
		}
		switch coding := fields.Get("transfer-encoding"); {
		case known:
			return malformed("both Content-Length and Transfer-Encoding")
		case rows > 1 || !strings.EqualFold(coding, "chunked"):
			return malformed("Transfer-Encoding is %.40q in %d fields, only chunked is understood", coding, rows)
		}
		fields.Del("transfer-encoding")
		r.Length = Chunked
	}
	if r.Head.Method == "CONNECT" && r.Length != 0 {
		return malformed("a CONNECT has no content")
	}
	return nil
}

func (r *Request) parseConnection() error {
	for _, f := range r.Head.Fields {
		switch f.Name {
		case "connection":
			for option := range strings.SplitSeq(f.Value, ",") {
				r.Close = r.Close || strings.EqualFold(strings.Trim(option, " \t"), "close")
			}
		case "upgrade":
			r.Upgrade = strings.TrimPrefix(r.Upgrade+", "+f.Value, ", ")
		case "expect":
			if !strings.EqualFold(f.Value, "100-continue") {
				return &Error{417, crossingv1.Reason_MALFORMED, "only Expect: 100-continue is understood"}
			}
			r.Continue = r.Length != 0
		case "trailer":
			if err := l7.CheckAnnounced(f.Value); err != nil {
				return malformed("%v", err)
			}
		}
	}
	r.Head.Fields.Del("expect")
	return nil
}
