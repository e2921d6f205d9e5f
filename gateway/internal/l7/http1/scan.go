package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// scan follows a head, line by line, as it comes into a reader's buffer.
type scan struct {
	seen int    // of the buffer: whole lines
	rows int    // whole lines so far
	held []byte // what came before the buffer's content and did not fit into it
	line int    // how much of the line at hand is in held
}

// head awaits a whole head in br, which ends in an empty line. It does not take
// it: take does. The bytes are those of br's buffer if they fit, and may be
// changed. Errors are io.EOF if there is no byte, io.ErrUnexpectedEOF if the
// head is cut off, *Error if it is refused, else the reader's.
func (s *scan) head(br *bufio.Reader) ([]byte, error) {
	for {
		window, _ := br.Peek(br.Buffered())
		whole, err := s.lines(window)
		if err != nil {
			return nil, err
		}
		if whole && s.held == nil {
			return window[:s.seen], nil
		}
		if whole {
			s.held = append(s.held, window[:s.seen]...)
			return s.held, nil
		}
		if len(window) == br.Size() {
			s.hold(br, window)
		}
		if _, err := br.Peek(br.Buffered() + 1); err != nil {
			if errors.Is(err, io.EOF) && len(s.held)+br.Buffered() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// take takes what is left of the head out of br.
func (s *scan) take(br *bufio.Reader) { _, _ = br.Discard(s.seen) }

// hold makes room in br's buffer.
func (s *scan) hold(br *bufio.Reader, window []byte) {
	s.line += len(window) - s.seen
	s.held = append(s.held, window...)
	_, _ = br.Discard(len(window))
	s.seen = 0
}

// lines looks at the lines that have come, within the limits, and says whether
// the empty one has.
func (s *scan) lines(window []byte) (whole bool, err error) {
	for {
		i := bytes.IndexByte(window[s.seen:], '\n')
		end := s.seen + i + 1
		if i < 0 {
			end = len(window)
		}
		switch {
		case s.rows == 0 && len(s.held)+end > maxRequestLine:
			return false, tooLarge(414, "first line of more than %d bytes", maxRequestLine)
		case len(s.held)+end > l7.MaxHeadBytes:
			return false, tooLarge(431, "head of more than %d bytes", l7.MaxHeadBytes)
		case i < 0:
			return false, nil
		case !s.endsInCRLF(window[:end]):
			return false, malformed("a line of the head does not end in CRLF")
		}
		length := end - s.seen + s.line
		s.seen, s.line = end, 0
		if s.rows++; length == len("\r\n") && s.rows > 1 {
			return true, nil
		}
		if s.rows > l7.MaxFields+1 {
			return false, tooLarge(431, "more than %d fields", l7.MaxFields)
		}
	}
}

// endsInCRLF says that the LF at the end of the window has a CR before it.
func (s *scan) endsInCRLF(window []byte) bool {
	if len(window) > 1 {
		return window[len(window)-2] == '\r'
	}
	return bytes.HasSuffix(s.held, []byte("\r"))
}

// checkRows says what is not well formed in rows of fields, each of which ends in
// CRLF, and makes the names of fields lower case, in place.
func checkRows(rows []byte) error {
	for len(rows) > 0 {
		end := bytes.IndexByte(rows, '\n') + 1
		row := rows[:end-len("\r\n")]
		rows = rows[end:]
		if len(row) == 0 || row[0] == ' ' || row[0] == '\t' {
			return malformed("a folded or empty line among the fields")
		}
		colon := bytes.IndexByte(row, ':')
		if colon < 0 || !l7.LowerName(row[:colon]) {
			return malformed("%.40q is not NAME: VALUE", row)
		}
		if !l7.ValidText(row[colon+1:]) {
			return malformed("the value of field %.40q has control characters", row[:colon])
		}
	}
	return nil
}

// cutRow takes the first of the rows that checkRows has passed.
func cutRow(rows string) (f l7.Field, rest string) {
	end := strings.IndexByte(rows, '\n')
	row := rows[:end-1]
	colon := strings.IndexByte(row, ':')
	return l7.Field{Name: row[:colon], Value: strings.Trim(row[colon+1:], " \t")}, rows[end+1:]
}
