package keys

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
)

// world is a log and three witnesses.
func world(t testing.TB) (*verifytest.Mesh, []*verifytest.Witness, string) {
	m := verifytest.New(t)
	text := "log " + m.Near.Log.Key + " https://near.example/log\n"
	var all []*verifytest.Witness
	for i := range 3 {
		w := verifytest.NewWitness(t, fmt.Sprintf("witness.example/w%d", i+1))
		text += fmt.Sprintf("witness w%d %s\n", i+1, w.Key)
		all = append(all, w)
	}
	return m, all, text
}

// TestQuorum: who has to have seen a checkpoint.
func TestQuorum(t *testing.T) {
	m, all, text := world(t)
	for _, c := range []struct {
		rule string
		by   []int
		want bool
	}{
		{"quorum none", nil, true},
		{"quorum w1", []int{0}, true},
		{"quorum w1", []int{1}, false},
		{"group g 2 w1 w2 w3\nquorum g", []int{0, 2}, true},
		{"group g 2 w1 w2 w3\nquorum g", []int{1}, false},
		{"group g any w1 w2\nquorum g", []int{1}, true},
		{"group g any w1 w2\nquorum g", []int{2}, false},
		{"group g all w1 w2\nquorum g", []int{0, 1}, true},
		{"group g all w1 w2\nquorum g", []int{0}, false},
		{"group g any w1 w2\ngroup h all g w3\nquorum h", []int{1, 2}, true},
		{"group g any w1 w2\ngroup h all g w3\nquorum h", []int{0, 1}, false},
	} {
		f, err := Parse([]byte(text + c.rule + "\n"))
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		var by []*verifytest.Witness
		for _, i := range c.by {
			by = append(by, all[i])
		}
		got, err := f.Checkpoint([]byte(m.Near.Log.Checkpoint(m.Now, by...)))
		if (err == nil) != c.want || err != nil && !errors.Is(err, errQuorum) || err == nil && len(got.Cosigned) != len(by) {
			t.Errorf("%s, seen by %v: %v, %v", c.rule, c.by, got, err)
		}
	}
}

// TestCheckpointRefused: what somebody else signed, or nobody did.
func TestCheckpointRefused(t *testing.T) {
	m, all, text := world(t)
	f, err := Parse([]byte(text + "quorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	good := m.Near.Log.Checkpoint(m.Now, all[0])
	stranger := m.Near.Log.Checkpoint(m.Now, verifytest.NewWitness(t, "stranger"))
	lines := strings.SplitAfter(good, "\n")
	for name, c := range map[string]struct {
		text    string
		unknown bool
	}{
		"another log":           {m.Far.Log.Checkpoint(m.Now), true},
		"a stranger":            {stranger, true},
		"a witness alone":       {strings.Replace(good, lines[4], "", 1), false},
		"a signature twice":     {good + lines[5], false},
		"another time":          {strings.Replace(good, lines[1], "9\n", 1), false},
		"no note":               {"nothing", false},
		"no checkpoint":         {strings.Replace(good, lines[1], "", 1), false},
		"another one's origin":  {strings.Replace(good, m.Near.Log.Origin+"\n", m.Far.Log.Origin+"\n", 1), false},
		"a witness's signature": {strings.Replace(good, lines[5][20:30], "AAAAAAAAAA", 1), false},
	} {
		got, err := f.Checkpoint([]byte(c.text))
		if err == nil || errors.Is(err, ErrNoKey) != c.unknown {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestRefused: what is no keys file says which line is not.
func TestRefused(t *testing.T) {
	m, all, text := world(t)
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, c := range map[string]struct{ text, want string }{
		"another word":              {"lock x\n", "line 1: it begins with"},
		"a log without key":         {"log\n", "line 1"},
		"a log with a witness's":    {"log " + all[0].Key + "\n", "is a witness's"},
		"a log twice":               {text + "log " + m.Near.Log.Key + "\nquorum none\n", "line 5"},
		"a witness with a log's":    {"witness w " + m.Near.Log.Key + "\n", "none of a witness"},
		"a witness without name":    {"witness " + all[0].Key + "\n", "want witness"},
		"a name twice":              {text + "witness w1 " + verifytest.NewWitness(t, "x").Key + "\n", "twice"},
		"a key twice":               {text + "witness w4 " + all[0].Key + "\n", "twice"},
		"none as a name":            {"witness none " + all[0].Key + "\n", "twice"},
		"witnesses without quorum":  {text, "add \"quorum NAME\""},
		"two quorums":               {text + "quorum w1\nquorum w2\n", "line 6"},
		"a quorum of nobody":        {"quorum w9\n", "no witness"},
		"a group of nobody":         {"group g all w9\n", "no witness"},
		"a group of none":           {"group g all none\n", "no witness"},
		"a group without members":   {"group g all\n", "want group"},
		"a group of 0":              {text + "group g 0 w1\n", "none of all"},
		"a group of too many":       {text + "group g 2 w1\n", "none of all"},
		"a member of two groups":    {text + "group g all w1\ngroup h all w1\n", "a member twice"},
		"a gateway that is none":    {"gateway near-1 " + key + "\n", "no SPIFFE ID"},
		"a gateway with half a key": {"gateway spiffe://a.example/g " + key[:20] + "\n", "no base64 of 32 bytes"},
		"a gateway without key":     {"gateway spiffe://a.example/g\n", "want gateway"},
		"a root that is none":       {"root a.example AAAA\n", "the root of a.example"},
		"a root of nobody":          {"root A.example AAAA\n", "no trust domain"},
		"a root without":            {"root a.example\n", "want root"},
		"loose base64":              {"root a.example AAB=\n", "no base64"},
		"a control character":       {"# \x00\n", "control characters"},
		"a return":                  {"quorum none\r\n", "control characters"},
	} {
		if _, err := Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestLines: comments, blanks and tabs say nothing, and gateways may have many keys.
func TestLines(t *testing.T) {
	const id = "spiffe://a.example/sallyport/gateway/g"
	one, two := make([]byte, 32), append(make([]byte, 31), 1)
	text := "\n  # whom to believe \t ü\n\tgateway  " + id + "\t" + base64.StdEncoding.EncodeToString(one) + " \n" +
		"gateway " + id + " " + base64.StdEncoding.EncodeToString(two)
	f, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{one, two} {
		if got, err := f.Gateway(id, sha256.Sum256(key)); err != nil || !got.Equal(ed25519.PublicKey(key)) {
			t.Error(got, err)
		}
	}
	if _, err := f.Gateway(id, [32]byte{}); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if _, err := f.Gateway("spiffe://b.example/g", sha256.Sum256(one)); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if len(f.Roots("a.example")) != 0 {
		t.Error("there is a root")
	}
	if _, err := Parse(make([]byte, MaxFile+1)); err == nil {
		t.Error("a file of any size is read")
	}
}

// FuzzParse: whatever the bytes, they are read or refused.
func FuzzParse(f *testing.F) {
	m, _, text := world(f)
	f.Add([]byte(text + "group g 2 w1 w2 w3\nquorum g\n"))
	f.Add([]byte(m.Keys()))
	checkpoint := []byte(m.Checkpoint(m.Near))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err == nil {
			_, _ = file.Checkpoint(checkpoint)
		}
	})
}
