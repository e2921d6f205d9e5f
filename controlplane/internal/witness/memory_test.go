package witness

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRemembers holds what was cosigned over restarts, of a log too that is left
// out of the configuration for a while, and whose key has changed meanwhile.
func TestRemembers(t *testing.T) {
	t.Parallel()
	l, other := newLog(t, testOrigin), newLog(t, "gcp.example/sallyport/log")
	l.grow(9)
	other.grow(2)
	w := open(t, testConfig(t, l))
	vkey := w.VKey()
	w.cosigns(l.request(0, 5))
	w.cfg.Logs = []Log{{Origin: other.origin, Keys: []string{other.vkey}}}
	w = w.reopen()
	w.refuses(l.request(5, 9), http.StatusNotFound, "")
	w.cosigns(other.request(0, 2))
	next := newLog(t, testOrigin)
	next.grow(9)
	w.cfg.Logs = append(w.cfg.Logs, Log{Origin: testOrigin, Keys: []string{next.vkey}})
	w = w.reopen()
	w.refuses(next.request(0, 9), http.StatusConflict, "5\n")
	w.refuses(next.with("a fork").request(0, 1), http.StatusConflict, "5\n")
	w.cosigns(next.request(5, 9))
	if w.VKey() != vkey {
		t.Errorf("the key is %s, and was %s", w.VKey(), vkey)
	}
	kept, err := os.ReadFile(filepath.Join(w.cfg.Dir, vkeyName))
	if err != nil || string(kept) != vkey+"\n" {
		t.Errorf("%s has %q, %v", vkeyName, kept, err)
	}
	if info, err := os.Stat(filepath.Join(w.cfg.Dir, keyName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key is %v, %v", info.Mode(), err)
	}
}

// TestForgotten holds that a witness does not start where it would cosign a fork
// of what it has forgotten, and says what is wrong.
func TestForgotten(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(9)
	head := filepath.Join(headsName, originHash(testOrigin))
	remove := func(name string) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	edit := func(name, old, new string) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			path := filepath.Join(dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(text), old, new, 1)
			if changed == string(text) {
				t.Fatalf("%q has no %q", text, old)
			}
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		damage func(testing.TB, string)
		says   string
	}{
		{"what was cosigned is gone", remove(head), "cannot be told"},
		{"the list of origins is gone", remove(originsName), "has a past"},
		{"the key is gone", remove(keyName), "put the key back"},
		{"both are gone", func(t testing.TB, dir string) { remove(head)(t, dir); remove(originsName)(t, dir) }, "has a past"},
		{"the size was changed", edit(head, "\n5\n", "\n4\n"), "its cosignature"},
		{"what was cosigned is empty", func(t testing.TB, dir string) {
			if err := os.Truncate(filepath.Join(dir, head), 0); err != nil {
				t.Fatal(err)
			}
		}, "its cosignature"},
		{"what was cosigned first is damaged before it was listed", func(t testing.TB, dir string) {
			edit(originsName, testOrigin+"\n", "")(t, dir)
			edit(head, "\n5\n", "\n4\n")(t, dir)
		}, "its cosignature"},
		{"what was cosigned is of another log", func(t testing.TB, dir string) {
			other := newLog(t, "gcp.example/sallyport/log")
			other.grow(1)
			replaceHead(t, dir, other)
		}, "another log"},
		{"the key was changed", edit(keyName, "KEY+"+testName+"+", "KEY+"+testName+"x+"), "its ID is not that of its key"},
		{"the key is of another kind", edit(keyName, "PRIVATE", "PUBLIC"), "no note signer key"},
		{"the key may be read by others", func(t testing.TB, dir string) {
			if err := os.Chmod(filepath.Join(dir, keyName), 0o640); err != nil {
				t.Fatal(err)
			}
		}, "chmod 600"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := open(t, testConfig(t, l))
			w.cosigns(l.request(0, 5))
			w.close()
			c.damage(t, w.cfg.Dir)
			broken, err := New(w.cfg)
			if err == nil {
				broken.close()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), w.cfg.Dir) {
				t.Errorf("New = %v, want %q in it, and the directory", err, c.says)
			}
		})
	}
}

