package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
)

const dir = "/spool"

// open opens a spool in memory, and gives what is in it already.
func open(t testing.TB, sys disk.System, segment int64) (s *spool.Spool, there []string) {
	t.Helper()
	if err := sys.MakeDir(dir); err != nil {
		t.Fatal(err)
	}
	lock, err := sys.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err = spool.Open(spool.Config{System: sys, Dir: dir, Lock: lock, MaxBytes: 1 << 20, SegmentBytes: segment, Log: zap.NewNop()},
		func(payload []byte, _ spool.Position) error {
			there = append(there, string(payload))
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return s, there
}

// put appends a payload, and gives where it is.
func put(s *spool.Spool, payload string, kind spool.Kind) (spool.Position, error) {
	e := s.Entry()
	defer s.Free(e)
	if err := e.Seal(append(e.Room(), payload...), nil); err != nil {
		return 0, err
	}
	if err := s.Append(e, kind); err != nil {
		return 0, err
	}
	return e.At(), nil
}

// TestGroupCommit: writers that come together share syncs, and each learns where its
// own entry is.
func TestGroupCommit(t *testing.T) {
	sys := &disktest.Faulty{System: disktest.NewMemory()}
	s, _ := open(t, sys, spool.SegmentSize)
	const writers, each = 32, 20
	hold := make(chan struct{})
	sys.Set(disktest.Faults{Stall: hold}) // until all of them wait
	var wg, first sync.WaitGroup
	for w := range writers {
		first.Add(1)
		wg.Go(func() {
			first.Done()
			for i := range each {
				want := fmt.Sprint(w, " ", i)
				at, err := put(s, want, spool.Kind{Durable: true})
				if err != nil {
					t.Error(err)
				}
				if got, err := spool.ReadAt(sys, dir, at); string(got) != want {
					t.Errorf("at %d is %q, %v; want %q", at, got, err, want)
				}
			}
		})
	}
	first.Wait()
	close(hold)
	wg.Wait()
	if n := sys.Calls(); n >= 2*writers*each {
		t.Errorf("%d writes and syncs for %d entries", n, writers*each)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestStall: while the disk does not answer, everybody who waits longer than the bound
// is told so, and who comes later at once; nothing that they were told failed stays.
func TestStall(t *testing.T) { synctest.Test(t, testStall) }

func testStall(t *testing.T) {
	memory := disktest.NewMemory()
	sys := &disktest.Faulty{System: memory}
	s, _ := open(t, sys, spool.SegmentSize)
	if _, err := put(s, "before", spool.Kind{Durable: true}); err != nil {
		t.Fatal(err)
	}
	stall, began := make(chan struct{}), time.Now()
	sys.Set(disktest.Faults{Stall: stall})
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			<-time.After(time.Duration(i) * time.Second)
			if _, err := put(s, "during", spool.Kind{Durable: true}); !errors.Is(err, spool.ErrStalled) {
				t.Errorf("Append = %v while the disk does not answer", err)
			}
			if took := time.Since(began); took != spool.Patience {
				t.Errorf("waited until %s, want %s", took, spool.Patience)
			}
		})
	}
	wg.Wait()
	if _, err := put(s, "later", spool.Kind{}); !errors.Is(err, spool.ErrStalled) || time.Since(began) != spool.Patience {
		t.Errorf("Append = %v after %s", err, time.Since(began))
	}
	if err := s.Trouble(); !errors.Is(err, spool.ErrStalled) {
		t.Errorf("Trouble = %v", err)
	}
	sys.Set(disktest.Faults{})
	close(stall)
	<-time.After(spool.ProbeDelay)
	if _, err := put(s, "after", spool.Kind{Durable: true}); err != nil || s.Trouble() != nil {
		t.Fatalf("the disk answers again: %v, %v", err, s.Trouble())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, there := open(t, memory, spool.SegmentSize); !slices.Equal(there, []string{"before", "after"}) {
		t.Errorf("there is %q", there)
	}
}

// TestStallInTheBackground: a disk that stops to answer when nobody waits for it is
// noticed, too.
func TestStallInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := &disktest.Faulty{System: disktest.NewMemory()}
		s, _ := open(t, sys, spool.SegmentSize)
		if _, err := put(s, "x", spool.Kind{}); err != nil {
			t.Fatal(err)
		}
		stall := make(chan struct{})
		sys.Set(disktest.Faults{Stall: stall})
		<-time.After(spool.Patience + time.Second)
		if err := s.Trouble(); !errors.Is(err, spool.ErrStalled) {
			t.Errorf("Trouble = %v", err)
		}
		if err := s.Close(); !errors.Is(err, spool.ErrStalled) {
			t.Errorf("Close = %v", err)
		}
		close(stall)
	})
}

