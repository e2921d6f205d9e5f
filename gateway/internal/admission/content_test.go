package admission

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

func control(protocol string, listed ...string) *Control {
	d := policy.Digests{}
	for _, content := range listed {
		d[sha256.Sum256([]byte(content))] = struct{}{}
	}
	return New([]policy.Digests{d}, NewMemory(), transfer.Parties{Caller: here.Caller, Destination: here.Destination, Service: here.Service, Protocol: protocol})
}

// passed is what goes on of a content that comes in pieces, and whether all of it does.
func passed(c *Content, content string, piece int) (out string, err error) {
	var b bytes.Buffer
	for p := range slices.Chunk([]byte(content), piece) {
		got, err := c.Pass(p)
		if b.Write(got); err != nil {
			return b.String(), err
		}
	}
	got, err := c.End(nil)
	b.Write(got)
	return b.String(), err
}

// TestEndWithAPiece: a piece that comes with the end counts.
func TestEndWithAPiece(t *testing.T) {
	for _, n := range []int{0, 1, held - 1, held, 2 * held} {
		content := strings.Repeat("x", n) + "yz"
		c := control("s3", content).Answer(&l7.RequestHead{Method: "GET", Path: "/k"}, &l7.ResponseHead{Status: 200}, false)
		first, err := c.Pass([]byte(content[:n]))
		if err != nil {
			t.Fatal(err)
		}
		got := string(first)
		rest, err := c.End([]byte("yz"))
		if got += string(rest); err != nil || got != content {
			t.Errorf("%d bytes and two: %d came, %v", n, len(got), err)
		}
	}
}

// TestContentPasses: all of a listed content passes as it is; of another not the last byte,
// and nothing if it is small; of however many pieces.
func TestContentPasses(t *testing.T) {
	for _, n := range []int{0, 1, 2, 100, held - 1, held, held + 1, held + 2, 3*held + 7} {
		content := strings.Repeat("x", n)
		for _, piece := range []int{1, 3, 1000, held, held + 1, 4 * held} {
			if piece == 1 && n > 1000 {
				piece = 997
			}
			c := control("s3", content)
			out, err := passed(c.Answer(&l7.RequestHead{Method: "GET", Path: "/k"}, &l7.ResponseHead{Status: 200}, false), content, piece)
			if err != nil || out != content {
				t.Errorf("%d bytes in pieces of %d: %d came, %v", n, piece, len(out), err)
			}
			if n == 0 {
				continue
			}
			c = control("s3", content+"!", content[1:]+"!")
			out, err = passed(c.Answer(&l7.RequestHead{Method: "GET", Path: "/k"}, &l7.ResponseHead{Status: 200}, false), content, piece)
			refused, ok := errors.AsType[*Error](err)
			if !ok || len(out) >= n || n <= held && out != "" || !strings.HasPrefix(content, out) {
				t.Errorf("%d bytes in pieces of %d that are not listed: %d came, %v", n, piece, len(out), err)
			} else if !strings.Contains(refused.Error(), fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))) {
				t.Errorf("refused for %v", refused)
			}
		}
	}
}

// TestContentIsFinal: after a refusal nothing passes.
func TestContentIsFinal(t *testing.T) {
	c := control("s3", "listed").Answer(&l7.RequestHead{Method: "GET", Path: "/k"}, &l7.ResponseHead{Status: 200}, false)
	if _, err := passed(c, "other", 5); err == nil || c.Refused() == nil {
		t.Fatal("it passes")
	}
	if out, err := c.Pass([]byte("more")); err == nil || out != nil {
		t.Errorf("%q passes", out)
	}
	if out, err := c.End(nil); err == nil || out != nil {
		t.Errorf("%q passes", out)
	}
}

