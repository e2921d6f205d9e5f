package frame

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// vector is a file of gateway/crossing/testdata.
type vector struct {
	Frames []struct {
		Hex    string `json:"hex"`
		Agreed string `json:"agreed"`
	} `json:"frames"`
	Record struct {
		Differences []string `json:"differences"`
		State       string   `json:"state"`
	} `json:"record"`
}

func vectors(t testing.TB) map[string]vector {
	names, err := filepath.Glob("../../../../gateway/crossing/testdata/*.json")
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	all := map[string]vector{}
	for _, name := range names {
		var v vector
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &v)
		}
		if err != nil {
			t.Fatal(name, err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".json")] = v
	}
	return all
}

func bytesOf(t testing.TB, text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAgreed: what both gateways must say alike is what the vectors have.
func TestAgreed(t *testing.T) {
	held := 0
	for name, v := range vectors(t) {
		for _, f := range v.Frames {
			if f.Agreed == "" || name == "refused-frames" {
				continue
			}
			m, err := Read(bytesOf(t, f.Hex))
			if err != nil {
				t.Fatal(name, err)
			}
			p, is, err := PlaceOf(m)
			if err != nil || !is {
				t.Errorf("%s: %v", name, err)
			}
			if got := hex.EncodeToString(p.AppendAgreed(nil)); got != f.Agreed {
				t.Errorf("%s: agreed %s, want %s", name, got, f.Agreed)
			}
			held++
		}
	}
	if held < 20 {
		t.Errorf("%d frames were held: too few to show anything", held)
	}
}

// TestDifferences: where two accounts are whole, they differ where the vectors say so.
func TestDifferences(t *testing.T) {
	held := 0
	for name, v := range vectors(t) {
		if v.Record.State != "JOINED" && v.Record.State != "DISAGREE" {
			continue
		}
		var accounts [2]Account
		for _, f := range v.Frames {
			m, err := Read(bytesOf(t, f.Hex))
			if err != nil {
				continue
			}
			p, is, err := PlaceOf(m)
			if err != nil || !is {
				continue
			}
			a := &accounts[p.Side-1]
			if p.Ending {
				a.Close = p.Of
			} else {
				a.Open = p.Of
			}
		}
		if got := Differences(accounts[0], accounts[1]); !slices.Equal(got, v.Record.Differences) {
			t.Errorf("%s: %q, want %q", name, got, v.Record.Differences)
		}
		held++
	}
	if held < 5 {
		t.Errorf("%d records were held: too few to show anything", held)
	}
}

// TestAcceptable: what a control plane accepts of a crossing is read here.
func TestAcceptable(t *testing.T) {
	for name, v := range vectors(t) {
		for _, f := range v.Frames {
			agrees(t, name, bytesOf(t, f.Hex))
		}
	}
}

// agrees holds that a frame which the product takes is taken here, and that its place is
// the same.
func agrees(t *testing.T, name string, data []byte) {
	t.Helper()
	theirs, err := crossing.UnmarshalFrame(data)
	if err != nil {
		return
	}
	id, err := spiffeid.FromString(theirs.GetGateway())
	if err != nil || crossing.CheckFrame(theirs, id) != nil {
		return
	}
	m, err := Read(data)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p, is, err := PlaceOf(m)
	if err == nil && is {
		err = p.Speaks()
	}
	if err != nil || is != (theirs.GetOpen() != nil || theirs.GetClose() != nil) {
		t.Fatalf("%s: %t, %v", name, is, err)
	}
	if !is {
		return
	}
	key, side := theirs.GetOpen().GetKey(), theirs.GetOpen().GetSide()
	if theirs.GetClose() != nil {
		key, side = theirs.GetClose().GetKey(), theirs.GetClose().GetSide()
	}
	if p.Number != key.GetSequence() || string(p.Egress) != key.GetEgress() || string(p.Ingress) != key.GetIngress() ||
		string(p.Run) != key.GetRun() || crossingv1.Side(p.Side) != side { //nolint:gosec // a side is 0 to 2
		t.Errorf("%s: place %+v, want %v", name, p, key)
	}
}

// FuzzFrame: whatever the bytes, what the product takes is taken, and nothing breaks.
func FuzzFrame(f *testing.F) {
	for _, v := range vectors(f) {
		for _, one := range v.Frames {
			f.Add(bytesOf(f, one.Hex))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		agrees(t, "", data)
		m, err := Read(data)
		if err != nil {
			return
		}
		if p, is, err := PlaceOf(m); is && err == nil {
			p.AppendAgreed(nil)
			_ = p.Speaks()
			Differences(Account{Open: m.Sub("open"), Close: m.Sub("close")}, Account{Open: m.Sub("open"), Close: m.Sub("close")})
		}
	})
}

// TestNotAlike: a frame that is not its gateway's to write is refused.
func TestNotAlike(t *testing.T) {
	good := vectors(t)["joined"].Frames
	whole := bytesOf(t, good[0].Hex)
	m, err := Read(whole)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(m *wire.Message){
		"no id":         func(m *wire.Message) { m.Sub("open").Clear("id") },
		"no key":        func(m *wire.Message) { m.Sub("open").Clear("key") },
		"no number":     func(m *wire.Message) { m.Sub("open").Sub("key").Clear("sequence") },
		"no side":       func(m *wire.Message) { m.Sub("open").Clear("side") },
		"no writer":     func(m *wire.Message) { m.Clear("gateway") },
		"no run":        func(m *wire.Message) { m.Clear("run") },
		"no key's run":  func(m *wire.Message) { m.Sub("open").Sub("key").Clear("run") },
		"no egress":     func(m *wire.Message) { m.Sub("open").Sub("key").Clear("egress") },
		"no source":     func(m *wire.Message) { m.Sub("open").Clear("source") },
		"nothing said":  func(m *wire.Message) { m.Clear("open") },
		"another scope": func(m *wire.Message) { copy(m.Sub("open").Bytes("source")[9:], "zz") },
	} {
		again, err := wire.Decode(message.Frame, bytes.Clone(m.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		change(again)
		read, err := Read(again.Encode())
		if err != nil {
			continue
		}
		p, is, err := PlaceOf(read)
		if err == nil && is {
			err = p.Speaks()
		}
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Read(make([]byte, MaxSize+1)); err == nil {
		t.Error("a frame of any size is read")
	}
}
