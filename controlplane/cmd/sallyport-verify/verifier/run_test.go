package verifier

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// given writes files, and gives their paths.
func given(t testing.TB, contents ...string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for i, c := range contents {
		path := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(path, []byte(c), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// told is what the command says, and its exit code.
func told(t testing.TB, args ...string) (string, int) {
	t.Helper()
	var out, errs strings.Builder
	code := Run(args, &out, &errs)
	if errs.Len() > 0 {
		t.Logf("%v: %s", args, &errs)
	}
	return out.String() + errs.String(), code
}

func crossed(t testing.TB) *verifytest.Mesh {
	m := verifytest.New(t)
	for range 5 {
		m.Cross()
	}
	m.Epoch(false)
	return m
}

// TestProof: a proof of a crossing says who called whom, when, and what both signed.
func TestProof(t *testing.T) {
	m := crossed(t)
	whole := string(m.Proof(m.Near, 3, verifytest.Egress, verifytest.Ingress))
	files := given(t, m.Keys(), whole)
	out, code := told(t, "--keys", files[0], files[1])
	for _, want := range []string{
		"Proven: crossing 01a207e6-e4d8-7d3e-9a54-000000000003, number 3 of near-1 ─► far-1",
		"spiffe://near.example/ai/orchestrator ─► spiffe://far.example/ai/llm", "ml-platform, of near ─► far; lands in siem",
		"POST /v1/chat/completions of chat (openai) at llm.far.mesh:8000",
		"ALLOW by plan-with-the-llm under policy 41", "ended 1.904s later: DONE, status 200, 2,210 B there, 9,433 B back",
		"opening and end alike by both", "epoch 1 is entry 2 of near.example/sallyport/log", "seen by w1 at",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if code != proven {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	out, code = told(t, "--keys", files[0], "-o", "json", files[1])
	var said struct {
		Verdict  string
		Crossing struct {
			ID       string
			Accounts map[string]struct {
				Close struct{ ResponseBytes string }
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil || code != proven || said.Verdict != "proven" ||
		said.Crossing.Accounts[m.Far.ID].Close.ResponseBytes != "9433" {
		t.Errorf("%+v, %v, exit code %d:\n%s", said, err, code, out)
	}
}

// TestLateness: a statement that a log took long after its date says so.
func TestLateness(t *testing.T) {
	m := verifytest.New(t)
	m.Cross()
	began := len(m.Near.Log.Entries)
	m.Epoch(false)
	for i, e := range m.Near.Log.Entries[began:] {
		var entry logv1.Entry
		if err := proto.Unmarshal(e, &entry); err != nil {
			t.Fatal(err)
		}
		m.Near.Log.Entries = m.Near.Log.Entries[:began+i]
		m.Near.Log.Add(m.Now.Add(5*time.Hour), &entry)
	}
	files := given(t, m.Keys(), string(m.Proof(m.Near, 1, verifytest.Egress)))
	if out, code := told(t, "--keys", files[0], files[1]); code != proven || !strings.Contains(out, "delivered by near-1: 5h0m0s after it is dated") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if got := lateness(-time.Hour); got != ": 1h0m0s before it is dated" {
		t.Error(got)
	}
}

// TestExitCodes: yes, no, and could not tell.
func TestExitCodes(t *testing.T) {
	m := crossed(t)
	whole := string(m.Proof(m.Near, 3, verifytest.Egress))
	files := given(t, m.Keys(), whole, strings.Replace(whole, "index ", "index 1", 1), "log nothing", "neither", m.RootLine(m.Near))
	for _, c := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"a proof", []string{"--keys", files[0], files[1]}, proven, "Proven"},
		{"not proven", []string{"--keys", files[0], files[2]}, notProven, "Not proven: entry 12"},
		{"bad keys", []string{"--keys", files[3], files[1]}, notTold, "line 1"},
		{"other keys", []string{"--keys", files[5], files[1]}, notTold, "cannot be told"},
		{"neither proof nor pack", []string{"--keys", files[0], files[4]}, notTold, "neither"},
		{"no file", []string{"--keys", files[0], files[1] + ".gone"}, notTold, "no such file"},
		{"no keys", []string{files[1]}, notTold, "--keys is missing"},
		{"two files", []string{"--keys", files[0], files[1], files[1]}, notTold, "want one file"},
		{"another form", []string{"--keys", files[0], "-o", "xml", files[1]}, notTold, "-o xml"},
		{"since of a proof", []string{"--keys", files[0], "--since", files[1], files[1]}, notTold, "--since is of packs"},
		{"help", []string{"--help"}, proven, "usage"},
	} {
		if out, code := told(t, c.args...); code != c.want || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit code %d, want %d, and %q in\n%s", c.name, code, c.want, c.says, out)
		}
	}
}

// TestSafe: what a file has does not come to the terminal as it is.
func TestSafe(t *testing.T) {
	if got := safe("a\x1b[2Jb"); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}

// TestPack: a pack says how much it proves; what is wrong with one, where.
func TestPack(t *testing.T) {
	m := crossed(t)
	since := m.Checkpoint(m.Near)
	m.Epoch(true)
	bad := m.Files()
	bad[len(bad)-1].Data[200] ^= 1
	other := verifytest.New(t)
	files := given(t, m.Keys(), string(m.Pack()), string(verifytest.Tar(bad)), since, string(m.Pack()[:4096]), other.Checkpoint(other.Near))
	for _, c := range []struct {
		name string
		args []string
		want int
		says []string
	}{
		{"whole", []string{"--keys", files[0], files[1]}, proven, []string{
			"Proven: 5 crossings of 1 chain,", "near.example/sallyport/log  5 of 5 entries", "held", "20 frames against 6 statements",
		}},
		{"since", []string{"--keys", files[0], "--since", files[3], files[1]}, proven, []string{"since", "3 entries of near.example/sallyport/log"}},
		{"a byte", []string{"--keys", files[0], files[2]}, notProven, []string{"Not proven", "dropped", "number 1"}},
		{"cut", []string{"--keys", files[0], files[4]}, notProven, []string{"Not proven"}},
		{"since of others", []string{"--keys", files[0], "--since", files[5], files[1]}, notTold, []string{"cannot be told"}},
		{"since that is none", []string{"--keys", files[0], "--since", files[0], files[1]}, notTold, []string{"cannot be told"}},
	} {
		out, code := told(t, c.args...)
		for _, want := range c.says {
			if !strings.Contains(out, want) || code != c.want {
				t.Errorf("%s: exit code %d, want %d, and %q in\n%s", c.name, code, c.want, want, out)
			}
		}
		jsonOut, jsonCode := told(t, append([]string{"-o", "json"}, c.args...)...)
		if !json.Valid([]byte(jsonOut)) || jsonCode != c.want {
			t.Errorf("%s: exit code %d, want %d:\n%s", c.name, jsonCode, c.want, jsonOut)
		}
	}
}
