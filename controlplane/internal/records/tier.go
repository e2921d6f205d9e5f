package records

import (
	"context"
	"database/sql"
	"iter"
	"maps"
	"slices"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/archive"
)

// An hour is in one of two tiers. That of a warm hour is the database: its file in the
// archive, if there is one, is a copy. That of a cold hour is the file: of its records
// the database has the counts by the hour, which are strays, and nothing else.

const hourly = minute * hour // microseconds

// part of what is left that is in one tier: the first, or the last if back.
// s.tiers is held.
func (s *SQLite) part(left span, back bool) (part span, cold bool) {
	if back {
		return s.lastPart(left)
	}
	h := floor(left.since, hourly)
	i, cold := slices.BinarySearch(s.cold, h)
	switch {
	case cold:
		left.until = min(left.until, (h+1)*hourly)
	case i < len(s.cold):
		left.until = min(left.until, s.cold[i]*hourly)
	}
	return left, cold
}

func (s *SQLite) lastPart(left span) (part span, cold bool) {
	h := floor(left.until-1, hourly)
	i, cold := slices.BinarySearch(s.cold, h)
	switch {
	case cold:
		left.since = max(left.since, h*hourly)
	case i > 0:
		left.since = max(left.since, (s.cold[i-1]+1)*hourly)
	}
	return left, cold
}

func (s *SQLite) isCold(h int64) bool {
	s.tiers.RLock()
	defer s.tiers.RUnlock()
	_, cold := slices.BinarySearch(s.cold, h)
	return cold
}

// coldIn are the cold hours of a time. s.tiers is held.
func (s *SQLite) coldIn(at span) []int64 {
	if at.since >= at.until {
		return nil
	}
	from, _ := slices.BinarySearch(s.cold, floor(at.since, hourly))
	to, last := slices.BinarySearch(s.cold, floor(at.until-1, hourly))
	if last {
		to++
	}
	return s.cold[from:to]
}

// coldPage is a page out of the archive.
func (s *SQLite) coldPage(ctx context.Context, r *reading, part span) ([]found, error) {
	var page []found
	for e, err := range s.archive.Read(ctx, floor(part.since, hourly), r.want(part, r.back)) {
		if err != nil {
			return nil, err
		}
		f := foundOf(e)
		if r.last != nil && (r.back && f.Compare(*r.last) >= 0 || !r.back && f.Compare(*r.last) <= 0) || !r.holds(e.Record) {
			continue
		}
		if page = append(page, f); len(page) == r.most {
			break
		}
	}
	r.advance(page, len(page) < r.most, part)
	return page, nil
}

func foundOf(e archive.Entry) found {
	return found{
		Place{e.Opened, key{e.Record.GetId(), e.Egress, e.Ingress}},
		Joined{e.Egress, e.Ingress, e.Record},
	}
}

func (q *Query) want(at span, back bool) archive.Want {
	return archive.Want{
		Since: at.since, Until: at.until, ID: q.ID, Trace: q.Trace, Identity: q.Identity,
		From: q.From, To: q.To, Owner: q.Owner, Service: q.Service, Denied: q.Denied, Unmatched: q.Unmatched || unmatched(q.State), Back: back,
	}
}

