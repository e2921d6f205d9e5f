package pack

import (
	"bytes"
	"slices"
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
	return parsed(t, text)
}

func parsed(t testing.TB, text string) *keys.File {
	t.Helper()
	return must[*keys.File](t)(keys.Parse([]byte(text)))
}

func check(t testing.TB, k *keys.File, data []byte, since *keys.Checkpoint) *Report {
	t.Helper()
	r, err := Check(bytes.NewReader(data), int64(len(data)), k, since)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// busy is a mesh of three epochs of ten crossings, and one that ends the run.
func busy(t testing.TB) *verifytest.Mesh {
	m := verifytest.New(t)
	for range 3 {
		for range 10 {
			m.Cross()
		}
		m.Epoch(false)
	}
	m.Rest(3)
	m.Epoch(true)
	return m
}

func found(r *Report) (text string) {
	for _, f := range r.Findings.All {
		text += string(f.Kind) + ": " + f.Where() + ": " + f.Why + "\n"
	}
	return text
}

// finds holds that a report names something, and what else it has weighs nothing.
func finds(t *testing.T, r *Report, want finding.Kind, words ...string) {
	t.Helper()
	for _, f := range r.Findings.All {
		text := f.Where() + ": " + f.Why
		if f.Kind == want && f.Weight == finding.Fault && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			return
		}
	}
	t.Errorf("it does not find %s with %q:\n%s", want, words, found(r))
}

// TestWhole: in a pack of what happened, nothing is wrong.
func TestWhole(t *testing.T) {
	m := busy(t)
	r := check(t, believing(t, m), m.Pack(), nil)
	if len(r.Findings.All) > 0 || r.Crossings != 30 || r.Frames != 120 || r.Chains != 1 || len(r.Logs) != 2 {
		t.Errorf("%d crossings, %d frames, %d chains, %d logs:\n%s", r.Crossings, r.Frames, r.Chains, len(r.Logs), found(r))
	}
}

// at is the file of a name that begins so.
func at(t testing.TB, files []verifytest.File, name string) int {
	t.Helper()
	i := slices.IndexFunc(files, func(f verifytest.File) bool { return strings.HasPrefix(f.Name, name) })
	if i < 0 {
		t.Fatalf("there is no %s", name)
	}
	return i
}

