package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/sallyport-mesh/sallyport/certs/durable"
)

const (
	groupRows   = 50_000 // rows of a row group: what a reader has in memory at once
	batchRows   = 500
	bloomBits   = 8 // a value: 2 of 100 groups are read in vain
	createdBy   = "sallyport"
	createdFrom = "sallyport.crossing.v1"
)

// Write puts an hour's records, in their order, in the place of those that there are
// of it. It is on the disk when it returns; if it fails, nothing has changed.
func (a *Archive) Write(hour int64, entries iter.Seq2[Entry, error]) error {
	old, replaces := a.name(hour)
	temporary, err := os.CreateTemp(a.dir, "*"+unnamed)
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // nothing, once it is renamed
	sum := sha256.New()
	if err := errors.Join(write(io.MultiWriter(temporary, sum), entries), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	n := name{hour, old.version + 1, hex.EncodeToString(sum.Sum(nil))}
	if err := os.Rename(temporary.Name(), a.path(n)); err != nil {
		return err
	}
	if err := durable.SyncDir(a.dir); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files[hour] = n
	a.checked[n] = struct{}{}
	if !replaces {
		return nil
	}
	delete(a.checked, old)
	return os.Remove(filepath.Join(a.dir, old.String()))
}

func write(to io.Writer, entries iter.Seq2[Entry, error]) error {
	w := parquet.NewGenericWriter[line](to,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedBetterCompression}),
		parquet.MaxRowsPerRowGroup(groupRows),
		parquet.BloomFilters(parquet.SplitBlockFilter(bloomBits, "id"), parquet.SplitBlockFilter(bloomBits, "trace")),
		parquet.CreatedBy(createdBy, createdFrom, ""),
	)
	batch := make([]line, 0, batchRows)
	for e, err := range entries {
		if err != nil {
			return err
		}
		l, err := lineOf(e)
		if err != nil {
			return err
		}
		if batch = append(batch, l); len(batch) < cap(batch) {
			continue
		}
		if _, err := w.Write(batch); err != nil {
			return err
		}
		batch = batch[:0]
	}
	if _, err := w.Write(batch); err != nil {
		return err
	}
	return w.Close()
}
