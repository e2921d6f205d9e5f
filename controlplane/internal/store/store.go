// Package store is the control plane's memory: the signed policy, operators' acts, the
// bindings, what gateways said last, the frames that gateways delivered, and a second copy
// of the entries of the environments' logs, in NATS JetStream. The server is
// embedded, in this process and without a listener, or external by its URL; the
// code is the same. It is not an index and does not look into frames: package
// join does, from what Replay hands it.
//
// The one invariant: what a call here has answered for survives kill -9 and a
// restart, because the answer comes after JetStream's, and the embedded server
// syncs before it answers. An external cluster must be told to do so itself
// (sync_interval: always).
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

var (
	// ErrNotFound says that there is no such key.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a key is at another revision than the caller expected.
	ErrConflict = errors.New("changed meanwhile")
	// ErrInUse says that another process has the directory open.
	ErrInUse = errors.New("in use by another process")
	// ErrUnavailable says that the store could not be asked, or that it could not
	// write: whether the write happened is not known.
	ErrUnavailable = errors.New("store unavailable")
)

// answerTimeout bounds one question to JetStream. A server whose disk failed
// stops answering; this is how long a caller waits to be told.
const answerTimeout = 10 * time.Second

// Config says where the store is. Exactly one of Dir and URL is set.
type Config struct {
	// Dir is the directory of the embedded server, made if it is not there.
	Dir string
	// URL is that of an external NATS server or cluster with JetStream, such as
	// "nats://nats-1:4222,nats://nats-2:4222". A signed policy must fit its
	// max_payload.
	URL string
	// MaxBytes bounds the embedded server's files, in bytes; 0 is what the disk
	// allows. Beyond it, writes fail with ErrUnavailable.
	MaxBytes int64
	// Log takes what the store has to say.
	Log *zap.Logger
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	log      *zap.Logger
	server   *embedded // nil if the server is external
	conn     *nats.Conn
	js       jetstream.JetStream
	policies jetstream.KeyValue
	bindings *Bucket
	gateways *Bucket
	bundles  *Bucket
	acts     *Bucket
	frames   jetstream.Stream
	entries  jetstream.Stream
}

// Open opens the store, and makes what is not there yet. The error is ErrInUse
// if another process has the directory open.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if (cfg.Dir == "") == (cfg.URL == "") {
		return nil, errors.New("open store: exactly one of a directory and a URL must be given")
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	s := &Store{log: cfg.Log.Named("store")}
	if err := s.open(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %q: %w", cfg.Dir+cfg.URL, err), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, cfg Config) error {
	if err := s.connect(cfg); err != nil {
		return err
	}
	js, err := jetstream.New(s.conn, jetstream.WithDefaultTimeout(answerTimeout))
	if err != nil {
		return err
	}
	s.js = js
	return s.create(ctx)
}

// connect starts the embedded server, if it is that, and connects.
func (s *Store) connect(cfg Config) error {
	options := []nats.Option{
		nats.Name("sallyport-controlplane"),
		nats.MaxReconnects(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.log.Warn("nats connection error", zap.Error(err))
		}),
	}
	if cfg.URL == "" {
		server, err := startEmbedded(cfg.Dir, cfg.MaxBytes, s.log)
		if err != nil {
			return err
		}
		s.server = server
		options = append(options, nats.InProcessServer(server.nats))
	}
	conn, err := nats.Connect(cfg.URL, options...)
	if err != nil {
		return err
	}
	s.conn = conn
	return nil
}

// create makes the buckets and the streams, or checks that they are as they
// should be.
func (s *Store) create(ctx context.Context) error {
	policies, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "sallyport-policy", Description: "signed policies", History: policyHistory, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return fmt.Errorf("make the bucket of policies: %w", err)
	}
	bindings, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "sallyport-bindings", Description: "where workloads are", History: 1, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return fmt.Errorf("make the bucket of bindings: %w", err)
	}
	gateways, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "sallyport-gateways", Description: "what gateways said last", History: 1, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return fmt.Errorf("make the bucket of gateways: %w", err)
	}
	bundles, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "sallyport-bundles", Description: "signed bundles of trust domains", History: 1, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return fmt.Errorf("make the bucket of bundles: %w", err)
	}
	acts, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "sallyport-acts", Description: "operators' acts", History: 1, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return fmt.Errorf("make the bucket of acts: %w", err)
	}
	frames, err := s.js.CreateOrUpdateStream(ctx, framesStream())
	if err != nil {
		return fmt.Errorf("make the stream of frames: %w", err)
	}
	s.entries, err = s.js.CreateOrUpdateStream(ctx, entriesStream())
	if err != nil {
		return fmt.Errorf("make the stream of entries: %w", err)
	}
	s.policies, s.bindings, s.gateways, s.frames = policies, &Bucket{kv: bindings}, &Bucket{kv: gateways}, frames
	s.bundles = &Bucket{kv: bundles}
	s.acts = &Bucket{kv: acts}
	return nil
}

// Bindings is the bucket of where workloads are.
func (s *Store) Bindings() *Bucket { return s.bindings }

// Gateways is the bucket of what gateways said last.
func (s *Store) Gateways() *Bucket { return s.gateways }

// Bundles is the bucket of signed bundles.
func (s *Store) Bundles() *Bucket { return s.bundles }

// Acts is the bucket of operators' acts.
func (s *Store) Acts() *Bucket { return s.acts }

// Close ends the connection, and the embedded server if it is that. What was
// answered for is on disk already.
func (s *Store) Close() error {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server != nil {
		return s.server.close()
	}
	return nil
}

// unavailable tells people what failed and callers that it was the store.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
}
