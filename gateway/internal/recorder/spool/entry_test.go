package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

func FuzzReadEntry(f *testing.F) {
	f.Add(AppendEntry(nil, []byte("payload")))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "segment")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var again []byte
		end, _, err := Scan(disk.OS{}, path, func(payload []byte, _ int64) error {
			again = AppendEntry(again, payload)
			return nil
		})
		if err != nil || int64(len(again)) != end || string(again) != string(b[:end]) {
			t.Errorf("%d of %d bytes read, %v", end, len(b), err)
		}
	})
}

// FuzzCutEntry: entries in memory are read as those of a file are.
func FuzzCutEntry(f *testing.F) {
	f.Add(AppendEntry(AppendEntry(nil, []byte("payload")), []byte("x")))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		source := bytes.NewReader(b)
		for rest := b; ; {
			want, werr := readEntry(source)
			got, left, err := CutEntry(rest, crossing.MaxFrame)
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
