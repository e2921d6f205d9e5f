package records

import (
	"context"
	"database/sql"
	"errors"

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
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back, and before it the error is another
	w := &putting{tx: tx, changes: changes{}}
	if err := w.all(ctx, rows); err != nil {
		return err
	}
	if err := w.changes.write(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// putting is one transaction.
type putting struct {
	tx                     *sql.Tx
	lookUp, insert, remove *sql.Stmt
	changes                changes
}

func (w *putting) all(ctx context.Context, rows []*row) error {
	for text, stmt := range map[string]**sql.Stmt{lookUp: &w.lookUp, insert: &w.insert, remove: &w.remove} {
		var err error
		if *stmt, err = w.tx.PrepareContext(ctx, text); err != nil {
			return err
		}
		defer (*stmt).Close() //nolint:errcheck // it holds nothing that is not written
	}
	for _, r := range rows {
		if err := w.one(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// one puts a record in the place of what there was of it.
func (w *putting) one(ctx context.Context, r *row) error {
	number, old, err := w.old(ctx, r.key)
	switch {
	case err != nil:
		return err
	case old != nil && r.same(old.record):
		return nil
	case old != nil:
		if _, err := w.remove.ExecContext(ctx, number); err != nil {
			return err
		}
		w.changes.add(old, -1)
	}
	w.changes.add(r, 1)
	_, err = w.insert.ExecContext(ctx, r.opened, r.id, r.egress, r.ingress, r.trace, r.source, r.destination, r.service,
		r.class.From, r.class.To, r.class.Owner, r.class.Denied, int32(r.class.State),
		r.bytes.request, r.bytes.response, r.unmatched(), r.record)
	return err
}

// old is what is kept of a crossing, as far as it counts; nil if nothing is.
func (w *putting) old(ctx context.Context, k key) (number int64, old *row, err error) {
	old = &row{key: k}
	var state int32
	err = w.lookUp.QueryRowContext(ctx, k.id, k.egress, k.ingress).Scan(&number, &old.opened,
		&old.class.From, &old.class.To, &old.class.Owner, &old.class.Denied, &state, &old.bytes.request, &old.bytes.response, &old.record)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, nil
	}
	old.class.State = crossingv1.Record_State(state)
	return number, old, err
}
