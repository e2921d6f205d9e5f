package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"
)

// Copy is a store opened from a copy of a stopped control plane's directory, so
// that reading leaves no trace in it.
type Copy struct {
	*Store

	dir string
}

// OpenReadOnly opens the store of a stopped control plane: it copies the
// directory to a temporary one, which Close removes, and opens that. The error is
// ErrInUse while a control plane runs over it, and fs.ErrNotExist if none ever did.
func OpenReadOnly(ctx context.Context, dir string, log *zap.Logger) (*Copy, error) {
	temporary, err := os.MkdirTemp("", "sallyport-store-")
	if err != nil {
		return nil, fmt.Errorf("open store %q to read: %w", dir, err)
	}
	c := &Copy{dir: temporary}
	if err := c.open(ctx, dir, log); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %q to read: %w", dir, err), c.Close())
	}
	return c, nil
}

func (c *Copy) open(ctx context.Context, dir string, log *zap.Logger) error {
	lock, err := lockShared(dir)
	if err != nil {
		return err
	}
	err = os.CopyFS(filepath.Join(c.dir, "jetstream"), os.DirFS(filepath.Join(dir, "jetstream")))
	if err := errors.Join(err, lock.release()); err != nil {
		return err
	}
	c.Store, err = Open(ctx, Config{Dir: c.dir, Log: log})
	return err
}

// Close closes the store and removes the copy.
func (c *Copy) Close() error {
	var err error
	if c.Store != nil {
		err = c.Store.Close()
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}
