package l7

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var update = flag.Bool("update", false, "rewrite testdata/vectors.txt")

// exchangePart is one direction as a test writes and reads it.
type exchangePart struct {
	name  string
	write func(*FrameWriter) error
	want  []Frame
	data  string
}

func parts() []exchangePart {
	get := &RequestHead{Method: "GET", Authority: "llm.azure.mesh", Path: "/v1/models?x=1", Fields: Fields{{"accept", "*/*"}}}
	post := &RequestHead{Method: "POST", Scheme: "http", Authority: "llm.azure.mesh:8000", Path: "/v1/chat", Fields: Fields{{"content-length", "5"}}}
	connect := &RequestHead{Method: "CONNECT", Authority: "[2001:db8::1]:22"}
	ok := &ResponseHead{Status: 200, Fields: Fields{{"content-type", "text/event-stream"}}}
	refusal := &Refusal{Reason: crossingv1.Reason_NO_INTENT, Owner: "ml-platform"}
	return []exchangePart{
		{
			name:  "get",
			write: func(w *FrameWriter) error { return w.RequestHead(get, true) },
			want:  []Frame{{Kind: KindRequestHead, End: true, Request: get}},
		},
		{
			name: "post",
			write: func(w *FrameWriter) error {
				return errors.Join(w.RequestHead(post, false), w.Data([]byte("hello")), w.Trailers(nil))
			},
			want: []Frame{{Kind: KindRequestHead, Request: post}, {Kind: KindData}, {Kind: KindTrailers, End: true}},
			data: "hello",
		},
		{
			name:  "connect",
			write: func(w *FrameWriter) error { return errors.Join(w.RequestHead(connect, false), w.Trailers(nil)) },
			want:  []Frame{{Kind: KindRequestHead, Request: connect}, {Kind: KindTrailers, End: true}},
		},
		{
			name: "answer with trailers",
			write: func(w *FrameWriter) error {
				return errors.Join(w.ResponseHead(ok, false), w.Data([]byte("ab")), w.Data([]byte("c")), w.Trailers(Fields{{"grpc-status", "0"}}))
			},
			want: []Frame{
				{Kind: KindResponseHead, Response: ok},
				{Kind: KindData},
				{Kind: KindData},
				{Kind: KindTrailers, End: true, Trailers: Fields{{"grpc-status", "0"}}},
			},
			data: "abc",
		},
		{
			name:  "refusal",
			write: func(w *FrameWriter) error { return w.Refusal(*refusal) },
			want:  []Frame{{Kind: KindRefusal, End: true, Refusal: refusal}},
		},
	}
}

// readAll reads a direction to its end.
func readAll(r io.Reader) (frames []Frame, data string, err error) {
	fr := NewFrameReader(r)
	for {
		f, err := fr.Next()
		if errors.Is(err, io.EOF) {
			return frames, data, nil
		}
		if err != nil {
			return frames, data, err
		}
		if f.Kind == KindData {
			b, err := io.ReadAll(fr)
			if err != nil {
				return frames, data, err
			}
			data += string(b)
		}
		f.Length = 0
		frames = append(frames, f)
	}
}

func TestFramesAreReadAsWritten(t *testing.T) {
	for _, tt := range parts() {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := tt.write(NewFrameWriter(&b)); err != nil {
				t.Fatalf("write: %v", err)
			}
			for how, r := range map[string]io.Reader{
				"at once": bytes.NewReader(b.Bytes()),
				"a byte":  iotest.OneByteReader(bytes.NewReader(b.Bytes())),
			} {
				frames, data, err := readAll(r)
				if err != nil {
					t.Fatalf("read %s: %v", how, err)
				}
				if diff := cmp.Diff(tt.want, frames); diff != "" {
					t.Errorf("frames read %s (-want +got):\n%s", how, diff)
				}
				if data != tt.data {
					t.Errorf("data read %s = %q, want %q", how, data, tt.data)
				}
			}
		})
	}
}

