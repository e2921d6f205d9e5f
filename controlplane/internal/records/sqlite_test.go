package records

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReopenHasAll(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	put(t, s, day(300)...)
	want, err := s.Matrix(t.Context(), Window{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openIn(t, dir)
	have, err := s.Matrix(t.Context(), Window{})
	if d := cmp.Diff(want, have); d != "" || err != nil || len(find(t, s, Query{})) != 300 {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	if _, err := OpenSQLite(t.Context(), dir); !errors.Is(err, ErrInUse) {
		t.Errorf("error %v", err)
	}
	if _, err := SetAside(dir, noon); !errors.Is(err, ErrInUse) {
		t.Errorf("set aside while open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openIn(t, dir)
}

// TestDamageIsFound, named, set aside, and a new database takes its place.
func TestDamageIsFound(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"header":      func(b []byte) []byte { copy(b, "not SQLite"); return b },
		"pages":       func(b []byte) []byte { return slices.Concat(b[:4096], make([]byte, len(b)-4096)) },
		"cut":         func(b []byte) []byte { return b[:len(b)/2] },
		"empty":       func([]byte) []byte { return nil },
		"new version": func(b []byte) []byte { b[63] = 99; return b }, // user_version, bytes 60 to 63 of the header
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir)
			all := day(100)
			put(t, s, all...)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, liveName, databaseName)
			spoil(t, path, damage)
			if _, err := OpenSQLite(t.Context(), dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Fatalf("error %v", err)
			}
			rebuild(t, dir, all)
		})
	}
}

func spoil(t *testing.T, path string, damage func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, damage(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rebuild(t *testing.T, dir string, all []Joined) {
	t.Helper()
	aside, err := SetAside(dir, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(aside, databaseName)); err != nil {
		t.Error(err)
	}
	s := openIn(t, dir)
	put(t, s, all...)
	if n := len(find(t, s, Query{})); n != len(all) {
		t.Errorf("%d of %d records", n, len(all))
	}
}

func TestSetAsideOfNothing(t *testing.T) {
	if aside, err := SetAside(t.TempDir(), noon); aside != "" || err != nil {
		t.Errorf("%q, %v", aside, err)
	}
}

// TestUnfinishedCreationIsNoDamage: a process was killed before the database got its
// name.
func TestUnfinishedCreationIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, newName), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, newName, databaseName), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, openIn(t, dir), day(1)...)
}

// TestFullDiskKeepsNone of a batch, and all of those before; with room it goes on.
func TestFullDiskKeepsNone(t *testing.T) {
	s := openIn(t, t.TempDir())
	all := day(4_000)
	put(t, s, all[:1_000]...)
	limit(t, s, "PRAGMA max_page_count = 1") // SQLite keeps it at the pages that there are
	if err := s.Put(t.Context(), all[1_000:]); !errors.Is(err, ErrFull) {
		t.Fatalf("error %v", err)
	}
	if n := len(find(t, s, Query{})); n != 1_000 {
		t.Errorf("%d records", n)
	}
	limit(t, s, "PRAGMA max_page_count = 1073741823")
	put(t, s, all[1_000:]...)
	if n := len(find(t, s, Query{})); n != len(all) {
		t.Errorf("%d records", n)
	}
}

func limit(t *testing.T, s *SQLite, pragma string) {
	t.Helper()
	if _, err := s.writer.ExecContext(context.Background(), pragma); err != nil {
		t.Fatal(err)
	}
}

// TestSlowReaderHoldsNothing: between two records of an answer others are put.
func TestSlowReaderHoldsNothing(t *testing.T) {
	s := openIn(t, t.TempDir())
	all := day(3 * pageSize)
	put(t, s, all...)
	seen := 0
	for _, err := range s.Find(t.Context(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen%pageSize == 1 {
			put(t, s, changed(all[:10])...)
			limit(t, s, "PRAGMA wal_checkpoint(TRUNCATE)")
		}
	}
	if seen < 3*pageSize-10 {
		t.Errorf("%d records", seen)
	}
}

// TestQuestionsUseAnIndex: none of them reads all records.
func TestQuestionsUseAnIndex(t *testing.T) {
	s := openIn(t, t.TempDir())
	for _, q := range questions(day(100))[1:] {
		at, err := (Window{noon, noon.Add(time.Hour)}).span()
		if err != nil {
			t.Fatal(err)
		}
		where, args := q.where(at)
		rows, err := s.reader.QueryContext(t.Context(), "EXPLAIN QUERY PLAN SELECT record FROM crossings WHERE "+where, args...)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(detail, "SCAN") {
				t.Errorf("%+v: %s", q, detail)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
