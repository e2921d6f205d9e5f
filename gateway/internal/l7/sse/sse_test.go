package sse

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// told is what a handler was told of one block.
type told struct {
	Event      bool
	Name, Data string
	From, To   int64
	BareCR     bool
}

// keeper keeps what it is told.
type keeper struct {
	data   strings.Builder
	blocks []told
}

func (k *keeper) Data(piece []byte) error {
	if len(piece) == 0 {
		panic("a piece is empty")
	}
	k.data.Write(piece)
	return nil
}

func (k *keeper) Block(b *Block) error {
	k.blocks = append(k.blocks, told{b.Event, string(b.Name), k.data.String(), b.From, b.To, b.BareCR})
	k.data.Reset()
	return nil
}

// read reads a stream in pieces that end where the bytes of at say.
func read(t *testing.T, stream string, at ...byte) []told {
	t.Helper()
	var k keeper
	p := New(&k)
	rest := []byte(stream)
	for i := 0; len(rest) > 0; i++ {
		n := len(rest)
		if i < len(at) {
			n = min(n, int(at[i]))
		}
		if got, err := p.Write(rest[:n]); got != n || err != nil {
			t.Fatalf("Write(%q) = %d, %v", rest[:n], got, err)
		}
		rest = rest[n:]
	}
	if p.Offset() != int64(len(stream)) {
		t.Errorf("Offset() = %d of %q", p.Offset(), stream)
	}
	return k.blocks
}

func TestParser(t *testing.T) {
	for _, tt := range []struct {
		name, stream string
		want         []told
	}{
		{"nothing", "", nil},
		{"an event", "data: x\n\n", []told{{true, "", "x", 0, 9, false}}},
		{"a name", "event: ping\ndata: x\n\n", []told{{true, "ping", "x", 0, 21, false}}},
		{"a name behind the data", "data: x\nevent: ping\n\n", []told{{true, "ping", "x", 0, 21, false}}},
		{"the last name counts", "event: a\nevent: b\ndata: x\n\n", []told{{true, "b", "x", 0, 27, false}}},
		{"a name that is taken back", "event: a\nevent\ndata\n\n", []told{{true, "", "", 0, 21, false}}},
		{"a name is for one event", "event: a\n\ndata:x\n\n", []told{{false, "a", "", 0, 10, false}, {true, "", "x", 10, 18, false}}},
		{"lines of data", "data: YHOO\ndata: +2\ndata: 10\n\n", []told{{true, "", "YHOO\n+2\n10", 0, 30, false}}},
		{"empty lines of data", "data\n\ndata\ndata\n\ndata:", []told{{true, "", "", 0, 6, false}, {true, "", "\n", 6, 17, false}}},
		{"one space is left out", "data:  x\n\ndata:x \n\n", []told{{true, "", " x", 0, 10, false}, {true, "", "x ", 10, 19, false}}},
		{"a colon in a value", "data: a: b\n\n", []told{{true, "", "a: b", 0, 12, false}}},
		{"comments", ": ping\n\n:data: x\n", []told{{false, "", "", 0, 8, false}}},
		{"other fields", "id: 1\nretry: 10\nfoo: bar\ndata: x\n\n", []told{{true, "", "x", 0, 34, false}}},
		{"fields that look alike", "dat: a\ndatas: b\nData: c\n data: d\neventdata: e\ndata : f\n\n", []told{{false, "", "", 0, 56, false}}},
		{"blank lines", "\n\n\ndata: x\n\n", []told{{false, "", "", 0, 1, false}, {false, "", "", 1, 2, false}, {false, "", "", 2, 3, false}, {true, "", "x", 3, 12, false}}},
		{"CRLF", "data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", []told{{true, "", "a\nb", 0, 19, false}, {true, "", "c", 20, 30, false}}},
		{"CR", "data: a\r\rdata: b\r\r", []told{{true, "", "a", 0, 9, true}, {true, "", "b", 9, 18, true}}},
		{"an LF after a CR that ends a line", "data: a\r\n\rdata: b\n\n", []told{{true, "", "a", 0, 10, false}, {true, "", "b", 10, 19, true}}},
		{"an LF alone after CRLF", "data: a\r\n\ndata: b\n\n", []told{{true, "", "a", 0, 10, false}, {true, "", "b", 10, 19, false}}},
		{"a mark", "\ufeffdata: a\n\n\ufeffdata: b\n\n", []told{{true, "", "a", 0, 12, false}, {false, "", "", 12, 24, false}}},
		{"a mark alone", "\ufeff\n\ufeff\n\n", []told{{false, "", "", 0, 4, false}, {false, "", "", 4, 9, false}}},
		{"a mark and a comment", "\ufeff: x\n\n", []told{{false, "", "", 0, 8, false}}},
		{"two marks", "\ufeff\ufeffdata: a\n\n", []told{{false, "", "", 0, 15, false}}},
		{"half a mark", "\xef\xbbdata: a\n\n", []told{{false, "", "", 0, 11, false}}},
		{"no end", "data: x\n", nil},
		{"bytes of no text", "data: \xff\x00\n\n", []told{{true, "", "\xff\x00", 0, 10, false}}},
		{"a name that is too long", "event: " + strings.Repeat("n", 1000) + "\ndata\n\n", []told{{true, strings.Repeat("n", MaxName), "", 0, 1014, false}}},
		{"a field that is too long", strings.Repeat("n", 1000) + "\ndata: x\n\n", []told{{true, "", "x", 0, 1010, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, read(t, tt.stream)); diff != "" {
				t.Errorf("%q (-want +got):\n%s", tt.stream, diff)
			}
			for at := range min(len(tt.stream), 255) {
				if diff := cmp.Diff(tt.want, read(t, tt.stream, byte(at))); diff != "" {
					t.Fatalf("%q split at %d (-want +got):\n%s", tt.stream, at, diff)
				}
			}
			one := bytes.Repeat([]byte{1}, len(tt.stream))
			if diff := cmp.Diff(tt.want, read(t, tt.stream, one...)); diff != "" {
				t.Errorf("%q byte by byte (-want +got):\n%s", tt.stream, diff)
			}
		})
	}
}

