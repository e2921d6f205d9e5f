package l7

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// arriving is a stream of which so much has come.
type arriving struct {
	bytes.Reader
	come int // bytes that Read gives; then it would wait
}

var errWaits = errors.New("the stream would have waited")

func (a *arriving) read() int     { return int(a.Size()) - a.Len() }
func (a *arriving) Buffered() int { return a.come - a.read() }

func (a *arriving) Read(p []byte) (int, error) {
	if a.Buffered() == 0 {
		return 0, errWaits
	}
	return a.Reader.Read(p[:min(len(p), a.Buffered())])
}

// written is a request as frames.
func written(t *testing.T, pieces ...string) (frames []byte, content string) {
	t.Helper()
	var b bytes.Buffer
	w := NewFrameWriter(&b)
	err := w.RequestHead(&RequestHead{Method: "POST", Authority: "h", Path: "/"}, false)
	for _, p := range pieces {
		err = errors.Join(err, w.Data([]byte(p)))
	}
	if err = errors.Join(err, w.Trailers(Fields{{"x-sum", "1"}})); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), strings.Join(pieces, "")
}

// TestReady: it is said exactly when reading to the end does not wait, and
// changes nothing of what is read.
func TestReady(t *testing.T) {
	frames, content := written(t, "hello", "", "world, and more")
	head, _ := written(t)
	head = head[:len(head)-len("\x04\x00\x00\x09\x01\x05x-sum\x011")]
	for come := len(head); come <= len(frames); come++ {
		s := &arriving{come: come}
		s.Reset(frames)
		fr := NewFrameReader(s)
		if _, err := fr.Next(); err != nil {
			t.Fatal(err)
		}
		ready := fr.Ready()
		if ready != (come == len(frames)) {
			t.Errorf("%d of %d bytes have come: Ready() = %t", come, len(frames), ready)
		}
		s.come = max(come, len(frames))
		var trailers Fields
		got, err := io.ReadAll(&readyWhile{body{fr, &trailers}, fr, t})
		if string(got) != content || err != nil || trailers.Get("x-sum") != "1" || !fr.Ready() {
			t.Errorf("%d had come: read %q, %v, %v", come, got, err, trailers)
		}
	}
}

// readyWhile asks before each Read, of three bytes.
type readyWhile struct {
	r  io.Reader
	fr *FrameReader
	t  *testing.T
}

func (r *readyWhile) Read(p []byte) (int, error) {
	if !r.fr.Ready() {
		r.t.Error("all has come, and it is not ready")
	}
	return r.r.Read(p[:min(3, len(p))])
}

// TestReadyIsBounded: no more is read ahead than is said.
func TestReadyIsBounded(t *testing.T) {
	frames, content := written(t, strings.Repeat("x", 60<<10), strings.Repeat("y", 60<<10))
	s := &arriving{come: len(frames)}
	s.Reset(frames)
	fr := NewFrameReader(s)
	if _, err := fr.Next(); err != nil {
		t.Fatal(err)
	}
	before := s.read()
	if fr.Ready() || s.read()-before != maxAhead {
		t.Errorf("ready %t, %d bytes were read ahead, want %d", fr.Ready(), s.read()-before, maxAhead)
	}
	if got, err := io.ReadAll(body{fr, new(Fields)}); string(got) != content || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// TestNeverReady: a stream that cannot tell, and one that holds what is no
// frame.
func TestNeverReady(t *testing.T) {
	frames, _ := written(t, "hello")
	fr := NewFrameReader(bytes.NewReader(frames))
	if _, err := fr.Next(); err != nil || fr.Ready() {
		t.Errorf("a stream that cannot tell is ready, %v", err)
	}
	for _, rest := range []string{"\x01\x00\x00\x01x", "\x09\x00\x00\x00", "\x04\xff\xff\xff"} {
		s := &arriving{come: len(rest)}
		s.Reset([]byte(rest))
		if fr := NewFrameReader(s); fr.Ready() {
			t.Errorf("%q is ready", rest)
		}
	}
}

// TestHeldFrames go out together, and are what they would be one by one.
func TestHeldFrames(t *testing.T) {
	want, _ := written(t, "hello", "world")
	var w pieces
	fw := NewFrameWriter(&w)
	fw.Hold()
	err := errors.Join(fw.RequestHead(&RequestHead{Method: "POST", Authority: "h", Path: "/"}, false), fw.Data([]byte("hello")),
		fw.Data([]byte("world")), fw.Trailers(Fields{{"x-sum", "1"}}))
	if err != nil || len(w) > 0 {
		t.Fatalf("%v, wrote %q", err, w)
	}
	if err := errors.Join(fw.Flush(), fw.Flush()); err != nil || len(w) != 1 || w[0] != string(want) {
		t.Fatalf("%v, wrote %q, want %q", err, w, want)
	}
	fw.Hold()
	fw.Data([]byte("held"))
	if _, err := fw.ReadFrom(strings.NewReader("read")); err != nil || len(w) != 3 || w[1] != "\x03\x00\x00\x04held" || w[2] != "\x03\x00\x00\x04read" {
		t.Errorf("%v, wrote %q", err, w[1:])
	}
	if err := fw.Data([]byte("more")); err != nil || len(w) != 4 {
		t.Errorf("after Flush: %v, wrote %q", err, w[3:])
	}
}

// TestMuchHeld: what is held is bounded, and comes in order.
func TestMuchHeld(t *testing.T) {
	var parts []string
	for i := range 20 {
		parts = append(parts, strings.Repeat(string(rune('a'+i)), 30<<10))
	}
	want, _ := written(t, parts...)
	var w pieces
	fw := NewFrameWriter(&w)
	fw.Hold()
	if err := fw.RequestHead(&RequestHead{Method: "POST", Authority: "h", Path: "/"}, false); err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		if err := fw.Data([]byte(part)); err != nil || cap(fw.buf) > 4*maxHeld {
			t.Fatalf("%v, holds %d bytes", err, cap(fw.buf))
		}
	}
	if err := errors.Join(fw.Trailers(Fields{{"x-sum", "1"}}), fw.Flush()); err != nil || len(w) < 2 || len(w) > 6 {
		t.Errorf("%v, %d writes", err, len(w))
	}
	if got := strings.Join(w, ""); got != string(want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// pieces keeps each Write apart.
type pieces []string

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, string(b))
	return len(b), nil
}

// body is the data that a FrameReader reads.
type body struct {
	frames   *FrameReader
	trailers *Fields
}

func (b body) Read(p []byte) (int, error) { return b.frames.ReadData(p, b.trailers) }
