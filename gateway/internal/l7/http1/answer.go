package http1

import (
	"bufio"
	"bytes"
	"errors"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxInterim is how many interim answers may come before the final one.
const maxInterim = 16

// Answer is the head of an answer and what it says about the connection.
type Answer struct {
	// Head has its fields as they were sent, those of the connection too, but
	// for Transfer-Encoding.
	Head   l7.ResponseHead
	Length int64 // of the content in bytes, Chunked or UntilClose
	Close  bool  // the connection ends after it

	rows string // the last ones, unless they were long
}

// keptRows is the most that is kept of an answer for the next one, in bytes.
const keptRows = 4 << 10

// ReadResponse reads the head of the answer to a request of the method into a,
// whose memory it uses again. Interim answers (1xx) are skipped; 101 is refused,
// because nobody asked for another protocol. Errors are as those of ReadHead;
// the status of an *Error is 502. The answer may be one of HTTP/1.0, which ends
// its connection. It reads nothing beyond the head out of br.
func ReadResponse(br *bufio.Reader, method string, a *Answer) error {
	for range maxInterim + 1 {
		if err := a.read(br, method); err != nil {
			var refused *Error
			if errors.As(err, &refused) {
				refused.Status = 502
			}
			return err
		}
		if a.Head.Status >= 200 {
			return nil
		}
	}
	return &Error{502, crossingv1.Reason_MALFORMED, "too many interim answers"}
}

// Reset forgets the answer, and keeps the memory.
func (a *Answer) Reset() {
	fields := a.Head.Fields
	clear(fields[:cap(fields)]) // others may have appended
	*a = Answer{Head: l7.ResponseHead{Fields: fields[:0]}, rows: a.rows}
}

func (a *Answer) read(br *bufio.Reader, method string) error {
	a.Reset()
	var s scan
	head, err := s.head(br)
	if err != nil {
		return err
	}
	err = a.parse(head, method)
	s.take(br)
	return err
}

// parse reads a whole head, its empty line included.
func (a *Answer) parse(head []byte, method string) error {
	first := bytes.IndexByte(head, '\n') + 1
	old, err := a.parseStatusLine(head[:first-len("\r\n")])
	if err != nil {
		return err
	}
	rows := head[first : len(head)-len("\r\n")]
	if err := checkRows(rows); err != nil {
		return err
	}
	text := l7.Again(a.rows, rows)
	if len(text) <= keptRows {
		a.rows = text
	}
	m := a.parseFields(text)
	if len(a.Head.Fields) > l7.MaxFields {
		return tooLarge(431, "more than %d fields", l7.MaxFields)
	}
	return a.parseFraming(&m, method, old)
}

// parseStatusLine reads VERSION STATUS [REASON]. The reason is for people. Its
// space may be missing where it is: many servers have none.
func (a *Answer) parseStatusLine(line []byte) (old bool, err error) {
	version, rest, _ := bytes.Cut(line, []byte(" "))
	status, reason, _ := bytes.Cut(rest, []byte(" "))
	if old = string(version) == "HTTP/1.0"; !old && string(version) != "HTTP/1.1" {
		return false, malformed("%.20q is not HTTP/1.1", version)
	}
	if len(status) != 3 || !l7.ValidText(reason) {
		return false, malformed("the status line is not VERSION STATUS REASON: %.40q", line)
	}
	for _, c := range status {
		if c < '0' || c > '9' {
			return false, malformed("status %q is not a number", status)
		}
		a.Head.Status = a.Head.Status*10 + int(c-'0')
	}
	switch {
	case a.Head.Status < 100 || a.Head.Status > 599:
		return false, malformed("status %d is none", a.Head.Status)
	case a.Head.Status == 101:
		return false, malformed("the protocol is changed, which was not asked for")
	}
	return old, nil
}

func (a *Answer) parseFields(rows string) (m framing) {
	fields := a.Head.Fields
	if fields == nil {
		fields = make(l7.Fields, 0, strings.Count(rows, "\n"))
	}
	for rows != "" {
		var f l7.Field
		if f, rows = cutRow(rows); !m.note(f) {
			fields = append(fields, f)
		}
	}
	a.Head.Fields = fields
	return m
}

// parseFraming says how long the content is (RFC 9112 6.3).
func (a *Answer) parseFraming(m *framing, method string, old bool) error {
	length, err := m.content()
	switch status := a.Head.Status; {
	case err != nil:
		return err
	case old && m.codings > 0:
		return malformed("a Transfer-Encoding in HTTP/1.0")
	case (status < 200 || status == 204) && (m.codings > 0 || length > 0):
		return malformed("an answer of status %d that has content", status)
	case status < 200 || status == 204 || status == 304 || method == "HEAD":
		length = 0
	}
	a.Length, a.Close = length, old || m.close || length == UntilClose
	return nil
}
