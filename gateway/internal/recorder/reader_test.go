package recorder

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
)

// spoolOf is a spool of entries with payloads of those sizes, none of them like
// another.
func spoolOf(t *testing.T, sizes ...int) *spool.Spool {
	t.Helper()
	r := open(t, t.TempDir(), spool.SegmentSize)
	t.Cleanup(func() { r.CloseSpool() })
	for i, n := range sizes {
		e := r.spool.Entry()
		if err := e.Seal(append(e.Room(), bytes.Repeat([]byte{byte(i + 1)}, n)...), nil); err != nil {
			t.Fatal(err)
		}
		if err := r.spool.Append(e, spool.Kind{}); err != nil {
			t.Fatal(err)
		}
		r.spool.Free(e)
	}
	if err := r.spool.Sync(); err != nil {
		t.Fatal(err)
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
		{"just as many bytes", []int{maxBytes/4 - spool.HeaderSize, maxBytes/4 - spool.HeaderSize, maxBytes/4 - spool.HeaderSize, maxBytes/4 - spool.HeaderSize}, []int{4}},
		{"a byte more", []int{maxBytes/4 - spool.HeaderSize, maxBytes/4 - spool.HeaderSize, maxBytes/4 - spool.HeaderSize, maxBytes/4 - spool.HeaderSize, 1}, []int{4, 1}},
		{"a header cut off", []int{all - spool.HeaderSize, all - spool.HeaderSize, all - spool.HeaderSize, all - 2*spool.HeaderSize + 3, 7}, []int{4, 1}},
		{"many", many, []int{maxFrames, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reader{spool: spoolOf(t, c.sizes...), at: spool.At(1, 0)}
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
			if batch, _, err := r.batch(); batch != nil || err != nil || r.at != r.spool.End() {
				t.Errorf("another batch: %v, %v; at %d of %d", batch, err, r.at, r.spool.End())
			}
		})
	}
}

// TestDamageIsNotPassedOver: what is before damage is delivered, or nothing, and
// never what is behind it.
func TestDamageIsNotPassedOver(t *testing.T) {
	sizes := []int{10, 20, 30}
	whole := int64(3*spool.HeaderSize + 60)
	for offset := range whole {
		s := spoolOf(t, sizes...)
		f, err := os.OpenFile(spool.Path(s.Dir(), 1), os.O_RDWR, 0)
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
		r := &reader{spool: s, at: spool.At(1, 0)}
		for err == nil && r.at.Offset() < whole {
			_, _, err = r.batch()
		}
		r.close()
		if !errors.Is(err, spool.ErrTorn) || r.at.Offset() > offset {
			t.Fatalf("damage at %d: %v at %d", offset, err, r.at.Offset())
		}
	}
}
