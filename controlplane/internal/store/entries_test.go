package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

const aLog = "onprem.demo/sallyport/log+0badcafe+AQ=="

func replayed(t *testing.T, s *Store, log string) (all []string) {
	t.Helper()
	err := s.ReplayEntries(t.Context(), log, func(entries [][]byte) error {
		for _, e := range entries {
			all = append(all, string(e))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("ReplayEntries(%s) = %v", log, err)
	}
	return all
}

// TestEntriesOfALog: a log's entries come back in their order, over restarts, without
// another log's.
func TestEntriesOfALog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	want := map[string][]string{}
	logs := []string{aLog, "azure.demo/sallyport/log+1badcafe+AQ=="}
	for i := range 40 {
		log := logs[i%2]
		entries := [][]byte{fmt.Appendf(nil, "first %d", i), make([]byte, 40<<10), fmt.Appendf(nil, "last %d", i)}
		if err := s.AppendEntries(t.Context(), log, entries); err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			want[log] = append(want[log], string(e))
		}
	}
	closeStore(t, s)
	s = open(t, Config{Dir: dir})
	defer closeStore(t, s)
	for _, log := range logs {
		if got := replayed(t, s, log); !slices.Equal(got, want[log]) {
			t.Errorf("%s has %d entries, want %d, or others", log, len(got), len(want[log]))
		}
		last, err := s.LastEntries(t.Context(), log)
		if err != nil || len(last) != 3 || string(last[2]) != want[log][len(want[log])-1] {
			t.Errorf("LastEntries(%s) = %.20q, %v", log, last, err)
		}
	}
}

// TestEntriesAreSplit: what one message does not hold is in several, in order.
func TestEntriesAreSplit(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	entries := make([][]byte, 100)
	for i := range entries {
		entries[i] = make([]byte, 1<<16-1)
		entries[i][0] = byte(i)
	}
	if err := s.AppendEntries(t.Context(), aLog, entries); err != nil {
		t.Fatal(err)
	}
	for i, e := range replayed(t, s, aLog) {
		if e != string(entries[i]) {
			t.Fatalf("entry %d is another", i)
		}
	}
	if last, err := s.LastEntries(t.Context(), aLog); err != nil || len(last) == 0 || len(last) > 8 {
		t.Errorf("LastEntries() = %d entries, %v, want those of one message", len(last), err)
	}
}

// BenchmarkReplayEntries: how long it takes to read all entries of a log of 100,000 entries
// of 1 kB.
func BenchmarkReplayEntries(b *testing.B) {
	s, err := Open(b.Context(), Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const batches, each = 200, 500
	batch := make([][]byte, each)
	for i := range batch {
		batch[i] = make([]byte, 1000)
	}
	for range batches {
		if err := s.AppendEntries(b.Context(), aLog, batch); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		if err := s.ReplayEntries(b.Context(), aLog, func(entries [][]byte) error { n += len(entries); return nil }); err != nil || n != batches*each {
			b.Fatal(n, err)
		}
	}
}

// TestNoEntries: of a log that has none, none come, whatever others have.
func TestNoEntries(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	for range 2 {
		if got := replayed(t, s, "none"); got != nil {
			t.Errorf("ReplayEntries() = %q", got)
		}
		if last, err := s.LastEntries(t.Context(), "none"); err != nil || last != nil {
			t.Errorf("LastEntries() = %q, %v", last, err)
		}
		if err := s.AppendEntries(t.Context(), aLog, [][]byte{{1}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnreadableEntries: a message that cannot be read does not hide the others.
func TestUnreadableEntries(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	if err := s.AppendEntries(t.Context(), aLog, [][]byte{[]byte("before")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.Publish(t.Context(), subjectOf(aLog), []byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if last, err := s.LastEntries(t.Context(), aLog); err != nil || last != nil {
		t.Errorf("LastEntries() = %q, %v", last, err)
	}
	if got := replayed(t, s, aLog); !slices.Equal(got, []string{"before"}) {
		t.Errorf("ReplayEntries() = %q", got)
	}
}

// TestReplayOfEntriesStops: a failure ends it.
func TestReplayOfEntriesStops(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	if err := s.AppendEntries(t.Context(), aLog, [][]byte{{1}}); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := s.ReplayEntries(t.Context(), aLog, func([][]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("ReplayEntries() with a failing callback = %v, want %v", err, stop)
	}
}
