package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestEverythingSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	fill(t, s)
	closeStore(t, s)
	again := open(t, Config{Dir: dir})
	defer closeStore(t, again)
	checkFilled(t, again)
}

func fill(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.PutPolicy(t.Context(), signed("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bindings().Put(t.Context(), "llm", []byte("127.3.0.1"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendFrames(t.Context(), "g", [][]byte{[]byte("open"), []byte("close")}); err != nil {
		t.Fatal(err)
	}
}

func checkFilled(t *testing.T, s *Store) {
	t.Helper()
	got, _, err := s.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(signed("kept"), got, protocmp.Transform()); diff != "" {
		t.Errorf("Policy() (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"llm": "127.3.0.1"}, list(t, s.Bindings())); diff != "" {
		t.Errorf("List() (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]delivered{{"g", "open"}, {"g", "close"}}, replay(t, s)); diff != "" {
		t.Errorf("Replay() (-want +got):\n%s", diff)
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	defer closeStore(t, s)
	if _, err := Open(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("Open() of an open directory = %v, want %v", err, ErrInUse)
	}
	if _, err := OpenReadOnly(t.Context(), dir, zaptest.NewLogger(t)); !errors.Is(err, ErrInUse) {
		t.Errorf("OpenReadOnly() of an open directory = %v, want %v", err, ErrInUse)
	}
}

func TestReadOnlyLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	fill(t, s)
	closeStore(t, s)
	before := contents(t, dir)
	c, err := OpenReadOnly(t.Context(), dir, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	checkFilled(t, c.Store)
	closeStore(t, c)
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("the directory changed (-before +after):\n%s", diff)
	}
	if _, err := os.Stat(c.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy is still there after Close: %v", err)
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestReadOnlyOfNoStore(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenReadOnly(t.Context(), dir, zaptest.NewLogger(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenReadOnly() of an empty directory = %v, want %v", err, fs.ErrNotExist)
	}
}