// TestCloseStalled: a spool whose disk does not answer any more closes all the same.
func TestCloseStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := &disktest.Faulty{System: disktest.NewMemory()}
		s, _ := open(t, sys, spool.SegmentSize)
		stall := make(chan struct{})
		sys.Set(disktest.Faults{Stall: stall})
		if err := s.Close(); !errors.Is(err, spool.ErrStalled) {
			t.Errorf("Close = %v", err)
		}
		close(stall)
		if _, err := put(s, "x", spool.Kind{}); !errors.Is(err, spool.ErrClosed) {
			t.Errorf("Append = %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("a second Close = %v", err)
		}
	})
}

// TestHeld: a segment goes once it was acknowledged and all that was held in it is
// released, whichever comes last, and whatever older segments wait for; until then it
// counts.
func TestHeld(t *testing.T) {
	sys := disktest.NewMemory()
	s, _ := open(t, sys, 1) // a segment for each entry
	var at []spool.Position
	for i := range 5 {
		p, err := put(s, fmt.Sprint(i), spool.Kind{Held: i < 3})
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, p)
	}
	saved := uint32(0)
	segments := func() []uint32 {
		if err := s.Trim(func(highest uint32) error { saved = highest; return nil }); err != nil {
			t.Fatal(err)
		}
		numbers, err := spool.Segments(sys, dir)
		if err != nil {
			t.Fatal(err)
		}
		return numbers
	}
	if s.Release(at[1]) {
		t.Error("there is something to trim before anything was acknowledged")
	}
	if got := segments(); len(got) != 5 {
		t.Errorf("segments %v are left", got)
	}
	if err := s.Acknowledge(s.End()); err != nil {
		t.Fatal(err)
	}
	if got := segments(); !slices.Equal(got, []uint32{1, 3, 5}) || saved != 4 {
		t.Errorf("segments %v are left, %d was the highest", got, saved)
	}
	if s.Waiting() != 0 || s.Held() != 2 {
		t.Errorf("%d bytes wait, %d entries are held", s.Waiting(), s.Held())
	}
	s.Bound(2*spool.HeaderSize + 2 + 1) // as much as is held, and a byte
	if _, err := put(s, "x", spool.Kind{Limited: true}); !errors.Is(err, spool.ErrFull) {
		t.Errorf("Append = %v, want ErrFull", err)
	}
	if !s.Release(at[0], at[2]) || s.Held() != 0 {
		t.Error("there is nothing to trim")
	}
	if got := segments(); !slices.Equal(got, []uint32{5}) {
		t.Errorf("segments %v are left", got)
	}
	if _, err := put(s, "x", spool.Kind{Limited: true}); err != nil {
		t.Errorf("Append = %v", err)
	}
}

