package translog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/transparency-dev/tessera"
)

// Archive keeps the entries of logs a second time, byte for byte, so that a damaged file of
// a log can be rebuilt. A log is named by its public key: another one that is begun under
// the same origin has copies of its own. Nothing is ever taken out. It is safe for
// concurrent use.
type Archive interface {
	// AppendEntries appends entries of a log, in order, and returns when they are durable.
	// On an error some of the first may be.
	AppendEntries(ctx context.Context, log string, entries [][]byte) error
	// LastEntries are some of the last entries of a log, in order; none if there are none.
	LastEntries(ctx context.Context, log string) ([][]byte, error)
	// ReplayEntries calls each with all entries of a log, oldest first, until each fails.
	ReplayEntries(ctx context.Context, log string, each func(entries [][]byte) error) error
}

// errClosed is of what is added to a log that was closed.
var errClosed = errors.New("the log is closed")

// copier has each entry kept in the archive before the tree has it, in the same order: the
// archive may have what the tree has not, and never the other way round. What comes while
// it writes goes with the next write.
type copier struct {
	archive Archive
	log     string // the public key
	add     func(context.Context, *tessera.Entry) tessera.IndexFuture

	wake chan struct{} // of one: something waits, or it is closed
	done chan struct{} // closed when nothing is copied any more

	mu      sync.Mutex // guards what follows
	waiting []*copied
	closed  bool
}

// copied is an entry on its way to the archive, and to the tree.
type copied struct {
	data   []byte
	kept   chan struct{} // closed when the archive has it, or has failed
	err    error
	future tessera.IndexFuture
}

func newCopier(archive Archive, log string, add func(context.Context, *tessera.Entry) tessera.IndexFuture) *copier {
	c := &copier{archive: archive, log: log, add: add, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go c.run()
	return c
}

// give takes an entry. What it gives returns when both the archive and the tree have it.
func (c *copier) give(data []byte) tessera.IndexFuture {
	e := &copied{data: data, kept: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return func() (tessera.Index, error) { return tessera.Index{}, errClosed }
	}
	c.waiting = append(c.waiting, e)
	c.awake()
	return e.index
}

func (c *copier) awake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// index waits for the entry to be durable.
func (e *copied) index() (tessera.Index, error) {
	<-e.kept
	if e.err != nil {
		return tessera.Index{}, e.err
	}
	return e.future()
}

func (c *copier) run() {
	defer close(c.done)
	for range c.wake {
		c.mu.Lock()
		all, closed := c.waiting, c.closed
		c.waiting = nil
		c.mu.Unlock()
		c.copy(all)
		if closed {
			return
		}
	}
}

// copy has entries kept, and gives them to the tree. They outlive the calls that they came
// with: the archive bounds how long it takes.
func (c *copier) copy(all []*copied) {
	if len(all) == 0 {
		return
	}
	entries := make([][]byte, len(all))
	for i, e := range all {
		entries[i] = e.data
	}
	err := c.archive.AppendEntries(context.Background(), c.log, entries)
	for _, e := range all {
		if e.err = err; err == nil {
			e.future = c.add(context.Background(), tessera.NewEntry(e.data))
		}
		close(e.kept)
	}
}

// close waits until what was given is with the tree, and takes nothing more.
func (c *copier) close() {
	c.mu.Lock()
	c.closed = true
	c.awake()
	c.mu.Unlock()
	<-c.done
}

// complete has the archive keep what the tree has and it has not: all entries of a log that
// was begun without an archive, and those at the end that an archive has lost which does not
// sync. As entries are kept in order, one that has the last has all.
func (r *Reader) complete(ctx context.Context, archive Archive, size uint64) error {
	if size == 0 {
		return nil
	}
	var fault error
	failed := func(err error) { fault = err }
	last, err := archive.LastEntries(ctx, r.vkey)
	if err != nil {
		return err
	}
	for _, data := range r.raw(ctx, size-1, size, failed) {
		if slices.ContainsFunc(last, func(kept []byte) bool { return bytes.Equal(kept, data) }) {
			return nil
		}
	}
	next, stop := iter.Pull2(r.raw(ctx, 0, size, failed))
	defer stop()
	_, data, more := next()
	err = archive.ReplayEntries(ctx, r.vkey, func(entries [][]byte) error {
		for _, kept := range entries {
			if more && bytes.Equal(kept, data) {
				_, data, more = next()
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	var lacking [][]byte
	for ; more; _, data, more = next() {
		lacking = append(lacking, data)
		if len(lacking) == batchEntries {
			if err := archive.AppendEntries(ctx, r.vkey, lacking); err != nil {
				return err
			}
			lacking = nil
		}
	}
	if fault != nil {
		return fmt.Errorf("complete the archive: %w", fault)
	}
	return archive.AppendEntries(ctx, r.vkey, lacking)
}
