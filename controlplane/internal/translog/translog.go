package translog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

const (
	// DefaultInterval is how long an entry waits for a checkpoint that has it, at most,
	// while nothing fails.
	DefaultInterval = 500 * time.Millisecond
	// batchEntries and batchAge bound how many entries become part of the tree at once, and
	// how long the first of them waits for others.
	batchEntries = 1024
	batchAge     = 20 * time.Millisecond
	// shutdownIntervals is how many intervals a log that is closed waits for its last
	// checkpoint. What was added is durable without it.
	shutdownIntervals = 10
	// MaxEntry is the most bytes that an entry may have, as C2SP tlog-tiles has it.
	MaxEntry = 1<<16 - 1
	// MaxFrame is the most bytes of a frame that an entry has room for.
	MaxFrame = MaxEntry - 32
	// remembered is how many of the last entries are known again if they come once more: a
	// gateway delivers again what it has no acknowledgement of. One that comes after more
	// others is appended a second time, which says nothing false.
	remembered = 1 << 16
)

// Takes says that a frame belongs into its gateway's environment's log: what gateways
// state, and with what key.
func Takes(f *crossingv1.Frame) bool {
	return f.GetStatement() != nil || f.GetAnnouncement() != nil || f.GetHeartbeat() != nil
}

// ErrTooLarge is of an entry that has more than MaxEntry bytes.
var ErrTooLarge = errors.New("the entry is too large for the log")

// Config is what a log is made of.
type Config struct {
	// Dir is the log's own directory, which is made if there is none.
	Dir string
	// Origin is the log's name in its checkpoints, such as "aws.demo/sallyport/log".
	Origin string
	// Interval is the time between two checkpoints; DefaultInterval if 0, at least 100 ms.
	Interval time.Duration
	// Witnesses are asked to cosign the log's checkpoints.
	Witnesses []Witness
	// Archive keeps the entries a second time; none is kept if nil: damaged tiles are rebuilt
	// from entries then, and damaged entries are not.
	Archive Archive
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Log takes the log of the program; nil for none.
	Log *zap.Logger
}

// Log is an environment's log, open for appending. It is safe for concurrent use.
type Log struct {
	*Reader

	now      func() time.Time
	release  func() // the lock of its directory
	guard    *guard
	appender *tessera.Appender
	copier   *copier // nil if no archive is kept
	shutdown func(context.Context) error
	cancel   context.CancelFunc
	ctx      context.Context // ends with the log
	cosigns  *witnesses
	parts    sync.WaitGroup

	mu   sync.Mutex // guards what follows, and the order of entries
	at   time.Time  // of the last entry
	seen *recent
}

// Open opens a log for appending, and makes it where there is none. All of its tree is read:
// files that are damaged are rebuilt, and set aside in the directory "damaged" beside it. The
// error is ErrDamaged where they cannot be, and ErrRolledBack where the tree is not one that
// the log's last signed checkpoint is the beginning of.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	l, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", cfg.Origin, err)
	}
	return l, nil
}

