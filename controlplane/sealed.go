package controlplane

import (
	"context"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/sealed"
)

// expireEvery is how often sealed contents are looked through for those that are over.
const expireEvery = time.Hour

// sealedDir is where sealed contents are beside an embedded store.
func sealedDir(dir string) string { return filepath.Join(dir, "sealed") }

// openSealed opens the store of sealed contents.
func (c *ControlPlane) openSealed() (err error) {
	dir := c.config.place(c.config.SealedDir, sealedDir)
	if dir == "" {
		c.log.Warn("no sealed contents are kept: set sealedDir")
		return nil
	}
	c.sealed, err = sealed.Open(dir, 0)
	return err
}

// expireSealed deletes sealed contents whose retention is over, until ctx ends.
func (c *ControlPlane) expireSealed(ctx context.Context) {
	if c.sealed == nil {
		return
	}
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	for {
		if err := c.sealed.Expire(time.Now()); err != nil {
			c.log.Error("sealed contents not deleted after their retention", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
