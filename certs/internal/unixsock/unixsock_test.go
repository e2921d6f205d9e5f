package unixsock

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckPath(t *testing.T) {
	long := "/" + strings.Repeat("x", MaxPath-1)
	if err := CheckPath(long); err != nil {
		t.Errorf("the longest path: %v", err)
	}
	for path, says := range map[string]string{"": "missing", "a.sock": "absolute", long + "x": "shorter name"} {
		if err := CheckPath(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("CheckPath(%q) = %v, want %q", path, err, says)
		}
	}
}

func TestListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "us") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "run", "s")
	l, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path, 0o600); err == nil || !strings.Contains(err.Error(), "another process is listening") {
		t.Errorf("Listen on a live socket = %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as if its process were killed
	l.Close()
	if l, err = Listen(path, 0o666); err != nil {
		t.Fatalf("Listen on a dead socket = %v", err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left behind: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o600); err == nil || !strings.Contains(err.Error(), "no socket is there") {
		t.Errorf("Listen where a file is = %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file is gone: %q, %v", text, err)
	}
}
