package pack

import (
	"archive/tar"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
)

var crossings = flag.Int("n", 20_000, "crossings in the pack of BenchmarkCheck")

// large makes a pack of so many crossings in a file.
func large(t testing.TB, n int) (path string, m *verifytest.Mesh) {
	t.Helper()
	dir := t.TempDir()
	m = verifytest.New(t)
	frames := must[*os.File](t)(os.Create(filepath.Join(dir, "frames")))
	behind := tar.NewWriter(frames)
	write := func(to *tar.Writer) func(verifytest.File) {
		return func(f verifytest.File) {
			if err := verifytest.WriteFile(to, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	w := &verifytest.FrameWriter{Each: write(behind)}
	m.Frame = w.Write
	for at := range n {
		m.Cross()
		if at%1000 == 999 || at == n-1 {
			m.Epoch(at == n-1)
			m.Beat()
		}
	}
	w.Close()
	path = filepath.Join(dir, "pack")
	whole := must[*os.File](t)(os.Create(path))
	head := tar.NewWriter(whole)
	for _, f := range m.LogFiles(verifytest.Began, m.Now.Add(time.Hour)) {
		write(head)(f)
	}
	if err := head.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := behind.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := frames.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := whole.ReadFrom(frames); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{whole, frames} {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return path, m
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// BenchmarkCheck: how long does a pack of -n crossings take?
func BenchmarkCheck(b *testing.B) {
	path, m := large(b, *crossings)
	k := believing(b, m)
	file := must[*os.File](b)(os.Open(path))
	defer file.Close()
	size := must[os.FileInfo](b)(file.Stat()).Size()
	b.SetBytes(size)
	for b.Loop() {
		r, err := Check(file, size, k, nil)
		if err != nil || len(r.Findings.All) > 0 || r.Crossings != *crossings {
			b.Fatal(err, r.Crossings, found(r))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(*crossings), "ns/crossing")
}
