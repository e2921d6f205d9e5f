// Package seal keeps what an intent says is to be kept of a content, and nothing of any
// other: a salted hash, or the content itself, sealed to a reviewer's key (age) while it
// passes. What is sealed waits in the state directory, which has no key to it, until the
// control plane has it or its retention is over. FORMAT.md says what is hashed and what is
// in the files.
//
// It is the egress gateway that keeps: it is of the environment whose workload asks, it
// sees what leaves before anything of it has left, and every crossing has one, those that
// the other gateway refuses, too. What the peer's gateway is told to keep is for its own
// policy to say.
//
// The one invariant: what is to be kept and cannot be is not forwarded. There is room for
// all of it before its crossing begins, and a piece is passed on when it was taken here.
package seal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/policy/kept"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	defaultPart  = 1 << 20
	defaultTotal = 4 << 30
	// MaxPart is the most that may be sealed of a request or an answer, in bytes.
	MaxPart = 64 << 20
)

var (
	// ErrFull says that there is no room for what has to be kept.
	ErrFull = errors.New("no room for sealed content")
	// errNothing is of a gateway that keeps nothing.
	errNothing = errors.New("no content is kept here")
)

// Config is what a Sealer works with.
type Config struct {
	// Dir is the gateway's state directory. What is sealed is below it in sealed, the
	// salts of hashes in salts.
	Dir string
	// Gateway is the gateway's SPIFFE ID.
	Gateway string
	// PartBytes is how much of a request and of an answer is sealed; 1 MiB if 0.
	PartBytes uint64
	// TotalBytes is how much waits in all; 4 GiB if 0.
	TotalBytes uint64
	// Connect reaches the control plane.
	Connect Connect
	// Disk is the machine's own file system if nil.
	Disk disk.System
	// Log takes what an operator has to know; nil for none.
	Log *zap.Logger
}

// Sealer keeps contents. Make it with Open, Run it, and Close it. It is safe for
// concurrent use.
type Sealer struct {
	gateway string
	part    int
	connect Connect
	sys     disk.System
	log     *zap.Logger
	root    string // of all runs
	dir     string // of this one
	lock    io.Closer
	salts   salts
	wake    chan struct{} // of one: something is finished

	mu       sync.Mutex // guards what follows
	room     room
	finished []finished
}

// Open makes a Sealer, and takes over what earlier processes of the gateway have left.
// One that still runs keeps its own.
func Open(cfg Config) (*Sealer, error) {
	s := &Sealer{
		gateway: cfg.Gateway, connect: cfg.Connect, sys: cfg.Disk, log: cfg.Log,
		part: int(cmp.Or(cfg.PartBytes, defaultPart)),                  //nolint:gosec // compared with MaxPart below
		room: room{total: int64(cmp.Or(cfg.TotalBytes, defaultTotal))}, //nolint:gosec // more is no file system's
		root: filepath.Join(cfg.Dir, "sealed"), wake: make(chan struct{}, 1),
	}
	if cfg.PartBytes > MaxPart {
		return nil, fmt.Errorf("keep contents: %d bytes of a part, and %d are the most", cfg.PartBytes, MaxPart)
	}
	if s.sys == nil {
		s.sys = disk.OS{}
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.salts = salts{sys: s.sys, dir: filepath.Join(cfg.Dir, "salts")}
	s.dir = filepath.Join(s.root, crossing.NewRun())
	if err := errors.Join(s.sys.MakeDir(s.dir), s.sys.MakeDir(s.salts.dir), s.sys.SyncDir(cfg.Dir), s.sys.SyncDir(s.root)); err != nil {
		return nil, fmt.Errorf("keep contents: %w", err)
	}
	var err error
	if s.lock, err = s.sys.Lock(s.dir); err != nil {
		return nil, fmt.Errorf("keep contents: %w", err)
	}
	if err := s.adopt(); err != nil {
		return nil, errors.Join(fmt.Errorf("keep contents: %w", err), s.lock.Close())
	}
	return s, nil
}

// Close lets go of the directory. What is open then counts as broken off.
func (s *Sealer) Close() error { return s.lock.Close() }

// Begin begins to keep the content of a crossing, before anything of it is forwarded. An
// error means that it cannot be kept: the crossing is to be refused as not recorded. A nil
// Sealer keeps nothing, and so refuses.
func (s *Sealer) Begin(id string, side crossingv1.Side, what kept.Content) (*Content, error) {
	if s == nil {
		return nil, errNothing
	}
	now := time.Now()
	c := &Content{}
	var err error
	if what.How == kept.Hash {
		err = s.hash(c, id, now, what)
	} else {
		err = s.seal(c, id, side, now, what)
	}
	if err != nil {
		return nil, fmt.Errorf("keep the content of %s: %w", id, err)
	}
	return c, nil
}

// tell has Run look at what is finished.
func (s *Sealer) tell() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// room is how much is taken of what there is. Who has it locks it.
type room struct{ total, taken int64 }

func (r *room) take(n int64) bool {
	if n > r.total-r.taken {
		return false
	}
	r.taken += n
	return true
}

func (r *room) free(n int64) { r.taken -= n }
