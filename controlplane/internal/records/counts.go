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

const (
	fromHours   = `SELECT origin, target, owner, denied, state, sum(crossings), sum(request), sum(response) FROM hours` + duringThose
	fromMinutes = `SELECT origin, target, owner, denied, state, sum(crossings), sum(request), sum(response) FROM minutes` + duringThose
	duringThose = ` WHERE at >= ? AND at < ? GROUP BY 1, 2, 3, 4, 5`
)

// Matrix counts by class. See Store. It sums whole hours by the hour, and the minutes
// on either side of them.
func (s *SQLite) Matrix(ctx context.Context, w Window) ([]Cell, error) {
	at, err := w.span()
	if err != nil {
		return nil, err
	}
	s.tiers.RLock()
	defer s.tiers.RUnlock()
	since, until := floor(at.since, minute), -floor(-at.until, minute)
	firstHour, lastHour := -floor(-since, hour), floor(until, hour)
	sums := sums{}
	if firstHour > lastHour { // all within one hour
		err = s.sumMinutes(ctx, sums, span{since, until})
	} else {
		err = cmp.Or(s.sumMinutes(ctx, sums, span{since, firstHour * hour}),
			s.sum(ctx, sums, fromHours, span{firstHour, lastHour}),
			s.sumMinutes(ctx, sums, span{lastHour * hour, until}))
	}
	if err != nil {
		return nil, s.explain(err)
	}
	return sums.cells(), nil
}

// sums are counts by class.
type sums map[Class]change

func (s *SQLite) sum(ctx context.Context, to sums, question string, at span) error {
	rows, err := s.reader.QueryContext(ctx, question, at.since, at.until)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err has told
	for rows.Next() {
		var c Class
		var state int32
		var d change
		if err := rows.Scan(&c.From, &c.To, &c.Owner, &c.Denied, &state, &d.crossings, &d.request, &d.response); err != nil {
			return err
		}
		c.State = crossingv1.Record_State(state)
		to.add(c, d)
	}
	return rows.Err()
}

// sumMinutes of an hour, of which not all are asked for.
func (s *SQLite) sumMinutes(ctx context.Context, to sums, at span) error {
	asked := span{at.since * minute, at.until * minute}
	for _, h := range s.coldIn(asked) {
		for r, err := range s.coldRows(ctx, during(asked), h) {
			if err != nil {
				return err
			}
			to.add(r.class, change{1, r.bytes})
		}
	}
	return s.sum(ctx, to, fromMinutes, at)
}

func (s sums) add(c Class, d change) {
	was := s[c]
	s[c] = change{was.crossings + d.crossings, volume{was.request + d.request, was.response + d.response}}
}

func (s sums) cells() []Cell {
	var all []Cell
	for c, d := range s {
		all = append(all, Cell{c, d.counts(uint64(d.crossings))}) //nolint:gosec // never negative
	}
	slices.SortFunc(all, func(a, b Cell) int { return a.Compare(b.Class) })
	return all
}

// Compare in the order of the fields.
func (c Class) Compare(o Class) int {
	return cmp.Or(cmp.Compare(c.From, o.From), cmp.Compare(c.To, o.To), cmp.Compare(c.Owner, o.Owner),
		cmp.Compare(one(c.Denied), one(o.Denied)), cmp.Compare(c.State, o.State))
}

// one if true, else none.
func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
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
	s.tiers.RLock()
	defer s.tiers.RUnlock()
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, s.explain(err)
	}
	defer tx.Rollback() //nolint:errcheck // it was only read
	sums, err := talkingIn(ctx, tx, from, to, at)
	if err != nil {
		return nil, s.explain(err)
	}
	if err := s.talkingOnce(ctx, sums, from, to, at); err != nil {
		return nil, s.explain(err)
	}
	talkers, err := named(ctx, tx, loudest(sums, n), n)
	return talkers, s.explain(err)
}

// talkingIn sums up what is in the database, by the marks of source and destination.
func talkingIn(ctx context.Context, db database, from, to string, at span) (map[[2]int64]*talks, error) {
	rows, err := db.QueryContext(ctx, talking, mark(from), mark(to), at.since, at.until)
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

// talkingOnce adds what is in the archive.
func (s *SQLite) talkingOnce(ctx context.Context, sums map[[2]int64]*talks, from, to string, at span) error {
	want := during(at)
	want.From, want.To = from, to
	for _, h := range s.coldIn(at) {
		for r, err := range s.coldRows(ctx, want, h) {
			if err != nil {
				return err
			}
			if r.class.From != from || r.class.To != to { // one of them is empty
				continue
			}
			pair := [2]int64{mark(r.joined.GetSource()), mark(r.joined.GetDestination())}
			if sums[pair] == nil {
				sums[pair] = &talks{}
			}
			sums[pair].add(r)
		}
	}
	return nil
}

func (t *talks) add(r *row) {
	t.row, t.Source, t.Destination = 0, r.joined.GetSource(), r.joined.GetDestination()
	t.Crossings++
	t.request += r.bytes.request
	t.response += r.bytes.response
	t.Denied += one(r.class.Denied)
}

// loudest are n of them, and those that only a name can tell from the last.
func loudest(sums map[[2]int64]*talks, n int) []*talks {
	all := slices.Collect(maps.Values(sums))
	slices.SortFunc(all, (*talks).compare)
	if n >= len(all) {
		return all
	}
	more := slices.IndexFunc(all[n:], func(t *talks) bool { return t.compare(all[n-1]) != 0 })
	if more < 0 {
		return all
	}
	return all[:n+more]
}

func (t *talks) compare(o *talks) int {
	return cmp.Or(cmp.Compare(o.request+o.response, t.request+t.response), cmp.Compare(o.Crossings, t.Crossings))
}

// named are the first n of them, with their names.
func named(ctx context.Context, db database, all []*talks, n int) ([]Talker, error) {
	for _, t := range all {
		t.Counts = t.counts(t.Crossings)
		if t.row == 0 {
			continue
		}
		one, err := read(ctx, db, "rowid = ?", []any{t.row})
		if err != nil || len(one) != 1 {
			return nil, cmp.Or(err, sql.ErrNoRows)
		}
		t.Source, t.Destination = one[0].Record.GetSource(), one[0].Record.GetDestination()
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
