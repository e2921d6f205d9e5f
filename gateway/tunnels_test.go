package gateway

import (
	"os"
	"path/filepath"
	"testing"
)

func TestResetKeyOutlivesARun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quic.key")
	first, err := resetKey(file)
	if err != nil || first == ([32]byte{}) {
		t.Fatalf("resetKey = %x, %v", first, err)
	}
	if again, err := resetKey(file); err != nil || again != first {
		t.Errorf("resetKey of the next run = %x, %v, want %x", again, err, first)
	}
	if err := os.WriteFile(file, first[:7], 0o600); err != nil { // a crash in mid-write
		t.Fatal(err)
	}
	if fresh, err := resetKey(file); err != nil || fresh == first {
		t.Errorf("resetKey after a broken file = %x, %v, want another", fresh, err)
	}
	if _, err := resetKey(filepath.Join(file, "x")); err == nil {
		t.Error("a key that cannot be kept is used")
	}
}
