package records

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sallyport-mesh/sallyport/certs/durable"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/archive"
)

// A store's directory has a lock, and the database in a directory of its own, with
// the files that SQLite puts beside it: they are made and set aside in one rename.
const (
	lockName     = "lock"
	liveName     = "live"
	newName      = "new"
	databaseName = "crossings.db"
)

// readers is how many questions are answered at once; others wait.
const readers = 4

// Config says for how long a store keeps records.
type Config struct {
	// Hot is how long after its end an hour stays in the database; later its records
	// are in the archive alone. A week if 0.
	Hot time.Duration
	// Retention is how long after its end an hour is kept at all, 183 days if 0. It is
	// not shorter than Hot.
	Retention time.Duration
}

// usual fills in the usual times.
func (c Config) usual() Config {
	return Config{Hot: cmp.Or(c.Hot, 7*24*time.Hour), Retention: cmp.Or(c.Retention, 183*24*time.Hour)}
}

// Check says what is wrong with the times. The error is ErrInvalid.
func (c Config) Check() error {
	if u := c.usual(); u.Hot < 0 || u.Retention < u.Hot {
		return fmt.Errorf("records are kept for %v, and in the database for %v: %w; the one must not be shorter than the other", u.Retention, u.Hot, ErrInvalid)
	}
	return nil
}

// SQLite is a store in one directory, with its archive.
type SQLite struct {
	config  Config
	path    string
	release func() // the lock of its directory
	archive *archive.Archive
	holds   *holds
	upkeep  sync.Mutex // held by Maintain
	writing sync.Mutex
	writer  *sql.DB // of one connection; writing is held
	reader  *sql.DB
	tiers   sync.RWMutex // guards cold; whoever changes it holds writing, too
	cold    []int64      // hours that are in the archive alone, in order; replaced, never changed
}

var _ Keeper = (*SQLite)(nil)

// OpenSQLite opens the store in a directory with the usual times. See Config.Open.
func OpenSQLite(ctx context.Context, dir string) (*SQLite, error) { return Config{}.Open(ctx, dir) }

// Open opens the store in a directory, which it makes if need be. A database that is
// damaged, or of another version, is ErrDamaged; SetAside makes room for one that takes
// over what is in the archive, and that the caller fills with the rest.
func (c Config) Open(ctx context.Context, dir string) (*SQLite, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.usual()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	release, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &SQLite{config: c, path: filepath.Join(dir, liveName, databaseName), release: release}
	if err := s.openAll(ctx, dir); err != nil {
		return nil, errors.Join(s.explain(err), s.Close())
	}
	return s, nil
}

func (s *SQLite) openAll(ctx context.Context, dir string) error {
	var err error
	if s.holds, err = openHolds(dir); err != nil {
		return err
	}
	if s.archive, err = archive.Open(filepath.Join(dir, "archive")); err != nil {
		return err
	}
	if err := create(ctx, dir, s.archive); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	if s.cold, err = s.hours(ctx, `SELECT hour FROM cold ORDER BY hour`); err != nil {
		return err
	}
	for _, h := range s.cold {
		if !s.archive.Has(h) {
			return fmt.Errorf("%w: that which begins at %v; put its file back, or set the database aside, too, and put the records of that hour again",
				archive.ErrMissing, time.UnixMicro(h*hourly).UTC())
		}
	}
	return nil
}

// SetAside renames the database of a directory that nobody has open, and says what it
// is called now; empty if there is none.
func SetAside(dir string, now time.Time) (string, error) {
	release, err := lockDir(dir)
	if err != nil {
		return "", err
	}
	defer release()
	aside := filepath.Join(dir, "damaged-"+now.UTC().Format("20060102T150405.000000Z"))
	err = os.Rename(filepath.Join(dir, liveName), aside)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return aside, err
}

// lockDir takes a directory for this process alone, until release or its end.
func lockDir(dir string) (release func(), err error) {
	release, err = durable.Lock(filepath.Join(dir, lockName))
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("lock %q: %w: stop the process that has it, or ask that one", dir, ErrInUse)
	}
	return release, err
}

func (s *SQLite) open(ctx context.Context) error {
	var err error
	if s.writer, err = connect(s.path, "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-65536)", "journal_size_limit(67108864)", "wal_autocheckpoint(8000)"); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(1)
	if err := s.check(ctx); err != nil {
		return err
	}
	if s.reader, err = connect(s.path, "query_only(1)", "cache_size(-16384)", "mmap_size(1073741824)"); err != nil {
		return err
	}
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	return nil
}

func connect(path string, pragmas ...string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	return sql.Open("sqlite", u.String())
}

// create makes a database if there is none, of what is in the archive. It gets its name
// when it is whole, so that one which is empty later has lost what was in it.
func create(ctx context.Context, dir string, a *archive.Archive) error {
	live, fresh := filepath.Join(dir, liveName), filepath.Join(dir, newName)
	if _, err := os.Stat(live); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o700)); err != nil {
		return err
	}
	db, err := connect(filepath.Join(fresh, databaseName), "synchronous(FULL)")
	if err != nil {
		return err
	}
	if err := errors.Join(fill(ctx, db, a), db.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, live)
}

func fill(ctx context.Context, db *sql.DB, a *archive.Archive) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back, and before it the error is another
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("%s PRAGMA user_version = %d", schema, version)); err != nil {
		return err
	}
	if err := adopt(ctx, tx, a); err != nil {
		return err
	}
	return tx.Commit()
}

// check reads the whole database: damage is found before an answer is given from it.
func (s *SQLite) check(ctx context.Context) error {
	var found int
	if err := s.writer.QueryRowContext(ctx, "PRAGMA user_version").Scan(&found); err != nil {
		return err
	}
	if found != version {
		return fmt.Errorf("it is of version %d, and this program's is %d: %w", found, version, ErrDamaged)
	}
	var verdict string
	if err := s.writer.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%s: %w", verdict, ErrDamaged)
	}
	return nil
}

// Close lets go of the store.
func (s *SQLite) Close() error {
	var all []error
	for _, db := range []*sql.DB{s.reader, s.writer} {
		if db != nil {
			all = append(all, db.Close())
		}
	}
	s.release()
	return errors.Join(all...)
}

// explain names the database and says what to do, where that is known.
func (s *SQLite) explain(err error) error {
	if err == nil {
		return nil
	}
	var failed *sqlite.Error
	if errors.As(err, &failed) {
		switch failed.Code() & 0xff { // the primary code of an extended one
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		case sqlite3.SQLITE_FULL:
			err = fmt.Errorf("%w: make room; nothing of it was kept, put it again: %w", ErrFull, err)
		}
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%w: make room: %w", ErrFull, err)
	}
	if errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%w; set it aside and a new one takes over the archive, and the rest is to be put again", err)
	}
	return fmt.Errorf("records %q: %w", s.path, err)
}
