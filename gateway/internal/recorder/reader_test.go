package recorder

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

// spoolOf is a spool of entries with payloads of those sizes, none of them like
// another.
func spoolOf(t *testing.T, sizes ...int) *spool {
	t.Helper()
	r := open(t, t.TempDir(), segmentSize)
	t.Cleanup(func() { r.CloseSpool() })
	for i, n := range sizes {
		w := r.spool.entry()
		if err := w.seal(append(w.entry, bytes.Repeat([]byte{byte(i + 1)}, n)...), nil); err != nil {
			t.Fatal(err)
		}
		if err := r.spool.append(w, false, false); err != nil {
			t.Fatal(err)
		}
		r.spool.free(w)
	}
	return r.spool
}

// TestBatches: all entries, whole and in order, in batches that are as large as
// they may be and no larger.
func TestBatches(t *testing.T) {
	many := make([]int, maxFrames+1)
	for i := range many {
		many[i] = 1
	}
	const all = crossing.MaxFrame
	for _, c := range []struct {
		name    string
		sizes   []int
		batches []int
	}{
		{"one", []int{1}, []int{1}},
		{"long ones", []int{all, all, all, all, all}, []int{3, 2}},
		{"just as many bytes", []int{maxBytes/4 - entryHeader, maxBytes/4 - entryHeader, maxBytes/4 - entryHeader, maxBytes/4 - entryHeader}, []int{4}},
		{"a byte more", []int{maxBytes/4 - entryHeader, maxBytes/4 - entryHeader, maxBytes/4 - entryHeader, maxBytes/4 - entryHeader, 1}, []int{4, 1}},
		{"a header cut off", []int{all - entryHeader, all - entryHeader, all - entryHeader, all - 2*entryHeader + 3, 7}, []int{4, 1}},
		{"many", many, []int{maxFrames, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reader{spool: spoolOf(t, c.sizes...), at: at(1, 0)}
			defer r.close()
			next := 0
			for i, want := range c.batches {
				batch, full, err := r.batch()
				if err != nil || len(batch.GetFrames()) != want || full != (i < len(c.batches)-1) {
					t.Fatalf("batch %d has %d frames, full: %t, %v; want %d", i, len(batch.GetFrames()), full, err, want)
				}
				for _, f := range batch.GetFrames() {
					if !bytes.Equal(f, bytes.Repeat([]byte{byte(next + 1)}, c.sizes[next])) {
						t.Fatalf("frame %d is another", next)
					}
					next++
				}
				if batch.GetThrough() != uint64(r.at) {
					t.Errorf("through %d, want %d", batch.GetThrough(), r.at)
				}
				batch.free() // too early
				if n := len(batch.GetFrames()); n != want || batch.GetFrames()[0] == nil {
					t.Fatalf("%d frames of a batch that is in use, want %d", n, want)
				}
				batch.sent.Store(true)
				batch.free()
			}
			if batch, _, err := r.batch(); batch != nil || err != nil || r.at != r.spool.end {
				t.Errorf("another batch: %v, %v; at %d of %d", batch, err, r.at, r.spool.end)
			}
		})
	}
}

// TestDamageIsNotPassedOver: what is before damage is delivered, or nothing, and
// never what is behind it.
func TestDamageIsNotPassedOver(t *testing.T) {
	sizes := []int{10, 20, 30}
	whole := int64(3*entryHeader + 60)
	for offset := range whole {
		s := spoolOf(t, sizes...)
		f, err := os.OpenFile(segmentPath(s.dir, 1), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := f.ReadAt(b[:], offset); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x55
		if _, err := f.WriteAt(b[:], offset); err != nil {
			t.Fatal(err)
		}
		f.Close()
		r := &reader{spool: s, at: at(1, 0)}
		for err == nil && r.at.offset() < whole {
			_, _, err = r.batch()
		}
		r.close()
		if !errors.Is(err, errTorn) || r.at.offset() > offset {
			t.Fatalf("damage at %d: %v at %d", offset, err, r.at.offset())
		}
	}
}

// FuzzCutEntry: entries in memory are read as those of a file are.
func FuzzCutEntry(f *testing.F) {
	f.Add(appendEntry(appendEntry(nil, []byte("payload")), []byte("x")))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		source := bytes.NewReader(b)
		for rest := b; ; {
			want, werr := readEntry(source)
			got, left, err := cutEntry(rest)
			if (err == nil) != (werr == nil) || !bytes.Equal(got, want) {
				t.Fatalf("cutEntry(%x) = %x, %v; want %x, %v", rest, got, err, want, werr)
			}
			if err != nil {
				return
			}
			rest = left
		}
	})
}
