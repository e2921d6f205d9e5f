package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Bucket is a set of keys with values that are changed by compare-and-set. A
// key is any text that is not empty. It is safe for concurrent use.
type Bucket struct{ kv jetstream.KeyValue }

// Put sets a key if it is still at the revision that the caller expects (0: it
// does not exist), and gives the new revision. The error is ErrConflict if it is
// not, ErrUnavailable if the store did not answer.
func (b *Bucket) Put(ctx context.Context, key string, value []byte, expected uint64) (uint64, error) {
	revision, err := put(ctx, b.kv, encodeKey(key), value, expected)
	if err != nil {
		return 0, fmt.Errorf("put %q: %w", key, err)
	}
	return revision, nil
}

// Get is a key's value and revision. The error is ErrNotFound if it has none.
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	entry, err := get(ctx, b.kv, encodeKey(key))
	if err != nil {
		return nil, 0, fmt.Errorf("get %q: %w", key, err)
	}
	return entry.Value(), entry.Revision(), nil
}

// List calls each with every key, its value and its revision, in no order, until
// each fails or all were seen.
func (b *Bucket) List(ctx context.Context, each func(key string, value []byte, revision uint64) error) error {
	watcher, err := b.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return unavailable("list keys", err)
	}
	defer func() { _ = watcher.Stop() }() // the answer is complete by then, or the error told
	for {
		select {
		case entry, open := <-watcher.Updates():
			if entry == nil {
				return listEnd(open)
			}
			key, err := decodeKey(entry.Key())
			if err != nil {
				return err
			}
			if err := each(key, entry.Value(), entry.Revision()); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("list keys: %w", ctx.Err())
		}
	}
}

// listEnd tells the marker after the last key, a nil entry, from a broken watch.
func listEnd(open bool) error {
	if !open {
		return unavailable("list keys", errors.New("watch ended"))
	}
	return nil
}

// Delete removes a key if it is at the revision that the caller expects. The
// error is ErrConflict if it is not.
func (b *Bucket) Delete(ctx context.Context, key string, expected uint64) error {
	err := b.kv.Delete(ctx, encodeKey(key), jetstream.LastRevision(expected))
	if err != nil {
		return fmt.Errorf("delete %q: %w", key, translate(err))
	}
	return nil
}

func put(ctx context.Context, kv jetstream.KeyValue, key string, value []byte, expected uint64) (uint64, error) {
	var revision uint64
	var err error
	if expected == 0 {
		revision, err = kv.Create(ctx, key, value)
	} else {
		revision, err = kv.Update(ctx, key, value, expected)
	}
	if err != nil {
		return 0, translate(err)
	}
	return revision, nil
}

func get(ctx context.Context, kv jetstream.KeyValue, key string) (jetstream.KeyValueEntry, error) {
	entry, err := kv.Get(ctx, key)
	if err != nil {
		return nil, translate(err)
	}
	return entry, nil
}

// translate turns JetStream's errors into ours, so that nobody else knows what
// the store is made of.
func translate(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return ErrConflict
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		return ErrNotFound
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// encodeKey makes any text a NATS key, which may hold few characters: a SPIFFE
// ID's colon is not among them.
func encodeKey(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func decodeKey(key string) (string, error) {
	text, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return "", fmt.Errorf("read key %q: %w", key, err)
	}
	return string(text), nil
}