// TestManipulated: whoever has a pack, and no key, changes nothing unseen.
func TestManipulated(t *testing.T) {
	near := "logs/" + verifytest.Near + "/"
	for _, c := range []struct {
		name   string
		change func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File
		kind   finding.Kind
		words  []string
	}{
		{"a byte that both must say alike", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			m.Frames[4*14] = bytes.Replace(m.Frames[4*14], []byte("ml-platform"), []byte("no-platform"), 1)
			return m.Files()
		}, finding.Changed, []string{"near-1 ─► far-1", "epoch 2", "number 15", "of near-1 with its opening"}},
		{"a byte of one gateway's own", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			m.Frames[4*14+1] = bytes.Replace(m.Frames[4*14+1], []byte("plan-with"), []byte("plot-with"), 1)
			return m.Files()
		}, finding.Changed, []string{"epoch 2", "far-1 with its opening, of numbers from 11 to 20"}},
		{"a byte without which it is no frame", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			m.Frames[3] = bytes.Replace(m.Frames[3], []byte("01a2"), []byte("01A2"), 1)
			return m.Files()
		}, finding.Changed, []string{"frames/00000001", "its id is none"}},
		{"a record", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			m.Frames = slices.Delete(m.Frames, 4*14+3, 4*14+4)
			return m.Files()
		}, finding.Dropped, []string{"epoch 2", "number 15", "far-1 has signed its end of numbers 15"}},
		{"the last records", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			m.Frames = m.Frames[:4*28]
			return m.Files()
		}, finding.Dropped, []string{"epoch 3", "number 29", "of numbers 29–30"}},
		{"a record more", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			other := verifytest.New(t)
			for range 31 {
				other.Cross()
			}
			m.Frames = append(m.Frames, other.Frames[4*30:]...)
			return m.Files()
		}, finding.Added, []string{"number 31", "has signed none"}},
		{"a record twice, otherwise", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			m.Frames = append(m.Frames, bytes.Replace(m.Frames[0], []byte("ml-platform"), []byte("no-platform"), 1))
			return m.Files()
		}, finding.Added, []string{"number 1", "two frames"}},
		{"records of another chain", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			other := []byte(strings.Repeat("ab", 16))
			m.Frames = append(m.Frames, bytes.ReplaceAll(m.Frames[0], []byte(m.Near.Run), other))
			return m.Files()
		}, finding.Added, []string{"no log has a statement of"}},
		{"a byte of an entry", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			f := &files[at(t, files, near+"tile")]
			f.Data = bytes.Replace(f.Data, m.Statements[1].Statement.GetEgress().GetValue(), make([]byte, 64), 1)
			return files
		}, finding.Changed, []string{"near.example/sallyport/log", "entry 3", "epoch 2"}},
		{"an entry", func(t *testing.T, m *verifytest.Mesh, _ []verifytest.File) []verifytest.File {
			checkpoint := m.Checkpoint(m.Near)
			m.Near.Log.Entries = append(slices.Delete(m.Near.Log.Entries, 2, 3), m.Near.Log.Entries[0])
			files := m.Files()
			files[at(t, files, near+"checkpoint")].Data = []byte(checkpoint)
			return files
		}, finding.Changed, []string{"near.example/sallyport/log", "come to the root"}},
		{"the last entries", func(t *testing.T, m *verifytest.Mesh, _ []verifytest.File) []verifytest.File {
			checkpoint := m.Checkpoint(m.Near)
			m.Near.Log.Entries = m.Near.Log.Entries[:6]
			files := m.Files()
			files[at(t, files, near+"checkpoint")].Data = []byte(checkpoint)
			return files
		}, finding.DroppedTail, []string{"near.example/sallyport/log", "it has signed 12 entries, and those from 6 on are missing"}},
		{"the checkpoint", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			f := &files[at(t, files, near+"checkpoint")]
			f.Data = bytes.Replace(f.Data, []byte("\n12\n"), []byte("\n13\n"), 1)
			return files
		}, finding.Changed, []string{"near.example/sallyport/log", "is not right"}},
		{"another log's checkpoint", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			files[at(t, files, near+"checkpoint")].Data = []byte(m.Checkpoint(m.Far))
			return files
		}, finding.Changed, []string{"its checkpoint is of \"far.example"}},
		{"a file more", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			return append(files, verifytest.File{Name: "README"})
		}, finding.Added, []string{"README"}},
		{"a file of frames", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			return files[:at(t, files, "frames/")]
		}, finding.Dropped, []string{"epoch 1", "number 1", "of numbers 1–10"}},
		{"the first file of frames", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			files[at(t, files, "frames/")].Name = "frames/00000002"
			return files
		}, finding.Dropped, []string{"frames/00000002 is where frames/00000001 should be"}},
		{"a length", func(t *testing.T, m *verifytest.Mesh, files []verifytest.File) []verifytest.File {
			files[at(t, files, "frames/")].Data = append([]byte{0xff, 0xff, 0xff, 0x7f}, files[at(t, files, "frames/")].Data...)
			return files
		}, finding.Malformed, []string{"at byte 0 there is no frame"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := busy(t)
			files := c.change(t, m, m.Files())
			finds(t, check(t, believing(t, m), verifytest.Tar(files), nil), c.kind, c.words...)
		})
	}
}

