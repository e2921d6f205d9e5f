package coding

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

const fuzzMost = 1 << 20

// byLibrary reads a content whole with the coding's library, up to a bound. tooLong
// says that there is more.
func byLibrary(coding string, content []byte) (out []byte, tooLong bool, err error) {
	r, err := library(coding, bytes.NewReader(content))
	if err != nil {
		return nil, false, err
	}
	out, err = io.ReadAll(io.LimitReader(r, fuzzMost+1))
	return out, len(out) > fuzzMost, err
}

// compare holds a Decoder against the library, whatever pieces the content comes in.
func compare(t *testing.T, coding string, content, at []byte) {
	t.Helper()
	want, tooLong, wantErr := byLibrary(coding, content)
	i := 0
	cuts := map[string]func() int{"whole": whole, "bytewise": bytewise, "cut": func() int {
		i++
		return 1 + int(at[i%len(at)])
	}}
	if len(at) == 0 {
		delete(cuts, "cut")
	}
	for name, cut := range cuts {
		got, err := decode(coding, content, fuzzMost, cut)
		switch {
		case err == nil && (wantErr != nil || tooLong):
			t.Errorf("%s %s of %x is %q, which the library refuses: %v", name, coding, content, got, wantErr)
		case err == nil && got != string(want):
			t.Errorf("%s %s of %x:\n%q, the library has\n%q", name, coding, content, got, want)
		case err != nil && wantErr == nil && !tooLong && !stricter(coding, content, err):
			t.Errorf("%s %s of %x: %v, which the library reads: %.100q", name, coding, content, err, want)
		}
	}
}

// stricter says that what a content was refused for is nothing that libraries mind.
func stricter(coding string, content []byte, err error) bool {
	frame := bytes.HasPrefix(content, []byte{0x28, 0xb5, 0x2f, 0xfd})
	return errors.Is(err, ErrTrailing) || errors.Is(err, ErrBomb) || coding == "zstd" && !frame
}

func FuzzDecoder(f *testing.F) {
	for i, coding := range codings {
		f.Add(uint8(i), encode(coding, text(200), text(50)), []byte{3, 0, 7})
		f.Add(uint8(i), encode(coding, strings.Repeat("ab", 40_000)), []byte{9})
		f.Add(uint8(i), append(encode(coding, "x"), encode(coding, "y")...), []byte{})
		f.Add(uint8(i), append(encode(coding, text(60_000)), make([]byte, 20)...), []byte{0})
	}
	f.Fuzz(func(t *testing.T, i uint8, content, at []byte) {
		compare(t, codings[int(i)%len(codings)], content, at)
	})
}

// TestMutated does the same to contents that were good and had something done to
// them.
func TestMutated(t *testing.T) {
	leaks(t)
	r := rand.New(rand.NewPCG(3, 4))
	for _, coding := range codings {
		for _, good := range [][]byte{encode(coding, text(40)), encode(coding, text(700), text(90)), encode(coding, strings.Repeat("{}", 3000))} {
			for range 100 {
				content := bytes.Clone(good)
				for range 1 + r.IntN(2) {
					at := r.IntN(len(content))
					switch r.IntN(4) {
					case 0:
						content = content[:at+1]
					case 1:
						content = append(content, good[:min(at, len(good))]...)
					default:
						content[at] ^= 1 << r.IntN(8)
					}
				}
				compare(t, coding, content, []byte{byte(r.IntN(50)), 0, 3})
			}
		}
	}
}