// A direction that is cut off anywhere is never taken for whole.
func TestFramesCutOff(t *testing.T) {
	for _, tt := range parts() {
		var b bytes.Buffer
		if err := tt.write(NewFrameWriter(&b)); err != nil {
			t.Fatalf("write %s: %v", tt.name, err)
		}
		for n := range b.Len() {
			if _, _, err := readAll(bytes.NewReader(b.Bytes()[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut off after %d of %d bytes: %v, want %v", tt.name, n, b.Len(), err, io.ErrUnexpectedEOF)
			}
		}
	}
}

func TestFrameVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	f, err := os.Open("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := 0
	for s := bufio.NewScanner(f); s.Scan(); seen++ {
		name, rest, _ := strings.Cut(s.Text(), "\t")
		verdict, digits, _ := strings.Cut(rest, "\t")
		raw, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatalf("vector %s: %v", name, err)
		}
		_, _, err = readAll(bytes.NewReader(raw))
		if got := err == nil; got != (verdict == "ok") {
			t.Errorf("vector %s: error %v, want %s", name, err, verdict)
		}
		if err != nil && !errors.Is(err, ErrFrame) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("vector %s: error %v is neither ErrFrame nor a cut", name, err)
		}
	}
	if seen < 25 {
		t.Errorf("only %d vectors", seen)
	}
}

// badFrames are directions that a reader refuses, written by hand.
var badFrames = []struct{ name, bytes string }{
	{"empty", ""},
	{"unknown kind", "\x06\x00\x00\x01\x00"},
	{"data first", "\x03\x00\x00\x01a"},
	{"trailers first", "\x04\x00\x00\x01\x00"},
	{"two heads", "\x02\x00\x00\x04\x00\x00\xc8\x00\x02\x00\x00\x04\x00\x00\xc8\x00"},
	{"refusal after a head", "\x02\x00\x00\x04\x00\x00\xc8\x00\x05\x00\x00\x02\x01\x00"},
	{"empty data", "\x02\x00\x00\x04\x00\x00\xc8\x00\x03\x00\x00\x00"},
	{"data too large", "\x02\x00\x00\x04\x00\x00\xc8\x00\x03\x01\x00\x01"},
	{"head too large", "\x01\xff\xff\xff"},
	{"unknown flags", "\x02\x00\x00\x04\x02\x00\xc8\x00"},
	{"status 100", "\x02\x00\x00\x04\x01\x00\x64\x00"},
	{"bytes too many", "\x02\x00\x00\x05\x01\x00\xc8\x00\x00"},
	{"long uvarint", "\x02\x00\x00\x05\x01\x00\xc8\x80\x00"},
	{"too many fields", "\x02\x00\x00\x05\x01\x00\xc8\x81\x02"},
	{"string beyond payload", "\x02\x00\x00\x06\x01\x00\xc8\x01\x09a"},
	{"upper-case name", "\x02\x00\x00\x07\x01\x00\xc8\x01\x01A\x00"},
	{"line end in a value", "\x02\x00\x00\x09\x01\x00\xc8\x01\x01a\x02\r\n"},
	{"two content-lengths", "\x02\x00\x00\x26\x01\x00\xc8\x02\x0econtent-length\x011\x0econtent-length\x012"},
	{"refusal without reason", "\x05\x00\x00\x02\x00\x00"},
	{"refusal with an unknown reason", "\x05\x00\x00\x03\xff\x01\x00"},
	{"refusal with a line end", "\x05\x00\x00\x03\x01\x01\n"},
	{"host beside the authority", "\x01\x00\x00\x13\x01\x03GET\x00\x01h\x01/\x01\x04host\x02hh"},
	{"dot segments", "\x01\x00\x00\x0e\x01\x03GET\x00\x01h\x04/../\x00"},
	{"connect with a path", "\x01\x00\x00\x11\x01\x07CONNECT\x00\x03h:1\x01/\x00"},
}