// TestOperator: the log's operator, who has its key, and the witness who looks at nothing,
// change nothing unseen either.
func TestOperator(t *testing.T) {
	drop := func(l *verifytest.Log, from, to int) { l.Entries = slices.Delete(l.Entries, from, to) }
	m := busy(t)
	k := believing(t, m)
	since := must[*keys.Checkpoint](t)(k.Checkpoint([]byte(m.Checkpoint(m.Near))))
	if r := check(t, k, m.Pack(), since); len(r.Findings.All) > 0 {
		t.Fatalf("nothing has changed:\n%s", found(r))
	}
	t.Run("drops an epoch", func(t *testing.T) {
		m := busy(t)
		drop(m.Near.Log, 3, 5)
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.Dropped, "near.example/sallyport/log", "epoch 2", "the claim of near-1, which is in another log")
		drop(m.Far.Log, 2, 3)
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.Dropped, "epoch 2", "no log has a claim of epoch 2, and there is one of epoch 3")
	})
	t.Run("drops the beginning", func(t *testing.T) {
		m := busy(t)
		drop(m.Near.Log, 1, 3)
		drop(m.Far.Log, 1, 2)
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.Dropped, "epoch 1", "no log has a claim of epoch 1")
	})
	t.Run("drops the tail", func(t *testing.T) {
		m := verifytest.New(t)
		m.Cross()
		m.Epoch(false)
		m.Cross()
		m.Epoch(false)
		m.Rest(4)
		drop(m.Near.Log, 3, 5)
		drop(m.Far.Log, 2, 3)
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.DroppedTail, "epoch 2", "no log has it, nor any after it")
	})
	t.Run("drops the tail that was signed", func(t *testing.T) {
		m := *m
		near := *m.Near
		log := *near.Log
		near.Log, m.Near = &log, &near
		log.Entries = log.Entries[:8:8]
		finds(t, check(t, k, m.Pack(), since), finding.DroppedTail, "it had signed 12 entries before, and has 8")
	})
	t.Run("changes what was signed", func(t *testing.T) {
		m := *m
		near := *m.Near
		log := *near.Log
		near.Log, m.Near = &log, &near
		log.Entries = slices.Clone(log.Entries)
		log.Entries[1], log.Entries[2] = log.Entries[2], log.Entries[1]
		finds(t, check(t, k, m.Pack(), since), finding.Fork, "it has signed two trees of 12 entries")
		log.Entries = append(log.Entries, m.Near.Log.Entries[11])
		finds(t, check(t, k, m.Pack(), since), finding.Fork, "its first 12 entries come to the root")
	})
	t.Run("puts its clock back", func(t *testing.T) {
		m := busy(t)
		m.Now = m.Now.Add(-time.Hour)
		m.Announce(m.Near)
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.Malformed, "entry 12", "clock was put back")
	})
	t.Run("holds its clock back", func(t *testing.T) {
		m := busy(t)
		k := believing(t, m)
		began := m.Now
		m.Now = began.Add(time.Hour) // when the witness saw it
		since := must[*keys.Checkpoint](t)(k.Checkpoint([]byte(m.Checkpoint(m.Near))))
		m.Now = began
		m.Announce(m.Near)
		m.Now = began.Add(2 * time.Hour)
		finds(t, check(t, k, m.Pack(), since), finding.BackDated, "near.example/sallyport/log", "entry 12", "at 2026-11-27 10:00:34 the witness w1 saw the log without it")
	})
	t.Run("puts its clock forward", func(t *testing.T) {
		m := busy(t)
		began := m.Now
		m.Now = began.Add(time.Hour)
		m.Announce(m.Near)
		m.Now = began
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.Malformed, "entry 12", "the witness w1 saw it at 2026-11-27 09:00:34")
	})
	t.Run("hides a log", func(t *testing.T) {
		files := slices.DeleteFunc(m.Files(), func(f verifytest.File) bool { return strings.HasPrefix(f.Name, "logs/"+verifytest.Near) })
		r := check(t, k, verifytest.Tar(files), since)
		if r.Findings.Worst() < finding.Unknown {
			t.Errorf("the log from before is gone, and nothing is found:\n%s", found(r))
		}
	})
}