// coldRows are the records of a cold hour.
func (s *SQLite) coldRows(ctx context.Context, w archive.Want, h int64) iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		w.Since, w.Until = max(w.Since, h*hourly), min(w.Until, (h+1)*hourly)
		for e, err := range s.archive.Read(ctx, h, w) {
			var r *row
			if err == nil {
				r, err = rowOf(foundOf(e).Joined)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// during is a want of all that opened in a time.
func during(at span) archive.Want { return archive.Want{Since: at.since, Until: at.until} }

// toThaw are the cold hours of which the archive does not have all of the rows as they
// are, or that have something else of one: an hour that it has come to open in since. The
// rows that the archive has as they are are taken out. s.writing is held.
func (s *SQLite) toThaw(ctx context.Context, rows []*row) (hours []int64, rest []*row, err error) {
	if len(s.cold) == 0 {
		return nil, rows, nil
	}
	thaw, known := map[int64]bool{}, map[int64]bool{}
	var others []*row
	for h, of := range grouped(rows, (*row).hour) {
		if s.coldNow(h) {
			if known[h], err = s.hasAll(ctx, h, of); err != nil {
				return nil, nil, err
			}
			thaw[h] = !known[h]
		}
		if !known[h] {
			others = append(others, of...)
		}
	}
	may, err := s.mayBeIn(ctx, others)
	if err != nil {
		return nil, nil, err
	}
	for h, of := range may {
		if thaw[h] {
			continue
		}
		if thaw[h], err = s.hasAny(ctx, h, of); err != nil {
			return nil, nil, err
		}
	}
	maps.DeleteFunc(thaw, func(_ int64, needed bool) bool { return !needed })
	rest = slices.DeleteFunc(rows, func(r *row) bool { return known[r.hour()] && !thaw[r.hour()] })
	return slices.Collect(maps.Keys(thaw)), rest, nil
}

// coldNow is isCold for who holds s.writing.
func (s *SQLite) coldNow(h int64) bool {
	_, cold := slices.BinarySearch(s.cold, h)
	return cold
}

// hasAny says that the archive has one of the crossings in that hour.
func (s *SQLite) hasAny(ctx context.Context, h int64, rows []*row) (bool, error) {
	meant := map[key]struct{}{}
	for _, r := range rows {
		meant[r.key] = struct{}{}
	}
	w := during(span{h * hourly, (h + 1) * hourly})
	if len(meant) == 1 {
		w.ID = rows[0].id
	}
	for r, err := range s.coldRows(ctx, w, h) {
		if err != nil {
			return false, err
		}
		if _, is := meant[r.key]; is {
			return true, nil
		}
	}
	return false, nil
}

// hasAll says that the archive has an hour's rows as they are.
func (s *SQLite) hasAll(ctx context.Context, h int64, rows []*row) (bool, error) {
	missing := map[key]*row{}
	for _, r := range rows {
		if other := missing[r.key]; other != nil && !other.same(r.record) {
			return false, nil
		}
		missing[r.key] = r
	}
	w := during(span{h * hourly, (h + 1) * hourly})
	if len(missing) == 1 {
		w.ID = rows[0].id
	}
	for has, err := range s.coldRows(ctx, w, h) {
		if err != nil {
			return false, err
		}
		if r := missing[has.key]; r != nil && r.same(has.record) {
			delete(missing, has.key)
		}
	}
	return len(missing) == 0, nil
}

// thaw takes a cold hour back into the database: those of its records that are kept.
func (w *putting) thaw(ctx context.Context, s *SQLite, h int64, keep func(*row) bool) error {
	if err := w.forget(h); err != nil {
		return err
	}
	w.stale[h] = struct{}{}
	for r, err := range s.coldRows(ctx, during(span{h * hourly, (h + 1) * hourly}), h) {
		if err != nil {
			return err
		}
		if !keep(r) {
			continue
		}
		if _, err := w.add(r); err != nil {
			return err
		}
	}
	return nil
}

// forget what there is of a cold hour here.
func (w *putting) forget(h int64) error {
	w.tiers[h] = false
	return w.run(h, `DELETE FROM hours WHERE at = ?`, `DELETE FROM cold WHERE hour = ?`, `DELETE FROM strays WHERE hour = ?`)
}

// run statements, each with one argument.
func (w *putting) run(arg int64, all ...string) error {
	for _, text := range all {
		if _, err := w.tx.Exec(text, arg); err != nil { //nolint:noctx // see putting
			return err
		}
	}
	return nil
}

// evict makes an hour cold whose file has all of its records.
func (w *putting) evict(h int64) error {
	w.tiers[h] = true
	if err := w.addStrays(h); err != nil {
		return err
	}
	return w.run(h, `INSERT INTO cold VALUES (?)`,
		`DELETE FROM crossings WHERE opened >= ?1 * 3600000000 AND opened < (?1 + 1) * 3600000000`,
		`DELETE FROM minutes WHERE at >= ?1 * 60 AND at < (?1 + 1) * 60`)
}

// commit the transaction, and what it changed of the tiers with it: no question sees
// one without the other.
func (s *SQLite) commit(w *putting) error {
	if len(w.tiers) == 0 {
		return w.tx.Commit()
	}
	s.tiers.Lock()
	defer s.tiers.Unlock()
	if err := w.tx.Commit(); err != nil {
		return err
	}
	cold := slices.DeleteFunc(slices.Clone(s.cold), func(h int64) bool { _, moved := w.tiers[h]; return moved })
	for h, isCold := range w.tiers {
		if isCold {
			cold = append(cold, h)
		}
	}
	slices.Sort(cold)
	s.cold = cold
	return nil
}

// adopt makes all that is in the archive cold hours of an empty database.
func adopt(ctx context.Context, tx *sql.Tx, a *archive.Archive) error {
	s := &SQLite{archive: a}
	for _, h := range a.Hours() {
		sums := changes{}
		for r, err := range s.coldRows(ctx, during(span{h * hourly, (h + 1) * hourly}), h) {
			if err != nil {
				return err
			}
			sums.add(r, 1)
			if !isStray(r.id, h) {
				continue
			}
			if err := addStray(ctx, tx, r.id, h); err != nil {
				return err
			}
		}
		if err := sums.hours().writeTo(ctx, tx, addHour, tidyHour); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO cold VALUES (?)`, h); err != nil {
			return err
		}
	}
	return nil
}
