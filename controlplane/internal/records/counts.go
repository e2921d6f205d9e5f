package records

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	minute = 60 * 1_000_000 // microseconds
	hour   = 60             // minutes
)

// cell is a class in one minute.
type cell struct {
	minute int64
	Class
}

// change of a cell's counts.
type change struct {
	crossings int64
	volume
}

// changes are what a transaction changes of the counts.
type changes map[cell]change

// add a record n times: once, or -1 times.
func (c changes) add(r *row, n int64) {
	at := cell{floor(r.opened, minute), r.class}
	d := c[at]
	d.crossings += n
	d.request += float64(n) * r.bytes.request
	d.response += float64(n) * r.bytes.response
	c[at] = d
}

// hours are the same changes by the hour.
func (c changes) hours() changes {
	sum := changes{}
	for at, d := range c {
		at.minute = floor(at.minute, hour)
		s := sum[at]
		s.crossings += d.crossings
		s.request += d.request
		s.response += d.response
		sum[at] = s
	}
	return sum
}

// write adds the changes to the tables.
func (c changes) write(ctx context.Context, tx *sql.Tx) error {
	if err := c.writeTo(ctx, tx, addMinute, tidyMinute); err != nil {
		return err
	}
	return c.hours().writeTo(ctx, tx, addHour, tidyHour)
}

func (c changes) writeTo(ctx context.Context, tx *sql.Tx, add, tidy string) error {
	adding, err := tx.PrepareContext(ctx, add)
	if err != nil {
		return err
	}
	defer adding.Close() //nolint:errcheck // it holds nothing that is not written
	for at, d := range c {
		if d == (change{}) {
			continue
		}
		if _, err := adding.ExecContext(ctx, at.minute, at.From, at.To, at.Owner, at.Denied, int32(at.State), d.crossings, d.request, d.response); err != nil {
			return err
		}
		if d.crossings >= 0 {
			continue
		}
		if _, err := tx.ExecContext(ctx, tidy, at.minute, at.From, at.To, at.Owner, at.Denied, int32(at.State)); err != nil {
			return err
		}
	}
	return nil
}

// matrix sums whole hours by the hour, and the minutes on either side of them.
const matrix = `SELECT origin, target, owner, denied, state, sum(crossings), sum(request), sum(response) FROM (
		SELECT * FROM hours WHERE at >= ?1 AND at < ?2
		UNION ALL SELECT * FROM minutes WHERE at >= ?3 AND at < ?4
		UNION ALL SELECT * FROM minutes WHERE at >= ?5 AND at < ?6
	) GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5`

// Matrix counts by class. See Store.
func (s *SQLite) Matrix(ctx context.Context, w Window) ([]Cell, error) {
	at, err := w.span()
	if err != nil {
		return nil, err
	}
	since, until := floor(at.since, minute), -floor(-at.until, minute)
	firstHour, lastHour := -floor(-since, hour), floor(until, hour)
	if firstHour > lastHour { // all within one hour
		firstHour = lastHour
	}
	before, after := firstHour*hour, lastHour*hour
	if firstHour == lastHour {
		before, after = until, until
	}
	rows, err := s.reader.QueryContext(ctx, matrix, firstHour, lastHour, since, before, after, until)
	if err != nil {
		return nil, s.explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err has told
	var all []Cell
	for rows.Next() {
		var c Cell
		var state int32
		var v volume
		if err := rows.Scan(&c.From, &c.To, &c.Owner, &c.Denied, &state, &c.Crossings, &v.request, &v.response); err != nil {
			return nil, s.explain(err)
		}
		c.State, c.Counts = crossingv1.Record_State(state), v.counts(c.Crossings)
		all = append(all, c)
	}
	return all, s.explain(rows.Err())
}

const talking = `SELECT source, destination, max(rowid), count(*), sum(request), sum(response), sum(denied)
	FROM crossings INDEXED BY crossings_transition
	WHERE origin = ? AND target = ? AND opened >= ? AND opened < ? GROUP BY 1, 2`

// talks are those of one source and destination. What they are called is looked up
// late: of few is it asked.
type talks struct {
	Talker
	volume

	row int64 // one of theirs, if the names are not there
}

// Talkers are those that speak most. See Store. It reads the records of the window:
// by source and destination there are about as many counts as records.
func (s *SQLite) Talkers(ctx context.Context, from, to string, w Window, n int) ([]Talker, error) {
	at, err := w.span()
	if err == nil {
		err = checkLimit(n)
	}
	if err != nil || n == 0 {
		return nil, err
	}
	sums, err := s.talking(ctx, from, to, at)
	if err != nil {
		return nil, s.explain(err)
	}
	all := slices.Collect(maps.Values(sums))
	slices.SortFunc(all, (*talks).compare)
	if n < len(all) { // and all that only a name can tell from the last
		more := slices.IndexFunc(all[n:], func(t *talks) bool { return t.compare(all[n-1]) != 0 })
		if more >= 0 {
			all = all[:n+more]
		}
	}
	return s.named(ctx, all, n)
}

func (t *talks) compare(o *talks) int {
	return cmp.Or(cmp.Compare(o.request+o.response, t.request+t.response), cmp.Compare(o.Crossings, t.Crossings))
}

// talking sums up, by the marks of source and destination.
func (s *SQLite) talking(ctx context.Context, from, to string, at span) (map[[2]int64]*talks, error) {
	rows, err := s.reader.QueryContext(ctx, talking, mark(from), mark(to), at.since, at.until)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err has told
	sums := map[[2]int64]*talks{}
	for rows.Next() {
		var pair [2]int64
		t := &talks{}
		if err := rows.Scan(&pair[0], &pair[1], &t.row, &t.Crossings, &t.request, &t.response, &t.Denied); err != nil {
			return nil, err
		}
		sums[pair] = t
	}
	return sums, rows.Err()
}

// named are the first n of them, with their names.
func (s *SQLite) named(ctx context.Context, all []*talks, n int) ([]Talker, error) {
	for _, t := range all {
		t.Counts = t.counts(t.Crossings)
		if t.row == 0 {
			continue
		}
		one, err := s.read(ctx, "rowid = ?", []any{t.row})
		if err != nil {
			return nil, s.explain(err)
		}
		if len(one) == 1 {
			t.Source, t.Destination = one[0].Record.GetSource(), one[0].Record.GetDestination()
		}
	}
	slices.SortFunc(all, func(a, b *talks) int {
		return cmp.Or(a.compare(b), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination))
	})
	talkers := make([]Talker, min(n, len(all)))
	for i := range talkers {
		talkers[i] = all[i].Talker
	}
	return talkers, nil
}

// floor of a division, before 1970 too.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
