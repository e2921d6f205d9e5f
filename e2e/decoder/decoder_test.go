package decoder

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	protos  = "../../proto"
	vectors = "../../gateway/crossing/testdata/*.json"
)

// outcome is what the decoder makes of one case.
type outcome struct {
	Frames []struct {
		Frame   any    `json:"frame"`
		Refused string `json:"refused"` // why; "" if it is acceptable
		Hex     string `json:"hex"`     // as an encoder must encode it
		Agreed  string `json:"agreed"`  // bytes, in hex
		Digest  string `json:"digest"`
	} `json:"frames"`
	Record any `json:"record"`
}

// decode runs the decoder over cases, each the frames of one crossing.
func decode(t *testing.T, cases [][]string) []outcome {
	t.Helper()
	return run[outcome](t, cases)
}

// run runs the decoder over cases, of whatever kind.
func run[O, C any](t *testing.T, cases []C) []O {
	t.Helper()
	python := python(t)
	text, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	var said, failed bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, "-B", "decoder.py", protos)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &said, &failed
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, failed.Bytes())
	}
	var all []O
	for lines := bufio.NewReader(&said); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var o O
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		all = append(all, o)
	}
	if len(all) != len(cases) {
		t.Fatalf("%d outcomes of %d cases", len(all), len(cases))
	}
	return all
}

// python finds Python 3. A test without it is skipped, or fails where everything must
// be there.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err == nil {
		return path
	}
	const needs = "needs python3, of 3.9 or later"
	if os.Getenv("SALLYPORT_REQUIRE_ALL") != "" {
		t.Fatal(needs)
	}
	t.Skip(needs)
	return ""
}

// vector is one file of testdata: see "Vectors" in gateway/crossing/FORMAT.md.
type vector struct {
	Frames []struct {
		Frame any    `json:"frame"`
		Hex   string `json:"hex"`
		Also  []struct {
			Hex string `json:"hex"`
			Why string `json:"why"`
		} `json:"also"`
		Accepted bool   `json:"accepted"`
		Why      string `json:"why"`
		Agreed   string `json:"agreed"`
		Digest   string `json:"digest"`
	} `json:"frames"`
	Record any `json:"record"`
}

func readVectors(t *testing.T) (names []string, all []vector) {
	t.Helper()
	files, err := filepath.Glob(vectors)
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d vectors, %v", len(files), err)
	}
	all = make([]vector, len(files))
	for i, name := range files {
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &all[i])
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		names = append(names, strings.TrimSuffix(filepath.Base(name), ".json"))
	}
	return names, all
}

// TestVectors: both decoders read the same in every vector, refuse the same, join to
// the same record, and come to the same join digests.
func TestVectors(t *testing.T) {
	names, all := readVectors(t)
	cases := make([][]string, len(all))
	for i, v := range all {
		for _, f := range v.Frames {
			cases[i] = append(cases[i], f.Hex)
		}
	}
	for i, got := range decode(t, cases) {
		t.Run(names[i], func(t *testing.T) {
			for n, f := range all[i].Frames {
				if d := cmp.Diff(f.Frame, got.Frames[n].Frame); d != "" {
					t.Errorf("frame %d, %s (-want +got):\n%s", n, f.Why, d)
				}
				if f.Frame != nil && f.Hex != got.Frames[n].Hex {
					t.Errorf("frame %d, %s: encoded again as %s, want %s", n, f.Why, got.Frames[n].Hex, f.Hex)
				}
				if refused := got.Frames[n].Refused; f.Accepted != (refused == "") {
					t.Errorf("frame %d, %s: accepted %t, and here refused for %q", n, f.Why, f.Accepted, refused)
				}
				if f.Agreed != got.Frames[n].Agreed || f.Digest != got.Frames[n].Digest {
					t.Errorf("frame %d, %s: agreed %s %s, want %s %s", n, f.Why, got.Frames[n].Agreed, got.Frames[n].Digest, f.Agreed, f.Digest)
				}
			}
			if d := cmp.Diff(all[i].Record, got.Record); d != "" {
				t.Errorf("record (-want +got):\n%s", d)
			}
		})
	}
}

// TestOtherEncodings: what a decoder takes in another form says the same.
func TestOtherEncodings(t *testing.T) {
	_, all := readVectors(t)
	var cases [][]string
	var want []any
	var why []string
	for _, v := range all {
		for _, f := range v.Frames {
			for _, other := range f.Also {
				cases, want, why = append(cases, []string{other.Hex}), append(want, f.Frame), append(why, other.Why)
			}
		}
	}
	if len(cases) < 5 {
		t.Fatalf("%d other encodings", len(cases))
	}
	for i, got := range decode(t, cases) {
		if d := cmp.Diff(want[i], got.Frames[0].Frame); d != "" || got.Frames[0].Refused != "" {
			t.Errorf("%s: %s (-want +got):\n%s", why[i], got.Frames[0].Refused, d)
		}
	}
}

// TestLargestFrame: a frame may have 65,536 bytes, and no more.
func TestLargestFrame(t *testing.T) {
	_, all := readVectors(t)
	frame, err := hex.DecodeString(all[0].Frames[0].Hex)
	if err != nil {
		t.Fatal(err)
	}
	filler := append([]byte{0x12, 0x7f}, bytes.Repeat([]byte("r"), 127)...) // a run, of which the last one counts
	long := bytes.Repeat(filler, (1<<16-len(frame))/len(filler))
	if rest := 1<<16 - len(frame) - len(long); rest > 0 {
		long = append(long, append([]byte{0x12, byte(rest - 2)}, bytes.Repeat([]byte("r"), rest-2)...)...)
	}
	long = append(long, frame...)
	got := decode(t, [][]string{{hex.EncodeToString(long)}, {"1200" + hex.EncodeToString(long)}})
	if len(long) != 1<<16 || got[0].Frames[0].Refused != "" || !strings.Contains(got[1].Frames[0].Refused, "bytes") {
		t.Errorf("of %d bytes %q, of two more %q", len(long), got[0].Frames[0].Refused, got[1].Frames[0].Refused)
	}
}
