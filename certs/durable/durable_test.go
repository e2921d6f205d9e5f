package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func mustRead(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReplaceAndCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Create(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) || mustRead(t, path) != "one" {
		t.Errorf("Create over a file = %v, it says %q", err, mustRead(t, path))
	}
	if err := Replace(path, []byte("three"), 0o644); err != nil || mustRead(t, path) != "three" {
		t.Errorf("Replace = %v, it says %q", err, mustRead(t, path))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for range 2 {
		if err := Remove(path); err != nil {
			t.Errorf("Remove = %v", err)
		}
	}
	if err := Replace(filepath.Join(path, "below"), nil, 0o600); err == nil {
		t.Error("a file was put where there is no directory")
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := MakePrivateDir(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "f")
	if _, err := ReadPrivate(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadPrivate of nothing = %v", err)
	}
	for _, text := range []string{"secret", ""} {
		if err := Replace(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadPrivate(path); err != nil || string(got) != text {
			t.Errorf("ReadPrivate = %q, %v", got, err)
		}
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPrivate(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if err := os.Chmod(dir, 0o710); err != nil {
		t.Fatal(err)
	}
	if err := MakePrivateDir(dir); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a directory for others: %v", err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second Lock = %v", err)
	}
	release()
	release, err = Lock(path)
	if err != nil {
		t.Fatalf("Lock after release = %v", err)
	}
	release()
}