func writeVectors(t *testing.T) {
	t.Helper()
	var out strings.Builder
	for _, p := range parts() {
		var b bytes.Buffer
		if err := p.write(NewFrameWriter(&b)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s\tok\t%x\n", p.name, b.Bytes())
	}
	for _, b := range badFrames {
		fmt.Fprintf(&out, "%s\tbad\t%x\n", b.name, b.bytes)
	}
	if err := os.WriteFile("testdata/vectors.txt", []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFrameWriterRefusesWhatAReaderWould(t *testing.T) {
	w := NewFrameWriter(io.Discard)
	many := make(Fields, MaxFields+1)
	for i := range many {
		many[i] = Field{"a", "b"}
	}
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"method", w.RequestHead(&RequestHead{Method: "G T", Authority: "h", Path: "/"}, true)},
		{"path", w.RequestHead(&RequestHead{Method: "GET", Authority: "h", Path: "x"}, true)},
		{"user", w.RequestHead(&RequestHead{Method: "GET", Authority: "u@h", Path: "/"}, true)},
		{"value", w.ResponseHead(&ResponseHead{Status: 200, Fields: Fields{{"a", "b\r\nc: d"}}}, true)},
		{"status", w.ResponseHead(&ResponseHead{Status: 101}, true)},
		{"many fields", w.Trailers(many)},
		{"long value", w.Trailers(Fields{{"a", strings.Repeat("x", MaxHeadBytes)}})},
		{"reason", w.Refusal(Refusal{Reason: 4711})},
	} {
		if tt.err == nil {
			t.Errorf("%s: written, want an error", tt.name)
		}
	}
}

func TestDataOfAnyLength(t *testing.T) {
	want := strings.Repeat("0123456789", 20_000)
	for name, write := range map[string]func(*FrameWriter) error{
		"Data": func(w *FrameWriter) error { return w.Data([]byte(want)) },
		"ReadFrom": func(w *FrameWriter) error {
			n, err := w.ReadFrom(strings.NewReader(want))
			if n != int64(len(want)) {
				return fmt.Errorf("%d bytes relayed, want %d", n, len(want))
			}
			return err
		},
	} {
		var b bytes.Buffer
		w := NewFrameWriter(&b)
		if err := errors.Join(w.ResponseHead(&ResponseHead{Status: 200}, false), write(w), w.Trailers(Fields{{"x", "y"}})); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := NewFrameReader(&b)
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		var trailers Fields
		got, err := io.ReadAll(body{r, &trailers})
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes and %v, want %d", name, len(got), err, len(want))
		}
		if trailers.Get("x") != "y" {
			t.Errorf("%s: trailers %v", name, trailers)
		}
	}
}

// Each piece that a reader gives leaves at once, in one write.
func TestReadFromHoldsNothingBack(t *testing.T) {
	source, feed := io.Pipe()
	writes := make(chan string)
	go func() {
		_, _ = NewFrameWriter(writerFunc(func(p []byte) { writes <- string(p) })).ReadFrom(source)
		close(writes)
	}()
	for _, piece := range []string{"one", "two"} {
		if _, err := feed.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		if got, want := <-writes, "\x03\x00\x00\x03"+piece; got != want {
			t.Errorf("wrote %q, want %q", got, want)
		}
	}
	feed.Close()
	if extra, open := <-writes; open {
		t.Errorf("wrote %q after the end", extra)
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestUnreadDataIsSkipped(t *testing.T) {
	var b bytes.Buffer
	w := NewFrameWriter(&b)
	if err := errors.Join(w.ResponseHead(&ResponseHead{Status: 200}, false), w.Data([]byte("unread")), w.Trailers(nil)); err != nil {
		t.Fatal(err)
	}
	r := NewFrameReader(&b)
	for _, want := range []Kind{KindResponseHead, KindData, KindTrailers} {
		f, err := r.Next()
		if err != nil || f.Kind != want {
			t.Fatalf("Next() = %v, %v, want %v", f.Kind, err, want)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("Next() after the end = %v, want io.EOF", err)
	}
}

// Whatever is accepted is written again as the same bytes: one encoding.
func FuzzFrameReader(f *testing.F) {
	for _, p := range parts() {
		var b bytes.Buffer
		if err := p.write(NewFrameWriter(&b)); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	for _, b := range badFrames {
		f.Add([]byte(b.bytes))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var again bytes.Buffer
		w, r := NewFrameWriter(&again), NewFrameReader(bytes.NewReader(raw))
		for {
			frame, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			if err := rewrite(w, r, frame); errors.Is(err, io.ErrUnexpectedEOF) {
				return
			} else if err != nil {
				t.Fatalf("write %v as read: %v", frame.Kind, err)
			}
		}
		if !bytes.HasPrefix(raw, again.Bytes()) {
			t.Errorf("read %x\nwrote %x", raw, again.Bytes())
		}
	})
}

func rewrite(w *FrameWriter, r *FrameReader, f Frame) error {
	switch f.Kind {
	case KindRequestHead:
		return w.RequestHead(f.Request, f.End)
	case KindResponseHead:
		return w.ResponseHead(f.Response, f.End)
	case KindTrailers:
		return w.Trailers(f.Trailers)
	case KindRefusal:
		return w.Refusal(*f.Refusal)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return w.Data(b)
}
