// Package sse reads a text/event-stream as it streams by, in pieces of any size
// (WHATWG HTML, 9.2.6, interpreting an event stream). It tells of each event's
// data in pieces, so that no line is ever held, and of the place of each event in
// what was read, so that an editor can leave out whole ones. It changes nothing
// and decides nothing.
//
// A stream is a row of blocks, each of which a blank line ends:
//
//	: a comment, which is no event
//
//	event: message
//	data: {"a":
//	data: 1}
//
// The second is an event of that name, with the data "{\"a\":\n1}".
//
// Whatever pieces it comes in, a stream gives the same events, at the same places.
package sse

import (
	"bytes"
	"io"
)

// MaxName is how much is kept of an event's name, in bytes. The rest is cut off:
// none that means anything is so long.
const MaxName = 256

// Handler is told of a stream's blocks in their order. What it returns ends the
// reading, if it is not nil.
type Handler interface {
	// Data takes a piece of the data of the block that is being read. It is never
	// empty, and only good until the call returns.
	Data(piece []byte) error
	// Block says that a block has ended. It is only good until the call returns.
	Block(b *Block) error
}

// Block is what stands in a stream up to a blank line.
type Block struct {
	// Event says that it has data, perhaps an empty text. Otherwise it is none that a
	// reader hears of: comments, or a blank line alone.
	Event bool
	Name  []byte // of the event, "" for the usual one; at most MaxName
	// From and To are the places of its first byte in what was read, and of the first
	// behind its blank line. Blocks lie side by side, but that a blank line of CRLF
	// ends with its CR: the LF, if one follows, is part of no block.
	From, To int64
	// BareCR says that a line of it, or the blank line before, ends with CR alone.
	// There are readers who find no end of a line there.
	BareCR bool
}

// field is what a line is about, as far as it was read.
type field uint8

const (
	unnamed field = iota // it is being read
	other                // a comment, an id, a time to retry, or anything else
	event
	data
)

// mark is the byte order mark that may begin a stream.
const mark = "\ufeff"

// Parser reads one stream. It is an io.Writer whose errors are the handler's, and
// final. It is not safe for concurrent use. Its zero value is not ready: see Reset.
//
// An editor keeps what was read from Begun on. After each Write it passes on what
// stands before Begun, but for blocks that are to go. In the place of those it puts
// an LF: a line that was not the stream's first may begin with a byte order mark,
// which means something else there.
type Parser struct {
	handler Handler
	err     error
	offset  int64
	at      int64 // of the data that is told

	block Block // that is being read; Name has its own buffer
	field field
	begun bool // the value of a field has begun: a space at its start was left out
	after bool // not the first line
	cr    bool // the byte before was a CR
	size  int  // of the field's name so far
	name  [len(mark) + len("event")]byte
	lf    [1]byte
}

// New makes a parser that tells h.
func New(h Handler) *Parser {
	p := new(Parser)
	p.Reset(h)
	return p
}

// Reset makes p as New does, for another stream. It keeps its buffer.
func (p *Parser) Reset(h Handler) {
	*p = Parser{handler: h, block: Block{Name: p.block.Name[:0]}, lf: [1]byte{'\n'}}
}

// Offset is how many bytes were read.
func (p *Parser) Offset() int64 { return p.offset }

// Begun is where the block begins that is being read: Offset between two blocks.
// If the stream ends, what stands from there on is no event.
func (p *Parser) Begun() int64 { return p.block.From }

// At is where the piece begins that Data is told of while it is: one that is a line
// feed alone joins two lines, and stands nowhere.
func (p *Parser) At() int64 { return p.at }

var _ io.Writer = (*Parser)(nil)

// Write reads a piece of the stream. If the handler had an error, n is up to the
// end of the line, or of the piece of it, that it was told of.
func (p *Parser) Write(b []byte) (n int, err error) {
	lf := -1 // the first in b that is not behind n
	for n < len(b) && p.err == nil {
		if n += p.skipLF(b[n]); n == len(b) {
			break
		}
		if lf < n {
			lf = index(b, n, '\n')
		}
		end := n + index(b[n:lf], 0, '\r')
		p.err = p.text(b[n:end])
		p.offset += int64(end - n)
		if n = end; n < len(b) && p.err == nil {
			n++
			p.offset++
			p.cr = b[end] == '\r'
			p.err = p.endLine()
		}
	}
	return n, p.err
}

// index is where c stands first in b from that place on; len(b) if nowhere.
func index(b []byte, from int, c byte) int {
	if i := bytes.IndexByte(b[from:], c); i >= 0 {
		return from + i
	}
	return len(b)
}

// skipLF is how many bytes at c only complete a CRLF.
func (p *Parser) skipLF(c byte) int {
	if !p.cr {
		return 0
	}
	p.cr = false
	if c != '\n' {
		p.block.BareCR = true
		return 0
	}
	if p.block.From == p.offset {
		p.block.From++
	}
	p.offset++
	return 1
}

// text takes a piece of a line.
func (p *Parser) text(b []byte) error {
	end := p.offset + int64(len(b))
	if p.field == unnamed {
		rest, found := p.readName(b)
		if !found {
			return nil
		}
		if err := p.named(); err != nil {
			return err
		}
		b = rest
	}
	if len(b) > 0 && !p.begun {
		p.begun = true
		if b[0] == ' ' {
			b = b[1:]
		}
	}
	p.at = end - int64(len(b))
	return p.value(b)
}

// readName takes what b has of the name of the line's field, and gives what is
// behind its colon.
func (p *Parser) readName(b []byte) (rest []byte, found bool) {
	end := index(b, 0, ':')
	if p.size < len(p.name) {
		copy(p.name[p.size:], b[:end])
	}
	p.size = min(p.size+end, len(p.name)+1)
	if end == len(b) {
		return nil, false
	}
	return b[end+1:], true
}

// fieldName is what was read of the name of the line's field; none has more than
// fits.
func (p *Parser) fieldName() []byte {
	name := p.name[:min(p.size, len(p.name))]
	if !p.after {
		name = bytes.TrimPrefix(name, []byte(mark))
	}
	return name
}

// named begins the value of a line, whose name is known.
func (p *Parser) named() error {
	p.field, p.begun = other, false
	if p.size > len(p.name) {
		return nil
	}
	switch string(p.fieldName()) {
	case "event":
		p.field = event
		p.block.Name = p.block.Name[:0]
	case "data":
		p.field = data
		if p.block.Event {
			return p.handler.Data(p.lf[:])
		}
		p.block.Event = true
	}
	return nil
}

// value takes a piece of the value of a line.
func (p *Parser) value(b []byte) error {
	switch {
	case len(b) == 0:
	case p.field == data:
		return p.handler.Data(b)
	case p.field == event:
		name := &p.block.Name
		*name = append(*name, b[:min(len(b), MaxName-len(*name))]...)
	}
	return nil
}

// endLine goes on behind a line.
func (p *Parser) endLine() (err error) {
	switch {
	case p.field != unnamed:
	case len(p.fieldName()) == 0:
		err = p.endBlock()
	default:
		err = p.named()
	}
	p.field, p.size, p.after = unnamed, 0, true
	return err
}

// endBlock tells of a block, and begins another.
func (p *Parser) endBlock() error {
	p.block.To = p.offset
	err := p.handler.Block(&p.block)
	p.block = Block{Name: p.block.Name[:0], From: p.offset}
	return err
}