// TestTrimKeeps: what cannot be saved is not removed.
func TestTrimKeeps(t *testing.T) {
	s, _ := open(t, disktest.NewMemory(), 1)
	for range 2 {
		if _, err := put(s, "x", spool.Kind{Durable: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Acknowledge(s.End()); err != nil {
		t.Fatal(err)
	}
	if err := s.Trim(func(uint32) error { return disktest.ErrDisk }); !errors.Is(err, disktest.ErrDisk) {
		t.Errorf("Trim = %v", err)
	}
	if at, _, ok := s.Locate(0); !ok || at.Segment() != 1 {
		t.Errorf("the first entry is at %d, %t", at, ok)
	}
}

// TestSyncedIsRead: what a power cut may take is nobody's to read.
func TestSyncedIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, disktest.NewMemory(), spool.SegmentSize)
		<-s.Grown() // the segment
		if _, err := put(s, "x", spool.Kind{}); err != nil {
			t.Fatal(err)
		}
		if at, end, ok := s.Locate(0); ok || s.Waiting() == 0 {
			t.Errorf("from %d to %d can be read", at, end)
		}
		began := time.Now()
		<-s.Grown()
		if _, end, ok := s.Locate(0); !ok || end != s.End() || time.Since(began) > 10*time.Millisecond {
			t.Errorf("to %d can be read after %s", end, time.Since(began))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSettled: what a process that was killed had not synced is on stable storage once
// the next one has read it.
func TestSettled(t *testing.T) {
	sys := disktest.NewMemory()
	if err := errors.Join(sys.MakeDir(dir), sys.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	s, _ := open(t, sys, spool.SegmentSize)
	if _, err := put(s, "x", spool.Kind{}); err != nil {
		t.Fatal(err)
	}
	killed := sys.Kill()
	if _, there := open(t, killed.Cut(disktest.Nothing), spool.SegmentSize); len(there) != 0 {
		t.Fatalf("there is %q, and nobody synced it", there)
	}
	if _, there := open(t, killed, spool.SegmentSize); len(there) != 1 {
		t.Fatalf("there is %q after a kill", there)
	}
	if _, there := open(t, killed.Cut(disktest.Nothing), spool.SegmentSize); len(there) != 1 {
		t.Errorf("there is %q after a power cut", there)
	}
}

// TestFollow: whoever follows a spool has every entry once and where it is, however
// much is written between two looks, also when it was trimmed meanwhile.
func TestFollow(t *testing.T) {
	sys := disktest.NewMemory()
	s, _ := open(t, sys, 64)
	f := spool.Follow(sys, dir)
	defer f.Close()
	var got []string
	read := func() {
		err := f.Read(func(payload []byte, at spool.Position) error {
			if again, err := spool.ReadAt(sys, dir, at); !bytes.Equal(again, payload) {
				t.Errorf("at %d is %q, %v", at, again, err)
			}
			got = append(got, string(payload))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for round := range 20 {
		for i := range round {
			payload := fmt.Sprint("entry ", round, " ", i)
			want = append(want, payload)
			if _, err := put(s, payload, spool.Kind{Durable: i%2 == 0}); err != nil {
				t.Fatal(err)
			}
		}
		read()
		if !slices.Equal(got, want) {
			t.Fatalf("read %q, want %q", got, want)
		}
		if f.At() != s.End() && round > 0 {
			t.Errorf("has read up to %d, want %d", f.At(), s.End())
		}
		if err := s.Acknowledge(s.End()); err != nil {
			t.Fatal(err)
		}
		if err := s.Trim(func(uint32) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFollowToTheEnd: what a process wrote before it removed all that it had is read
// all the same, if its segment was.
func TestFollowToTheEnd(t *testing.T) {
	sys := disktest.NewMemory()
	s, _ := open(t, sys, spool.SegmentSize)
	f := spool.Follow(sys, dir)
	defer f.Close()
	var got []string
	each := func(payload []byte, _ spool.Position) error {
		got = append(got, string(payload))
		return nil
	}
	if err := f.Read(each); err != nil {
		t.Fatal(err)
	}
	if _, err := put(s, "last", spool.Kind{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{spool.Path(dir, 1), dir + "/" + spool.AckFile, dir + "/" + disk.LockFile, dir} {
		if err := sys.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Read(each); !errors.Is(err, fs.ErrNotExist) || !slices.Equal(got, []string{"last"}) {
		t.Errorf("read %q, %v", got, err)
	}
}

// TestFollowGivenUp: an entry that was cut off in a segment that was given up holds
// nobody up.
func TestFollowGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := &disktest.Faulty{System: disktest.NewMemory()}
		s, _ := open(t, sys, spool.SegmentSize)
		f := spool.Follow(sys, dir)
		defer f.Close()
		_, before := put(s, "before", spool.Kind{})
		sys.Set(disktest.Faults{Write: true, Halfway: true, Truncate: true})
		if _, err := put(s, "lost", spool.Kind{}); err == nil {
			t.Fatal("a failing disk took an entry")
		}
		var got []string
		each := func(payload []byte, _ spool.Position) error {
			got = append(got, string(payload))
			return nil
		}
		halfway := f.Read(each)
		sys.Set(disktest.Faults{})
		<-time.After(spool.ProbeDelay)
		_, after := put(s, "after", spool.Kind{})
		if err := errors.Join(before, halfway, after, f.Read(each)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, []string{"before", "after"}) {
			t.Errorf("read %q", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestGone: a segment that somebody removed is not to be read again and again.
func TestGone(t *testing.T) {
	sys := disktest.NewMemory()
	s, _ := open(t, sys, 1)
	for range 2 {
		if _, err := put(s, "x", spool.Kind{Durable: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := sys.Remove(spool.Path(dir, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenSegment(1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenSegment = %v", err)
	}
	if at, _, ok := s.Locate(0); !ok || at.Segment() != 2 {
		t.Errorf("the first entry is at %d, %t", at, ok)
	}
}
