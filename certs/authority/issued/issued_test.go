package issued

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var begin = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func entry(n int) Entry {
	return Entry{
		Time: begin, Kind: X509, ID: "spiffe://aws.example/ai/agent", Serial: fmt.Sprintf("%032x", n),
		Digest: "sha256:" + strings.Repeat("0a", 32), NotAfter: begin.Add(time.Hour),
		DNSNames: []string{"agent.aws.mesh"}, Root: 1, By: "sha256:" + strings.Repeat("0b", 32),
		Socket: "/run/sallyport/agent.sock", PID: 4711, Attested: []string{"unix:gid:1000", "unix:uid:1000"},
	}
}

func opened(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func serials(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	if err := Read(dir, func(e *Entry) error { all = append(all, e.Serial); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAppendAndRead(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	want := []Entry{entry(1), entry(2), {Time: begin, Kind: JWT, ID: "spiffe://aws.example/x", NotAfter: begin, Audience: []string{"one"}}}
	if err := l.Append(want[0]); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(want[1:]...); err != nil {
		t.Fatal(err)
	}
	var got []Entry
	if err := Read(dir, func(e *Entry) error { got = append(got, *e); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(name(dir, 1)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	stop := errors.New("enough")
	if err := Read(dir, func(*Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Read with a reader that has enough = %v", err)
	}
}

// TestTornLine: what a crash left of a line is cut off, and what comes is whole.
func TestTornLine(t *testing.T) {
	for _, torn := range []string{`{"id":"spi`, strings.Repeat("x", 10000), ""} {
		dir := t.TempDir()
		l := opened(t, dir)
		if err := l.Append(entry(1)); err != nil {
			t.Fatal(err)
		}
		l.Close()
		f, err := os.OpenFile(name(dir, 1), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(torn); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if got := serials(t, dir); len(got) != 1 {
			t.Errorf("%d entries are read beside a line that is written", len(got))
		}
		if err := opened(t, dir).Append(entry(2)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{entry(1).Serial, entry(2).Serial}, serials(t, dir)); diff != "" {
			t.Errorf("after %.20q (-want +got):\n%s", torn, diff)
		}
	}
}

func TestParts(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	l.part = 2000
	const n = 100
	for i := range n {
		if err := l.Append(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := partsOf(dir)
	if err != nil || len(parts) != maxParts {
		t.Fatalf("parts %v, %v, want %d", parts, err, maxParts)
	}
	for _, part := range parts {
		if info, err := os.Stat(name(dir, part)); err != nil || info.Size() > 2000 {
			t.Errorf("part %d has %d bytes, %v", part, info.Size(), err)
		}
	}
	got := serials(t, dir)
	for i, serial := range got { // the newest, in order, none left out
		if want := entry(n - len(got) + i).Serial; serial != want {
			t.Fatalf("entry %d is %s, want %s", i, serial, want)
		}
	}
	l.Close()
	again := opened(t, dir)
	if again.n != parts[len(parts)-1] {
		t.Errorf("it goes on in part %d of %v", again.n, parts)
	}
}

// TestConcurrent: all of what is appended at one time is there, each line whole.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	l.part = 20000
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			for j := range 3 {
				if err := l.Append(entry(i*3 + j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, serial := range serials(t, dir) {
		seen[serial] = true
	}
	if len(seen) != 120 {
		t.Errorf("%d of 120 entries are there", len(seen))
	}
}

// TestDiskFault: after a disk's error nothing is written any more, for nobody knows
// what is there.
func TestDiskFault(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	if err := l.Append(entry(1)); err != nil {
		t.Fatal(err)
	}
	good := l.file
	broken, err := os.Open(name(dir, 1)) // cannot be written to
	if err != nil {
		t.Fatal(err)
	}
	l.file = broken
	if err := l.Append(entry(2)); err == nil {
		t.Error("Append to a broken file succeeded")
	}
	l.file = good
	if err := l.Append(entry(3)); err == nil {
		t.Error("Append after it succeeded")
	}
	if got := serials(t, dir); len(got) != 1 {
		t.Errorf("%d entries", len(got))
	}
	if err := opened(t, dir).Append(entry(4)); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestClosed(t *testing.T) {
	l := opened(t, t.TempDir())
	l.Close()
	if err := l.Append(entry(1)); err == nil {
		t.Error("Append to a closed log succeeded")
	}
}

func TestReadFaults(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(name(dir, 1), []byte("{\"id\":\"a\",\"kind\":\"b\"}\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Read(dir, func(*Entry) error { return nil }); err == nil || !strings.Contains(err.Error(), "issued-000001.log:2") {
		t.Errorf("Read of nonsense = %v, want its place", err)
	}
	if err := Read(filepath.Join(dir, "nowhere"), nil); err == nil {
		t.Error("Read of nothing succeeded")
	}
	for _, other := range []string{"issued-1.log", "issued-000001.log.bak", "authority.json"} {
		if err := os.WriteFile(filepath.Join(dir, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if parts, err := partsOf(dir); err != nil || len(parts) != 1 {
		t.Errorf("parts %v, %v: other files are none", parts, err)
	}
}

func TestValidUntil(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	for i, e := range []struct {
		root uint64
		id   string
		ends time.Duration
	}{{1, "a", time.Hour}, {1, "b", 2 * time.Hour}, {1, "own", 9 * time.Hour}, {2, "a", 5 * time.Hour}, {1, "a", time.Minute}} {
		one := entry(i)
		one.Root, one.ID, one.NotAfter = e.root, e.id, begin.Add(e.ends)
		if err := l.Append(one); err != nil {
			t.Fatal(err)
		}
	}
	if until, err := ValidUntil(dir, 1, "own"); err != nil || !until.Equal(begin.Add(2*time.Hour)) {
		t.Errorf("ValidUntil = %v, %v", until, err)
	}
	if until, err := ValidUntil(dir, 3, "own"); err != nil || !until.IsZero() {
		t.Errorf("ValidUntil of a root that issued nothing = %v, %v", until, err)
	}
}

// BenchmarkAppend is what an SVID waits for, alone and beside 63 others.
func BenchmarkAppend(b *testing.B) {
	for _, beside := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d-at-a-time", beside), func(b *testing.B) {
			l, err := Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			b.ReportAllocs()
			b.SetParallelism(beside)
			if beside == 1 {
				for b.Loop() {
					if err := l.Append(entry(1)); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Append(entry(1)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-27T12:00:00Z","kind":"jwt-svid","id":"spiffe://a/b","notAfter":"2026-11-27T12:00:00Z"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if e, err := parse(line); err == nil && (e.ID == "" || e.Kind == "") {
			t.Errorf("parse(%q) = %+v", line, e)
		}
	})
}