// TestNothingRequired: without lists there is nothing to hold.
func TestNothingRequired(t *testing.T) {
	c := New(nil, NewMemory(), transfer.Parties{Protocol: "oci"})
	if c != nil || c.Request(&l7.RequestHead{Method: "GET", Path: "/v2/m/blobs/sha256:00"}) != nil {
		t.Error("there is")
	}
	a := c.Answer(&l7.RequestHead{Method: "GET"}, &l7.ResponseHead{Status: 200}, false)
	piece := []byte("piece")
	if out, err := a.Pass(piece); a != nil || err != nil || &out[0] != &piece[0] || a.Refused() != nil {
		t.Error("there is of an answer")
	}
	if n := testing.AllocsPerRun(10, func() {
		c := New(nil, nil, transfer.Parties{})
		c.Answer(nil, nil, false).Pass(piece)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestReader: it gives what a Content lets pass, and what r says of the end.
func TestReader(t *testing.T) {
	content := strings.Repeat("0123456789", held/8)
	head := &l7.RequestHead{Method: "PUT", Path: "/k"}
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "with its end": iotest.DataErrReader, "in halves": iotest.HalfReader,
	} {
		got, err := io.ReadAll(control("s3", content).Reader(head, cut(strings.NewReader(content))))
		if err != nil || string(got) != content {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		r := control("s3", "other").Reader(head, cut(strings.NewReader(content)))
		got, err = io.ReadAll(r)
		if _, ok := errors.AsType[*Error](err); !ok || len(got) >= len(content) || !errors.Is(err, r.Refused()) || !r.Ready() {
			t.Errorf("%s, not listed: %d bytes, %v", name, len(got), err)
		}
		broken := io.MultiReader(cut(strings.NewReader(content)), iotest.ErrReader(io.ErrUnexpectedEOF))
		got, err = io.ReadAll(control("s3", content).Reader(head, broken))
		if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) >= len(content) {
			t.Errorf("%s, broken off: %d bytes, %v", name, len(got), err)
		}
	}
}

// FuzzRequest: whatever a registry's client asks for, a digest that is not listed is not
// named, and what is refused is said in text that a record may have.
func FuzzRequest(f *testing.F) {
	for _, target := range []string{
		"/v2/", "/v2/m/blobs/" + sum(1).String(), "/v2/m/manifests/v1", "/v2/m/blobs/uploads/?mount=" + sum(1).String(),
		"/v2/m/blobs/uploads/u?digest=sha256%3a" + strings.Repeat("0", 64), "/v2/m/blobs/uploads/?mount=sha512:00&from=n", "/?a;b", "",
	} {
		f.Add("PUT", target, "content-range", "0-4")
	}
	f.Fuzz(func(t *testing.T, method, target, name, value string) {
		c := control("oci", "listed")
		err := c.Request(&l7.RequestHead{Method: method, Path: target, Fields: l7.Fields{{Name: name, Value: value}}})
		if _, ok := errors.AsType[*Error](err); err != nil && !ok {
			t.Fatalf("%T", err)
		}
		if s, ok := named(target); ok && err == nil && !c.allows(s) && slices.Contains([]string{"GET", "PUT", "POST", "PATCH"}, method) {
			t.Fatalf("%v may be asked for", s)
		}
	})
}

// FuzzContent: whatever comes, in whatever pieces, only what is listed comes out whole.
func FuzzContent(f *testing.F) {
	f.Add([]byte("listed"), uint64(1), 200, "/k")
	f.Add([]byte("other"), uint64(2), 404, "/v2/")
	f.Fuzz(func(t *testing.T, content []byte, seed uint64, status int, path string) {
		c := control("oci", "listed")
		a := c.Answer(&l7.RequestHead{Method: "GET", Path: path}, &l7.ResponseHead{Status: status}, false)
		rng := rand.New(rand.NewPCG(seed, 1))
		var out []byte
		for rest := content; len(rest) > 0; {
			n := 1 + rng.IntN(len(rest))
			got, _ := a.Pass(rest[:n])
			out, rest = append(out, got...), rest[n:]
		}
		last, err := a.End(nil)
		if out = append(out, last...); err == nil && !bytes.Equal(out, content) {
			t.Fatalf("%q went on of %q", out, content)
		}
		whole := len(out) == len(content) && len(content) > 0
		if free := status/100 != 2 || path == "/v2/" || path == "/v2"; whole && !free && string(content) != "listed" {
			t.Fatalf("%q went on", out)
		}
	})
}