// replaceHead puts a good head of another log in place of the test's.
func replaceHead(t testing.TB, dir string, other *testLog) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, keyName))
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCosigner(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := Log{Origin: other.origin, Keys: []string{other.vkey}}.verifiers()
	if err != nil {
		t.Fatal(err)
	}
	n, cp, err := (&witnessed{keys: keys}).open([]byte(other.checkpoint(1)))
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.cosign(n, cp, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, headsName, originHash(testOrigin)), h.signed, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAnotherName holds that a key goes with its name.
func TestAnotherName(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	w := open(t, testConfig(t, l))
	w.close()
	w.cfg.Name = "another.example/witness"
	if _, err := New(w.cfg); err == nil || !strings.Contains(err.Error(), "set name to it") {
		t.Errorf("New = %v", err)
	}
}

// TestTwoWriters holds that a directory is one witness's.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	w := open(t, testConfig(t, newLog(t, testOrigin)))
	if _, err := New(w.cfg); err == nil || !strings.Contains(err.Error(), "used by another witness") {
		t.Errorf("a second witness: %v", err)
	}
	w.reopen()
}

// TestDisk ends each write that a cosignature needs at each of its steps, as a
// full disk does, or a crash. What is not durable is not cosigned, and whatever a
// restart finds, nothing that was cosigned is forgotten.
func TestDisk(t *testing.T) {
	t.Parallel()
	full := &fs.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}
	steps := map[string]func(string, []byte, fs.FileMode) error{
		"nothing written": func(string, []byte, fs.FileMode) error { return full },
		"half written": func(path string, text []byte, mode fs.FileMode) error {
			return errors.Join(full, os.WriteFile(path+".tmp", text[:len(text)/2], mode))
		},
		"not renamed": func(path string, text []byte, mode fs.FileMode) error {
			return errors.Join(full, os.WriteFile(path+".tmp", text, mode))
		},
		"renamed, and not known to be durable": func(path string, text []byte, mode fs.FileMode) error {
			return errors.Join(full, replace(path, text, mode))
		},
	}
	for name, step := range steps {
		for _, file := range []string{originHash(testOrigin), originsName} {
			for _, before := range []int{0, 5} {
				if before > 0 && file == originsName {
					continue // is written once
				}
				t.Run(name+", "+file[:4], func(t *testing.T) {
					failsAt(t, before, file, step)
				})
			}
		}
	}
}

// failsAt lets a write of one file fail when a log that was cosigned at a size is
// to be cosigned at 9.
func failsAt(t *testing.T, before int, file string, step func(string, []byte, fs.FileMode) error) {
	l := newLog(t, testOrigin)
	l.grow(12)
	w := open(t, testConfig(t, l))
	if before > 0 {
		w.cosigns(l.request(0, before))
	}
	w.memory.replace = func(path string, text []byte, mode fs.FileMode) error {
		if filepath.Base(path) == file {
			return step(path, text, mode)
		}
		return replace(path, text, mode)
	}
	w.refuses(l.request(before, 9), http.StatusInternalServerError, "nothing was cosigned")
	w.logged("nothing can be cosigned: is the disk full, or not writable?", 1)
	if answer := w.call(http.MethodGet, "/"+originHash(testOrigin)+"/checkpoint", ""); strings.Contains(answer.Body.String(), "\n9\n") {
		t.Errorf("a monitor gets what was not cosigned: %q", answer.Body)
	}
	again := w.reopen()
	size := before
	if again.logs[testOrigin].last != nil {
		size = int(again.logs[testOrigin].last.size)
	}
	if size != before && size != 9 {
		t.Fatalf("a restart finds size %d", size)
	}
	again.refuses(l.request(size+1, 12), http.StatusConflict, "")
	again.cosigns(l.request(size, 12))
	again = again.reopen()
	again.refuses(l.request(9, 9), http.StatusConflict, "12\n")
}

// TestGoesOn holds that a witness whose disk has room again goes on by itself.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	l := newLog(t, testOrigin)
	l.grow(9)
	w := open(t, testConfig(t, l))
	w.cosigns(l.request(0, 5))
	w.memory.replace = func(string, []byte, fs.FileMode) error { return unix.ENOSPC }
	w.refuses(l.request(5, 9), http.StatusInternalServerError, "")
	w.memory.replace = replace
	w.cosigns(l.request(5, 9))
}

// TestReplaceFull writes to a disk that is always full, then to one that has room.
func TestReplaceFull(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.Symlink("/dev/full", path+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := replace(path, bytes.Repeat([]byte("x"), 1<<16), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("replace = %v, want ENOSPC", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
	if err := replace(path, []byte("x"), 0o600); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
