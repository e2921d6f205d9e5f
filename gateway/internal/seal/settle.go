package seal

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
)

// every is how often Run looks at what there is, unless something is finished: what could
// not be delivered is tried again, what is over is deleted.
const every = 15 * time.Second

// finished is a part whose content has ended, and whose file may not be on stable storage.
type finished struct {
	name  name
	file  disk.File
	state state
	size  int64
}

// Run puts what is finished on stable storage, delivers it, and deletes what was delivered
// or whose retention is over, until ctx ends.
func (s *Sealer) Run(ctx context.Context) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var last time.Time
	for {
		s.settle()
		if time.Since(last) >= every {
			s.upkeep(time.Now())
			last = time.Now()
		}
		s.deliver(ctx)
		select {
		case <-ctx.Done():
			s.settle()
			return
		case <-s.wake:
		case <-ticker.C:
		}
	}
}

// settle puts on stable storage what is finished. Where that fails the file stays, as one
// that is broken off.
func (s *Sealer) settle() {
	s.mu.Lock()
	all := s.finished
	s.finished = nil
	s.mu.Unlock()
	for _, f := range all {
		if f.state == none {
			if err := errors.Join(f.file.Close(), s.sys.Remove(f.name.in(s.dir))); err != nil {
				s.log.Error("empty content not removed", zap.Error(err))
			}
			s.free(f.size)
			continue
		}
		if err := errors.Join(f.file.Sync(), f.file.Close()); err != nil {
			s.log.Error("sealed content not on stable storage", zap.Error(err))
			f.state = brokenOff
		}
		if err := s.sys.Rename(f.name.in(s.dir), f.name.as(f.state).in(s.dir)); err != nil {
			s.log.Error("sealed content not kept", zap.Error(err))
		}
	}
	if len(all) > 0 {
		if err := s.sys.SyncDir(s.dir); err != nil {
			s.log.Error("sealed content not on stable storage", zap.Error(err))
		}
	}
}

// upkeep takes over what ended processes have left, and deletes what is over.
func (s *Sealer) upkeep(now time.Time) {
	if err := errors.Join(s.adopt(), s.expire(now), s.salts.expire(now)); err != nil {
		s.log.Error("upkeep of kept contents", zap.Error(err))
	}
}

// adopt takes over the files of processes of the gateway that have ended.
func (s *Sealer) adopt() error {
	runs, err := s.sys.List(s.root)
	for _, run := range runs {
		dir := filepath.Join(s.root, run.Name)
		if !run.Dir || dir == s.dir {
			continue
		}
		lock, locked := s.sys.Lock(dir)
		if errors.Is(locked, disk.ErrInUse) || errors.Is(locked, fs.ErrNotExist) {
			continue // it drains, or another process was first
		}
		if locked != nil {
			err = errors.Join(err, locked)
			continue
		}
		err = errors.Join(err, s.take(dir), lock.Close())
	}
	return err
}

// take takes the files of a directory, and removes it. What was open then has broken off.
func (s *Sealer) take(dir string) error {
	files, err := s.sys.List(dir)
	for _, f := range files {
		n, ok := parseName(f.Name)
		if !ok {
			err = errors.Join(err, s.sys.Remove(filepath.Join(dir, f.Name))) // the lock, too
			continue
		}
		to := n
		if n.state == open {
			to = n.as(brokenOff)
		}
		if moved := s.sys.Rename(n.in(dir), to.in(s.dir)); moved != nil {
			err = errors.Join(err, moved)
			continue
		}
		s.free(-f.Size)
	}
	return errors.Join(err, s.sys.SyncDir(s.dir), s.sys.Remove(dir))
}

// expire deletes files whose retention is over. One that is open stays until it ends.
func (s *Sealer) expire(now time.Time) error {
	files, err := s.sys.List(s.dir)
	for _, f := range files {
		if n, ok := parseName(f.Name); ok && n.state != open && n.over(now) {
			err = errors.Join(err, s.remove(n, f.Size))
		}
	}
	return err
}

// remove deletes a file, and lets another one have its room.
func (s *Sealer) remove(n name, size int64) error {
	if err := s.sys.Remove(n.in(s.dir)); err != nil {
		return err
	}
	s.free(size)
	return s.sys.SyncDir(s.dir)
}
