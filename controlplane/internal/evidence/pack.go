package evidence

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/transparency-dev/tessera/api/layout"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

const (
	// packName is the first file of a pack, whose text begins with packForm.
	packName = "sallyport-pack"
	packForm = "sallyport.pack.v1\n"
	// packFile bounds a file of frames, in bytes.
	packFile = 4 << 20
)

// Pack writes an evidence pack of all there is until now: a tar with the logs as they are
// served (C2SP tlog-tiles), and all frames. The logs come as of their checkpoints before
// the frames are read, so that every frame that they state is there.
func Pack(ctx context.Context, w io.Writer, all Frames, logs map[string]*translog.Reader, to time.Time) error {
	p := &packer{tar: tar.NewWriter(w)}
	began := to
	for _, r := range logs {
		for e, err := range r.Entries(ctx, 0, 1) {
			if at := e.GetAt().AsTime(); err == nil && at.Before(began) {
				began = at
			}
		}
	}
	head := fmt.Sprintf("%sfrom %s\nto %s\n", packForm, began.UTC().Format(time.RFC3339Nano), to.UTC().Format(time.RFC3339Nano))
	if err := p.file(packName, []byte(head)); err != nil {
		return err
	}
	for _, td := range slices.Sorted(maps.Keys(logs)) {
		if err := p.log(ctx, td, logs[td]); err != nil {
			return fmt.Errorf("pack the log of %s: %w", td, err)
		}
	}
	if err := p.frames(ctx, all); err != nil {
		return fmt.Errorf("pack frames: %w", err)
	}
	return p.tar.Close()
}

// packer writes a pack's files.
type packer struct {
	tar  *tar.Writer
	next int // number of the last file of frames
	room []byte
}

// file writes one. Its head says nothing but its name and size: the same content is the
// same pack.
func (p *packer) file(name string, data []byte) error {
	head := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Format: tar.FormatUSTAR, ModTime: time.Unix(0, 0)}
	if err := p.tar.WriteHeader(head); err != nil {
		return err
	}
	_, err := p.tar.Write(data)
	return err
}

func (p *packer) log(ctx context.Context, td string, r *translog.Reader) error {
	c, err := r.Cosigned()
	if errors.Is(err, fs.ErrNotExist) {
		c, err = r.Checkpoint(ctx)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever signed
	}
	if err != nil {
		return err
	}
	dir := "logs/" + td + "/"
	if err := p.file(dir+layout.CheckpointPath, c.Note); err != nil {
		return err
	}
	bundles := uint64(0)
	for bundle, err := range r.Bundles(ctx, c.Size) {
		if err != nil {
			return err
		}
		if err := p.file(dir+layout.EntriesPath(bundles, layout.PartialTileSize(0, bundles, c.Size)), bundle); err != nil {
			return err
		}
		bundles++
	}
	return nil
}

func (p *packer) frames(ctx context.Context, all Frames) error {
	err := all.Replay(ctx, time.Time{}, func(_ string, _ time.Time, frames [][]byte) error {
		for _, data := range frames {
			if f, err := crossing.UnmarshalFrame(data); err == nil && translog.Takes(f) {
				continue // it is in a log
			}
			if len(p.room)+binary.MaxVarintLen32+len(data) > packFile {
				if err := p.flush(); err != nil {
					return err
				}
			}
			p.room = binary.AppendUvarint(p.room, uint64(len(data)))
			p.room = append(p.room, data...)
		}
		return nil
	})
	if err != nil || len(p.room) == 0 {
		return err
	}
	return p.flush()
}

func (p *packer) flush() error {
	p.next++
	err := p.file(fmt.Sprintf("frames/%08d", p.next), p.room)
	p.room = p.room[:0]
	return err
}
