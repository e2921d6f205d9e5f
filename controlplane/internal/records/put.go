package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Put keeps records. See Store.
func (s *SQLite) Put(ctx context.Context, all []Joined) error {
	rows := make([]*row, len(all))
	for i, j := range all {
		r, err := rowOf(j)
		if err != nil {
			return err
		}
		rows[i] = r
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.explain(s.put(ctx, rows))
}

func (s *SQLite) put(ctx context.Context, rows []*row) error {
	thaw, rows, err := s.toThaw(ctx, rows)
	if err != nil || len(rows) == 0 {
		return err
	}
	return s.transact(ctx, func(w *putting) error {
		for _, h := range thaw {
			if err := w.thaw(ctx, s, h, func(*row) bool { return true }); err != nil {
				return err
			}
		}
		for _, r := range rows {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.one(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// putting is one transaction. Its statements are not told of the caller's context,
// which would cost each of them a goroutine: what it does is short.
type putting struct {
	tx                     *sql.Tx
	lookUp, insert, remove *sql.Stmt
	changes                changes
	stale                  map[int64]struct{} // hours that changed
	tiers                  map[int64]bool     // hours that got cold, or are not any more
}

// transact does everything or nothing. s.writing is held.
func (s *SQLite) transact(ctx context.Context, do func(*putting) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	tx, err := s.writer.Begin() //nolint:noctx // see putting
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back, and before it the error is another
	w := &putting{tx: tx, changes: changes{}, stale: map[int64]struct{}{}, tiers: map[int64]bool{}}
	for text, stmt := range map[string]**sql.Stmt{lookUp: &w.lookUp, insert: &w.insert, remove: &w.remove} {
		if *stmt, err = tx.Prepare(text); err != nil { //nolint:noctx // see putting
			return err
		}
		defer (*stmt).Close() //nolint:errcheck // it holds nothing that is not written
	}
	if err := do(w); err != nil {
		return err
	}
	if err := w.finish(ctx); err != nil {
		return err
	}
	return s.commit(w)
}

// finish writes what follows from the rows.
func (w *putting) finish(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	for h := range w.stale {
		if _, err := w.tx.ExecContext(ctx, addStale, h); err != nil {
			return err
		}
	}
	return w.changes.write(ctx, w.tx)
}

// one puts a record in the place of what there was of it.
func (w *putting) one(r *row) error {
	inserted, err := w.add(r)
	if err != nil || inserted {
		return err
	}
	number, old, err := w.old(r.key)
	if err != nil || r.same(old.record) {
		return err
	}
	if _, err := w.remove.Exec(number); err != nil { //nolint:noctx // see putting
		return err
	}
	w.count(old, -1)
	_, err = w.add(r)
	return err
}

// add a row, unless there is one with its key.
func (w *putting) add(r *row) (bool, error) {
	done, err := w.insert.Exec(r.columns()...) //nolint:noctx // see putting
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	if n == 0 || err != nil {
		return false, err
	}
	w.count(r, 1)
	return true, nil
}

// count a row that came or went.
func (w *putting) count(r *row, n int64) {
	w.changes.add(r, n)
	w.stale[r.hour()] = struct{}{}
}

// old is what is kept of a crossing.
func (w *putting) old(k key) (number int64, old *row, err error) {
	var encoded []byte
	err = w.lookUp.QueryRow(k.id, k.gateways()).Scan(&number, &encoded) //nolint:noctx // see putting
	if err != nil {
		return 0, nil, err
	}
	r := &crossingv1.Record{}
	if err := proto.Unmarshal(encoded, r); err != nil {
		return 0, nil, fmt.Errorf("crossing %q: %w: %w", k.id, err, ErrDamaged)
	}
	old, err = rowOf(Joined{k.egress, k.ingress, r})
	if errors.Is(err, ErrInvalid) {
		err = fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return number, old, err
}
