package seal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

// salts are those of a process of a gateway, one for each day (UTC) on which something is
// hashed. Each is in a file DAY.ID.UNTIL of the directory, as 64 hex digits, and is deleted
// when no retention that it was asked for lasts: from then on nobody can check a guess.
type salts struct {
	sys disk.System
	dir string

	mu    sync.Mutex // guards what follows
	day   string
	salt  []byte
	name  string // of its file
	until string // how long it is kept
}

// of is the salt of the day, which is kept for so many days at least.
func (s *salts) of(now time.Time, days int) ([]byte, error) {
	day, until := date(now), date(now.AddDate(0, 0, days+1)) // whole days: never too short
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.day != day:
		if err := s.make(day, until); err != nil {
			return nil, fmt.Errorf("make the salt of %s: %w", day, err)
		}
	case s.until < until:
		if err := s.keep(until); err != nil {
			return nil, fmt.Errorf("keep the salt of %s: %w", day, err)
		}
	}
	return s.salt, nil
}

// make makes the day's salt, and has it on stable storage.
func (s *salts) make(day, until string) error {
	salt := make([]byte, 32)
	rand.Read(salt) // it never fails (crypto/rand)
	name := day + "." + saltID(salt) + "." + until
	if err := disk.Replace(s.sys, filepath.Join(s.dir, name), []byte(hex.EncodeToString(salt)+"\n")); err != nil {
		return err
	}
	s.day, s.salt, s.name, s.until = day, salt, name, until
	return nil
}

// keep keeps the day's salt for longer.
func (s *salts) keep(until string) error {
	name := strings.TrimSuffix(s.name, s.until) + until
	if err := s.sys.Rename(filepath.Join(s.dir, s.name), filepath.Join(s.dir, name)); err != nil {
		return err
	}
	s.name, s.until = name, until
	return s.sys.SyncDir(s.dir)
}

// expire deletes those whose time is over.
func (s *salts) expire(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.sys.List(s.dir)
	today, deleted := date(now), false
	for _, e := range all {
		if fields := strings.Split(e.Name, "."); len(fields) == 3 && fields[2] < today {
			err = errors.Join(err, s.sys.Remove(filepath.Join(s.dir, e.Name)))
			deleted = true
		}
	}
	if deleted {
		err = errors.Join(err, s.sys.SyncDir(s.dir))
	}
	return err
}

func date(t time.Time) string { return t.UTC().Format("20060102") }
