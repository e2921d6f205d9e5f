package quictunnel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// vector is a line of testdata/vectors.txt.
type vector struct {
	name    string
	bytes   []byte
	meaning string
}

func vectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.txt")
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
			t.Fatalf("line %q has no three parts", line)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(parts[1], " ", ""))
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, vector{strings.TrimSpace(parts[0]), b, strings.TrimSpace(parts[2])})
	}
	if len(all) < 10 {
		t.Fatalf("there are %d vectors only", len(all))
	}
	return all
}

// meaning is what a vector is, in the words of the file.
func meaning(v vector) (text string, err error) {
	switch kind, _, _ := strings.Cut(v.name, "-"); kind {
	case "preface":
		c, generation, err := parsePreface(v.bytes)
		return fmt.Sprint(c, " ", generation), err
	case "opening":
		h, err := readOpening(bytes.NewReader(v.bytes), 0)
		return fmt.Sprintf("header of crossing %q", h.GetId()), err
	}
	f, err := readControl(bytes.NewReader(v.bytes))
	if f.kind == mux.GoAway {
		return fmt.Sprintf("%s %d streams, %s", f.kind, f.count, strings.TrimPrefix(f.cause.String(), "the ")), err
	}
	return fmt.Sprintf("%s %d", f.kind, f.probe.Opaque), err
}

func TestVectorsAreRead(t *testing.T) {
	for _, v := range vectors(t) {
		got, err := meaning(v)
		var fault *mux.FaultError
		if errors.As(err, &fault) {
			got = fmt.Sprintf("fault %d", fault.Reason)
		} else if err != nil {
			got = "not a fault: " + err.Error()
		}
		if got != v.meaning {
			t.Errorf("%s is %q, want %q", v.name, got, v.meaning)
		}
	}
}

func TestVectorsAreWritten(t *testing.T) {
	opening, err := encodeOpening(nil, tunneltest.Header("x"))
	if err != nil {
		t.Fatal(err)
	}
	empty, err := encodeOpening(nil, tunneltest.Header(""))
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Unix(0, 0x17c3e9f2d4a51000)
	written := map[string][]byte{
		"preface-interactive": appendPreface(nil, tunnel.Interactive, 0),
		"preface-bulk":        appendPreface(nil, tunnel.Bulk, 0),
		"preface-generation":  appendPreface(nil, tunnel.Interactive, 258),
		"control-ping":        mux.AppendPing(nil, mux.Probe{Opaque: 1, Clock: clock}),
		"control-pong":        mux.AppendPong(nil, mux.Probe{Opaque: 1, Clock: clock.Add(1)}),
		"control-goaway":      mux.AppendGoAway(nil, 7, mux.Draining),
		"opening":             opening,
		"opening-empty":       empty,
	}
	for _, v := range vectors(t) {
		if got, ok := written[v.name]; ok && !bytes.Equal(got, v.bytes) {
			t.Errorf("%s is written as %x, want %x", v.name, got, v.bytes)
		}
		delete(written, v.name)
	}
	for name := range written {
		t.Errorf("there is no vector %q", name)
	}
}

// TestPrefaceIsTheTCPCarriers: both carriers tell each other apart from anything
// else by the same first bytes.
func TestPrefaceIsTheTCPCarriers(t *testing.T) {
	settings := mux.Settings{StreamWindow: mux.MinWindow, TunnelWindow: mux.MinWindow}
	if tcp := mux.AppendPreface(nil, settings); !bytes.HasPrefix(tcp, appendPreface(nil, tunnel.Interactive, 0)) {
		t.Errorf("the TCP carrier's preface begins %x", tcp[:prefaceLen])
	}
}

func TestHeadersAreBounded(t *testing.T) {
	if _, err := encodeOpening(nil, tunneltest.Header(strings.Repeat("x", mux.MaxHeader))); err == nil {
		t.Error("a header above the limit was encoded")
	}
}
