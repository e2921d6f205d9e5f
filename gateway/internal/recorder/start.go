package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// newRecorder opens one run's directory, its own or one that was left, and writes
// as that run.
func newRecorder(cfg Config, run string, l *library) (*Recorder, error) {
	cfg = cfg.withDefaults()
	r := &Recorder{
		cfg: cfg, self: writer{cfg.Gateway.String(), run}, library: l, loose: make(chan struct{}, 1),
		open: newOpenSet(), refusals: crossing.NewRefusals(), numbers: map[string]*atomic.Uint64{},
	}
	var err error
	if r.encoder, err = crossing.NewEncoder(r.self.gateway, r.self.run); err != nil {
		return nil, err
	}
	if err := cfg.System.MakeDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	lock, err := cfg.System.Lock(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := r.openSpool(spool.Config{
		System: cfg.System, Dir: cfg.Dir, Lock: lock, MaxBytes: cfg.MaxBytes, SegmentBytes: cfg.segment, Patience: cfg.Patience, Log: cfg.Log,
	}); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	r.stopped()
	r.trim() // what an earlier run did not come to
	return r, nil
}

// openSpool opens what is under the directory's lock, and learns from an earlier run
// what was open, and what was not stated.
func (r *Recorder) openSpool(cfg spool.Config) error {
	if err := r.loadOpen(); err != nil {
		return err
	}
	var err error
	if r.library == nil {
		r.spool, err = spool.Open(cfg, r.recover)
		return err
	}
	v, err := r.library.begin(cfg.Dir)
	if err != nil {
		return err
	}
	known := v.follower.At()
	r.spool, err = spool.Open(cfg, func(payload []byte, at spool.Position) error {
		if at >= known {
			r.library.replay(v, payload, at)
		}
		return r.recover(payload, at)
	})
	if err != nil {
		return err
	}
	r.index = v.index
	r.library.opened(v, r.spool)
	return nil
}

// loadOpen learns what was open when segments were removed.
func (r *Recorder) loadOpen() error {
	path := filepath.Join(r.cfg.Dir, openFile)
	text, err := disk.ReadFile(r.cfg.System, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		r.trimmed, err = r.open.load(text)
	}
	if err != nil {
		return fmt.Errorf("load open crossings from %q: %w", path, err)
	}
	return nil
}

// recover learns from an earlier run's frame what was open.
func (r *Recorder) recover(payload []byte, at spool.Position) error {
	f, err := crossing.UnmarshalFrame(payload)
	if err != nil {
		// Its checksum is right, so this version did not write it. It is
		// delivered all the same, and the control plane judges it.
		r.cfg.Log.Error("spooled frame not understood", zap.Error(err))
		return nil
	}
	if at.Segment() <= r.trimmed {
		return nil // it is there because it was not stated, and says nothing new
	}
	if err := r.open.note(f); err != nil {
		r.cfg.Log.Error("spooled opening that nothing can close", zap.Error(err))
	}
	return nil
}

// stopped closes what earlier runs left open. On a disk that cannot be written
// the ends wait: nothing opens either, and what is there can be delivered.
func (r *Recorder) stopped() {
	for _, k := range r.open.keys() {
		f := k.end()
		f.Close.Cause = crossingv1.Cause_GATEWAY_STOPPED
		if err := r.endLate(f); err != nil {
			r.cfg.Log.Error("crossing that the last run left open not closed",
				zap.String("crossing", f.GetClose().GetId()), zap.Error(err))
		}
	}
}