// failing has an error where it is told.
type failing struct {
	block bool
	err   error
}

func (f failing) Data([]byte) error {
	if f.block {
		return nil
	}
	return f.err
}

func (f failing) Block(*Block) error { return f.err }

func TestHandlersErrorIsFinal(t *testing.T) {
	const stream = "data: a\n\ndata: b\n\n"
	for _, tt := range []struct {
		name    string
		handler failing
		n       int
	}{
		{"of data", failing{false, errors.New("no")}, 7},
		{"of a block", failing{true, errors.New("no")}, 9},
	} {
		p := New(tt.handler)
		if n, err := p.Write([]byte(stream)); n != tt.n || !errors.Is(err, tt.handler.err) {
			t.Errorf("%s: Write = %d, %v, want %d", tt.name, n, err, tt.n)
		}
		if n, err := p.Write([]byte("x")); n != 0 || !errors.Is(err, tt.handler.err) {
			t.Errorf("%s: Write again = %d, %v", tt.name, n, err)
		}
	}
}

// An editor leaves out blocks, and knows no more of a stream than their places.
type editor struct {
	parser Parser
	drop   string // the data of events to leave out
	data   []byte
	held   []byte
	from   int64 // of the first byte held
	out    []byte
}

func (e *editor) Data(piece []byte) error {
	e.data = append(e.data, piece...)
	return nil
}

func (e *editor) Block(b *Block) error {
	e.pass(b.From)
	if string(e.data) == e.drop {
		e.held, e.from = e.held[b.To-e.from:], b.To
		e.out = append(e.out, '\n')
	}
	e.data = e.data[:0]
	e.pass(b.To)
	return nil
}

// pass gives what is held before that place.
func (e *editor) pass(to int64) {
	if n := to - e.from; n > 0 {
		e.out = append(e.out, e.held[:n]...)
		e.held, e.from = e.held[n:], to
	}
}

func (e *editor) write(b []byte) {
	e.held = append(e.held, b...)
	e.parser.Write(b)
	e.pass(e.parser.Begun())
}

// What an editor leaves is what was there but for what it left out, and it waits for
// nothing.
func TestEditor(t *testing.T) {
	for _, tt := range []struct{ name, stream, want string }{
		{"LF", "data: a\n\ndata: drop\n\n: c\n\ndata: b\n\n", "data: a\n\n\n: c\n\ndata: b\n\n"},
		{"CRLF", "data: a\r\n\r\ndata: drop\r\n\r\ndata: b\r\n\r\n", "data: a\r\n\r\n\n\ndata: b\r\n\r\n"},
		{"CR", "data: a\r\rdata: drop\r\rdata: b\r\r", "data: a\r\r\ndata: b\r\r"},
		{"a second mark", "data: drop\n\n\ufeffdata: b\n\n", "\n\ufeffdata: b\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for at := range len(tt.stream) {
				e := &editor{drop: "drop"}
				e.parser.Reset(e)
				e.write([]byte(tt.stream[:at]))
				e.write([]byte(tt.stream[at:]))
				if string(e.out) != tt.want || len(e.held) > 0 {
					t.Fatalf("split at %d: %q and %q held, want %q", at, e.out, e.held, tt.want)
				}
			}
			var kept []string
			for _, b := range read(t, tt.stream) {
				if b.Event && b.Data != "drop" {
					kept = append(kept, b.Data)
				}
			}
			var got []string
			for _, b := range read(t, tt.want) {
				if b.Event {
					got = append(got, b.Data)
				}
			}
			if diff := cmp.Diff(kept, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}