func open(ctx context.Context, cfg Config) (l *Log, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	quieten(cfg.Log)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	release, err := takeLock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l = &Log{now: cfg.Now, release: release, seen: newRecent(remembered)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	signer, err := loadKey(cfg.Dir, cfg.Origin)
	if err != nil {
		return l, err
	}
	if l.Reader, err = OpenReader(cfg.Dir); err != nil {
		return l, err
	}
	if err := l.mend(ctx, cfg); err != nil {
		return l, err
	}
	if l.guard, err = newGuard(ctx, l.Reader, signer, cfg.Log); err != nil {
		return l, err
	}
	if err := l.mender(cfg).mendCheckpoint(l.guard.last); err != nil {
		return l, err
	}
	if l.cosigns, err = newWitnesses(l.Reader, cfg.Witnesses, cfg.Log); err != nil {
		return l, err
	}
	if err := l.start(cfg.Interval); err != nil {
		return l, err
	}
	if err := l.copyTo(ctx, cfg.Archive); err != nil {
		return l, err
	}
	if err := l.recall(ctx); err != nil {
		return l, err
	}
	l.parts.Go(func() { l.cosigns.run(l.ctx, cfg.Interval) })
	return l, nil
}

// start has Tessera take entries.
func (l *Log) start(interval time.Duration) error {
	l.ctx, l.cancel = context.WithCancel(context.Background())
	driver, err := posix.New(l.ctx, posix.Config{Path: l.tiles()})
	if err != nil {
		return err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(l.guard).
		WithCheckpointInterval(interval).
		WithCheckpointRepublishInterval(0).
		WithBatching(batchEntries, batchAge).
		WithShutdownTimeout(shutdownIntervals * interval)
	l.appender, l.shutdown, _, err = tessera.NewAppender(l.ctx, driver, options)
	return err
}

// copyTo has what is added kept in the archive too, which has all else then.
func (l *Log) copyTo(ctx context.Context, archive Archive) error {
	if archive == nil {
		return nil
	}
	size, _, err := l.tree()
	if err != nil {
		return err
	}
	if err := l.complete(ctx, archive, size); err != nil {
		return err
	}
	l.copier = newCopier(archive, l.vkey, l.appender.Add)
	return nil
}

// append has an entry appended, and kept.
func (l *Log) append(ctx context.Context, data []byte) tessera.IndexFuture {
	if l.copier != nil {
		return l.copier.give(data)
	}
	// The entry outlives the call: a caller that leaves does not undo it.
	return l.appender.Add(context.WithoutCancel(ctx), tessera.NewEntry(data))
}

// recall learns what the last entries are.
func (l *Log) recall(ctx context.Context) error {
	size, _, err := l.tree()
	if err != nil {
		return err
	}
	for e, err := range l.Entries(ctx, size-min(size, remembered), size) {
		if err != nil {
			return err
		}
		l.at = e.GetAt().AsTime()
		l.seen.add(contentOf(e), nil)
	}
	return nil
}

// Add appends entries in this order, without those that were appended a short while ago,
// and returns when all are on stable storage. On an error some of them may be: who adds all
// of them again adds none of those twice.
func (l *Log) Add(ctx context.Context, entries ...*logv1.Entry) error {
	all, err := l.hand(ctx, entries)
	for _, h := range all { // to the last: each that failed has to be let go of
		if waitErr := l.wait(ctx, h); waitErr != nil && err == nil {
			err = fmt.Errorf("append to log %s: %w", l.Origin(), waitErr)
		}
	}
	return err
}

// handed is an entry that is being appended.
type handed struct {
	content
	future tessera.IndexFuture
}

// hand has appended what is new of entries, until one cannot be taken.
func (l *Log) hand(ctx context.Context, entries []*logv1.Entry) (all []handed, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		if err := l.guard.failed(); err != nil {
			return all, err
		}
		c := contentOf(e)
		future, known := l.seen.in[c]
		if !known {
			data, at, err := l.encode(e)
			if err != nil {
				return all, err
			}
			future = l.append(ctx, data)
			l.at = at
			l.seen.add(c, future)
		}
		if future != nil { // of one that is durable, nothing is to be waited for
			all = append(all, handed{c, future})
		}
	}
	return all, nil
}

// encode dates an entry, and encodes it. The caller holds mu.
func (l *Log) encode(e *logv1.Entry) ([]byte, time.Time, error) {
	at := l.now()
	if at.Before(l.at) {
		at = l.at
	}
	e.At = timestamppb.New(at)
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err == nil && len(data) > MaxEntry {
		err = fmt.Errorf("%w: %d bytes, the most is %d", ErrTooLarge, len(data), MaxEntry)
	}
	return data, at, err
}

// wait waits for an entry to be durable, as long as ctx lets it. One that failed may be
// added again.
func (l *Log) wait(ctx context.Context, h handed) error {
	done := make(chan error, 1)
	go func() { // a future knows no context
		_, err := h.future()
		done <- err
	}()
	select {
	case err := <-done:
		l.settle(h.content, err)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle takes note that an entry is durable, or failed.
func (l *Log) settle(c content, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		delete(l.seen.in, c)
	} else if _, known := l.seen.in[c]; known {
		l.seen.in[c] = nil
	}
}

// Failed is why the log takes nothing more; nil while it does.
func (l *Log) Failed() error { return l.guard.failed() }

// Cosigned is how far each witness has come.
func (l *Log) Cosigned() []Cosigned { return l.cosigns.cosigned() }

// Close waits for a checkpoint with all that was added, and closes the log.
func (l *Log) Close() error {
	var errs []error
	if l.copier != nil {
		l.copier.close()
	}
	if l.shutdown != nil && l.guard.failed() == nil {
		errs = append(errs, l.shutdown(context.Background()))
	}
	if l.cancel != nil {
		l.cancel()
	}
	l.parts.Wait()
	l.release()
	return errors.Join(errs...)
}

// content is the SHA-256 of what an entry says, whenever that is.
type content [sha256.Size]byte

func contentOf(e *logv1.Entry) content {
	was := e.GetAt()
	e.At = nil
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	e.At = was
	if err != nil {
		return content{} // encode says why
	}
	return sha256.Sum256(data)
}

// recent knows the last of what was added to it, up to so many, and of each what is to be
// waited for until it is durable; nil if nothing is.
type recent struct {
	in   map[content]tessera.IndexFuture
	ring []content
	next int
}

func newRecent(most int) *recent {
	return &recent{in: map[content]tessera.IndexFuture{}, ring: make([]content, 0, most)}
}

func (r *recent) add(c content, pending tessera.IndexFuture) {
	if len(r.ring) < cap(r.ring) {
		r.ring = append(r.ring, c)
	} else {
		delete(r.in, r.ring[r.next])
		r.ring[r.next] = c
		r.next = (r.next + 1) % len(r.ring)
	}
	r.in[c] = pending
}

// The files beside the tree.
const (
	lockName   = "lock"
	keyName    = "log.key"  // the private key
	vkeyName   = "log.vkey" // the public one
	signedName = "signed"   // the last checkpoint that was signed
	tilesName  = "tiles"    // a directory: what is served

	damagedName = "damaged" // a directory: what was found damaged, each time in one of its own
)

func (r *Reader) tiles() string { return filepath.Join(r.dir, tilesName) }

// verifierOf is what checks the log's signatures.
func verifierOf(dir string) (note.Verifier, string, error) {
	text, err := os.ReadFile(filepath.Join(dir, vkeyName))
	if err != nil {
		return nil, "", err
	}
	v, err := note.NewVerifier(trim(text))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", filepath.Join(dir, vkeyName), err)
	}
	return v, trim(text), nil
}
