package records

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"iter"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/archive"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// settle is how long after its end an hour is written to the archive: what comes
	// later makes it be written once more.
	settle = 10 * time.Minute
	// Nothing is removed until the clock has gone steadily for a day: between two
	// calls of Maintain it neither went back nor on by more than maxPause.
	steadyFor = 24 * time.Hour
	maxPause  = 25 * time.Hour
)

// Upkeep is what Maintain did, in hours of records.
type Upkeep struct {
	// Archived were written to the archive, for the first time or once more.
	Archived int
	// Cooled are in the archive alone from now on.
	Cooled int
	// Removed have nothing left, and Thinned only what is held.
	Removed, Thinned int
	// Waiting are those that would have been removed, if the clock had gone steadily.
	Waiting int
}

// hoursBefore is the first hour that is not over for that long.
func hoursBefore(now time.Time, long time.Duration) int64 {
	return floor(now.Add(-long).UnixMicro(), hourly)
}

// Maintain does what time asks for. See Keeper.
func (s *SQLite) Maintain(ctx context.Context, now time.Time) (Upkeep, error) {
	s.upkeep.Lock()
	defer s.upkeep.Unlock()
	var done Upkeep
	for _, step := range []func(context.Context, time.Time, *Upkeep) error{s.archiveAll, s.coolAll, s.retain} {
		if err := step(ctx, now, &done); err != nil {
			return done, s.explain(err)
		}
	}
	return done, nil
}

func (s *SQLite) archiveAll(ctx context.Context, now time.Time, done *Upkeep) error {
	hours, err := s.hours(ctx, `SELECT hour FROM stale WHERE hour < ? ORDER BY hour`, hoursBefore(now, settle))
	if err != nil {
		return err
	}
	for _, h := range hours {
		if err := s.archiveHour(ctx, h); err != nil {
			return err
		}
		done.Archived++
	}
	return nil
}

func (s *SQLite) hours(ctx context.Context, question string, args ...any) ([]int64, error) {
	rows, err := s.reader.QueryContext(ctx, question, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err has told
	var all []int64
	for rows.Next() {
		var h int64
		if err := rows.Scan(&h); err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, rows.Err()
}

// archiveHour writes a warm hour as it is now. If it changes meanwhile, it stays stale.
func (s *SQLite) archiveHour(ctx context.Context, h int64) error {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it was only read
	var puts int64
	if err := tx.QueryRowContext(ctx, `SELECT puts FROM stale WHERE hour = ?`, h).Scan(&puts); err != nil {
		return err
	}
	var any bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM hours WHERE at = ?)`, h).Scan(&any); err != nil {
		return err
	}
	if any {
		err = s.archive.Write(h, entries(ctx, tx, h))
	} else {
		err = s.archive.Remove(h)
	}
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err = s.writer.ExecContext(ctx, `DELETE FROM stale WHERE hour = ? AND puts = ?`, h, puts)
	return err
}

// entries of an hour, in the order of an answer.
func entries(ctx context.Context, tx *sql.Tx, h int64) iter.Seq2[archive.Entry, error] {
	return func(yield func(archive.Entry, error) bool) {
		r := &reading{left: span{h * hourly, (h + 1) * hourly}, most: pageSize}
		for r.left.since < r.left.until {
			page, err := hotPage(ctx, tx, r, r.left)
			if err != nil {
				yield(archive.Entry{}, err)
				return
			}
			for _, f := range page {
				if !yield(archive.Entry{Opened: f.opened, Egress: f.Egress, Ingress: f.Ingress, Record: f.Record}, nil) {
					return
				}
			}
		}
	}
}

// coolAll evicts the hours that are over for long enough, and in the archive.
func (s *SQLite) coolAll(ctx context.Context, now time.Time, done *Upkeep) error {
	hours, err := s.hours(ctx, `SELECT DISTINCT at FROM hours WHERE at < ? AND at NOT IN (SELECT hour FROM cold)`, hoursBefore(now, s.config.Hot))
	if err != nil {
		return err
	}
	for _, h := range hours {
		cooled, err := s.cool(ctx, h)
		if err != nil {
			return err
		}
		if cooled {
			done.Cooled++
		}
	}
	return nil
}

func (s *SQLite) cool(ctx context.Context, h int64) (bool, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	var stale bool
	if err := s.writer.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM stale WHERE hour = ?)`, h).Scan(&stale); err != nil {
		return false, err
	}
	if stale || !s.archive.Has(h) {
		return false, nil
	}
	return true, s.transact(ctx, func(w *putting) error { return w.evict(h) })
}

// retain removes what was kept for long enough, but what is held.
func (s *SQLite) retain(ctx context.Context, now time.Time, done *Upkeep) error {
	steady, err := s.steady(ctx, now)
	if err != nil {
		return err
	}
	for _, h := range s.archive.Hours() {
		switch {
		case h >= hoursBefore(now, s.config.Retention):
			return nil
		case !steady:
			done.Waiting++
		default:
			if err := s.thin(ctx, h, done); err != nil {
				return err
			}
		}
	}
	return nil
}

// Keeps says that a record is kept still. See Keeper.
func (s *SQLite) Keeps(r *crossingv1.Record, now time.Time) bool {
	return floor(crossing.Opened(r).AsTime().UnixMicro(), hourly) >= hoursBefore(now, s.config.Retention) || anyHolds(s.holds.all(), r)
}

// steady says that the clock can be trusted to remove by.
func (s *SQLite) steady(ctx context.Context, now time.Time) (bool, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	at := now.UnixMicro()
	var last, since int64
	err := s.writer.QueryRowContext(ctx, `SELECT last, steady FROM clock`).Scan(&last, &since)
	if errors.Is(err, sql.ErrNoRows) {
		last, since = at, at
	} else if err != nil {
		return false, err
	}
	if at < last || at-last > maxPause.Microseconds() {
		since = at
	}
	_, err = s.writer.ExecContext(ctx, `DELETE FROM clock; INSERT INTO clock VALUES (?, ?)`, at, since)
	return at-since >= steadyFor.Microseconds(), err
}

// thin leaves of an old hour what is held.
func (s *SQLite) thin(ctx context.Context, h int64, done *Upkeep) error {
	if !s.isCold(h) {
		return s.removeOrphan(ctx, h)
	}
	holds := s.holds.all()
	held, all := 0, 0
	for r, err := range s.coldRows(ctx, during(span{h * hourly, (h + 1) * hourly}), h) {
		if err != nil {
			return err
		}
		all++
		if anyHolds(holds, r.joined) {
			held++
		}
	}
	switch held {
	case all:
		return nil
	case 0:
		done.Removed++
		err := s.change(ctx, func(w *putting) error { return w.forget(h) })
		return cmp.Or(err, s.removeOrphan(ctx, h))
	}
	done.Thinned++
	keep := func(r *row) bool { return anyHolds(holds, r.joined) }
	if err := s.change(ctx, func(w *putting) error { return w.thaw(ctx, s, h, keep) }); err != nil {
		return err
	}
	if err := s.archiveHour(ctx, h); err != nil {
		return err
	}
	_, err := s.cool(ctx, h)
	return err
}

// removeOrphan removes the file of an hour of which the database has nothing.
func (s *SQLite) removeOrphan(ctx context.Context, h int64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var any bool
	err := s.writer.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM hours WHERE at = ?)`, h).Scan(&any)
	if err != nil || any {
		return err
	}
	return s.archive.Remove(h)
}

// change is a transaction of its own.
func (s *SQLite) change(ctx context.Context, do func(*putting) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.transact(ctx, do)
}
