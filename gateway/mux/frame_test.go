package mux

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// vector is one line of a file of testdata.
type vector struct {
	name    string
	bytes   []byte
	meaning string
}

func vectors(t testing.TB, file string) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(strings.TrimSpace(line), "|")
		if len(parts) != 3 {
			t.Fatalf("%s: line %q has no three parts", file, line)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(parts[1], " ", ""))
		if err != nil {
			t.Fatalf("%s: line %q: %v", file, line, err)
		}
		all = append(all, vector{strings.TrimSpace(parts[0]), b, strings.TrimSpace(parts[2])})
	}
	if len(all) < 10 {
		t.Fatalf("%s has %d vectors only", file, len(all))
	}
	return all
}

// meaning is what a vector is, in the words of the file.
func meaning(v vector) string {
	var s Settings
	var h Header
	var err error
	if strings.HasPrefix(v.name, "preface") {
		s, err = ParsePreface(v.bytes)
	} else {
		h, err = ParseHeader(v.bytes)
	}
	var fault *FaultError
	switch {
	case errors.As(err, &fault):
		return fmt.Sprintf("fault %d", fault.Reason)
	case err != nil:
		return "not a fault: " + err.Error()
	case h.Type == 0:
		return fmt.Sprintf("preface class=%d generation=%d stream=%d tunnel=%d streams=%d", s.Class, s.Generation, s.StreamWindow, s.TunnelWindow, s.MaxStreams)
	}
	return fmt.Sprintf("%s stream=%d flags=%d length=%d", h.Type, h.Stream, h.Flags, h.Length)
}

func TestVectorsAreRead(t *testing.T) {
	for _, v := range vectors(t, "vectors.txt") {
		if got := meaning(v); got != v.meaning {
			t.Errorf("%s is %q, want %q", v.name, got, v.meaning)
		}
	}
}

func TestVectorsAreWritten(t *testing.T) {
	header := []byte{1<<3 | 2, 1, 'x'} // a crossing's, of the id x alone
	clock := time.Unix(0, 0x17c3e9f2d4a51000)
	probe := Probe{Opaque: 0x0123456789abcdef, Clock: clock}
	written := map[string][]byte{
		"preface":            AppendPreface(nil, Settings{StreamWindow: 256 << 10, TunnelWindow: 64 << 20, MaxStreams: 10_000}),
		"preface-bulk":       AppendPreface(nil, Settings{Class: ClassBulk, StreamWindow: 256 << 10, TunnelWindow: 64 << 20, MaxStreams: 10_000}),
		"preface-generation": AppendPreface(nil, Settings{Generation: 258, StreamWindow: 256 << 10, TunnelWindow: 64 << 20, MaxStreams: 10_000}),
		"open":               AppendOpen(nil, 1, header),
		"open-empty":         AppendOpen(nil, 2, nil),
		"data":               AppendData(nil, 1, []byte("hello"), false),
		"data-fin":           AppendData(nil, 1, []byte("hello"), true),
		"data-fin-empty":     AppendData(nil, 1, nil, true),
		"reset":              AppendReset(nil, 3, 5),
		"window":             AppendWindow(nil, 3, 128<<10),
		"window-tunnel":      AppendWindow(nil, 0, 32<<20),
		"ping":               AppendPing(nil, probe),
		"pong":               AppendPong(nil, Probe{Opaque: probe.Opaque, Clock: clock.Add(1)}),
		"goaway":             AppendGoAway(nil, 7, Draining),
	}
	for _, v := range vectors(t, "vectors.txt") {
		if got, ok := written[v.name]; ok && !bytes.Equal(got, v.bytes) {
			t.Errorf("%s is written as %x, want %x", v.name, got, v.bytes)
		}
		delete(written, v.name)
	}
	for name := range written {
		t.Errorf("there is no vector %q", name)
	}
}

func TestSessionVector(t *testing.T) {
	lines := vectors(t, "session.txt")
	settings := Settings{StreamWindow: 64 << 10, TunnelWindow: 64 << 10, MaxStreams: 2}
	acceptor, dialler := NewConn[string](Acceptor, settings, settings), NewConn[string](Dialler, settings, settings)
	for _, v := range lines[:2] {
		if got, err := ParsePreface(v.bytes); err != nil || got != settings {
			t.Fatalf("%s: %+v, %v", v.meaning, got, err)
		}
	}
	// The sender of each line does what puts the line on the wire.
	for _, v := range lines[2:] {
		sender, receiver := dialler, acceptor
		if v.name == "acceptor" {
			sender, receiver = acceptor, dialler
		}
		h, err := ParseHeader(v.bytes)
		if err != nil {
			t.Fatalf("%s: %v", v.meaning, err)
		}
		act(t, sender, h)
		if _, err := receiver.Receive(h, v.bytes[HeaderLen:]); err != nil {
			t.Fatalf("%s: %v", v.meaning, err)
		}
	}
	if dialler.Len() != 0 || acceptor.Len() != 0 {
		t.Errorf("%d and %d streams are open in the end", dialler.Len(), acceptor.Len())
	}
	if _, err := dialler.Open(); !errors.Is(err, ErrGoingAway) {
		t.Errorf("Open after GOAWAY: %v, want ErrGoingAway", err)
	}
}

// act does in the sender's state what the frame says.
func act(t *testing.T, c *Conn[string], h Header) {
	t.Helper()
	switch h.Type {
	case Open:
		s, err := c.Open()
		if err != nil || s.ID() != h.Stream {
			t.Fatalf("Open = %v, %v, want stream %d", s, err, h.Stream)
		}
	case Data, Reset:
		s := c.streams[h.Stream]
		switch {
		case s == nil: // it was on its way
		case h.Type == Reset:
			c.Reset(s)
		default:
			c.Sent(s, h.Length)
			if h.Flags&FlagFin != 0 {
				c.End(s)
			}
		}
	case GoAway:
		c.GoAway()
		c.Rest()
	}
}

func TestFaultsSayWhatHappened(t *testing.T) {
	tests := []struct {
		fault FaultError
		want  string
	}{
		{FaultError{Reason: BadPreface, Detail: "no magic"}, "preface: bad preface: no magic"},
		{FaultError{Reason: StreamReuse, Type: Open, Stream: 3}, "OPEN on stream 3: stream was opened before"},
		{FaultError{Reason: Reason(99), Type: Type(77)}, "type 77 on stream 0: reason 99"},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, tt.fault.Error()); diff != "" {
			t.Errorf("Error() differs (-want +got):\n%s", diff)
		}
	}
	for r := BadPreface; r <= Truncated; r++ {
		if strings.HasPrefix(r.String(), "reason") {
			t.Errorf("reason %d has no words", r)
		}
	}
}
