package pack

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
)

// believing is the keys file that believes logs, witness and roots: of gateways, it knows
// nothing.
func believing(t testing.TB, m *verifytest.Mesh) *keys.File {
	t.Helper()
	text := strings.NewReplacer(m.Near.KeyLine(), "", m.Far.KeyLine(), "").Replace(m.Keys())
	k, err := keys.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func check(t testing.TB, m *verifytest.Mesh, data []byte, since *keys.Checkpoint) *Report {
	t.Helper()
	r, err := Check(bytes.NewReader(data), int64(len(data)), believing(t, m), since)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// busy is a mesh of some epochs, of which the last one ends the run.
func busy(t testing.TB) *verifytest.Mesh {
	m := verifytest.New(t)
	for range 3 {
		for range 10 {
			m.Cross()
		}
		m.Epoch(false)
	}
	m.Beat()
	m.Epoch(true)
	return m
}

func found(r *Report) (text string) {
	for _, f := range r.Findings.All {
		text += string(f.Kind) + ": " + f.Where() + ": " + f.Why + "\n"
	}
	return text
}

// TestWhole: in a pack of what happened, nothing is wrong.
func TestWhole(t *testing.T) {
	m := busy(t)
	r := check(t, m, m.Pack(), nil)
	if len(r.Findings.All) > 0 || r.Crossings != 30 || r.Frames != 120 || r.Chains != 1 || len(r.Logs) != 2 {
		t.Errorf("%d crossings, %d frames, %d chains, %d logs:\n%s", r.Crossings, r.Frames, r.Chains, len(r.Logs), found(r))
	}
}

var (
	_ = finding.Fault
	_ = time.Second
)
