package records

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// pageSize is how many records are read at a time. Between two pages nothing is held
// open: a slow consumer keeps no write-ahead log from being folded in.
const pageSize = 1_000

// found is a record and its place.
type found struct {
	Place
	Joined
}

// reading is how far a question has been answered: from the oldest on, or from the
// newest back.
type reading struct {
	Query

	back bool
	left span   // in which the rest is
	last *Place // of what was read last, unless all of its tier was
	most int    // records in a page
}

// Find yields what matches. See Store.
func (s *SQLite) Find(ctx context.Context, q Query) iter.Seq2[Joined, error] {
	return func(yield func(Joined, error) bool) {
		at, err := q.Window.span()
		if err == nil {
			err = checkLimit(q.Limit)
		}
		if err != nil {
			yield(Joined{}, err)
			return
		}
		if q.Before != (Place{}) {
			at.until = min(at.until, q.Before.opened+1)
		}
		if q.Limit > 0 {
			s.newest(ctx, &reading{Query: q, back: true, left: at}, yield)
			return
		}
		for f, err := range s.pages(ctx, &reading{Query: q, left: at, most: pageSize}) {
			if !yield(f.Joined, err) {
				return
			}
		}
	}
}

// newest yields the last of what matches, which it holds all at once.
func (s *SQLite) newest(ctx context.Context, r *reading, yield func(Joined, error) bool) {
	r.most = min(r.Limit, pageSize)
	if !r.Asks.Any() { // most of what is read may not be meant
		r.most = pageSize
	}
	var all []Joined
	for f, err := range s.pages(ctx, r) {
		if err != nil {
			yield(Joined{}, err)
			return
		}
		if all = append(all, f.Joined); len(all) == r.Limit {
			break
		}
	}
	for _, j := range slices.Backward(all) {
		if !yield(j, nil) {
			return
		}
	}
}

// pages yields all that matches, page by page. Nothing is held while it asks what is to be
// left out.
func (s *SQLite) pages(ctx context.Context, r *reading) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		for r.left.since < r.left.until {
			page, err := s.page(ctx, r)
			if err != nil {
				yield(found{}, s.explain(err))
				return
			}
			for _, f := range page {
				switch {
				case r.Before != (Place{}) && f.Compare(r.Before) >= 0: // in the same microsecond
				case r.Without != nil && r.Without(f.Joined):
				case !yield(f, nil):
					return
				}
			}
		}
	}
}

// page reads some records, and takes them off what is left.
func (s *SQLite) page(ctx context.Context, r *reading) ([]found, error) {
	s.tiers.RLock()
	defer s.tiers.RUnlock()
	part, cold := s.part(r.left, r.back)
	if cold {
		return s.coldPage(ctx, r, part)
	}
	return hotPage(ctx, s.reader, r, part)
}

// database that can be read from: all of it, or as it was at one time.
type database interface {
	QueryContext(ctx context.Context, question string, args ...any) (*sql.Rows, error)
}

// hotPage is a page out of the database.
func hotPage(ctx context.Context, db database, r *reading, part span) ([]found, error) {
	where, args := r.where(part)
	order := ` ORDER BY opened, id, egress, ingress LIMIT ?`
	beyond := ` AND (opened, id, egress, ingress) > (?, ?, ?, ?)`
	if r.back {
		order = ` ORDER BY opened DESC, id DESC, egress DESC, ingress DESC LIMIT ?`
		beyond = ` AND (opened, id, egress, ingress) < (?, ?, ?, ?)`
	}
	if l := r.last; l != nil {
		where, args = where+beyond, append(args, l.opened, l.id, l.egress, l.ingress)
	}
	all, err := read(ctx, db, where+order, append(args, r.most))
	if err != nil {
		return nil, err
	}
	r.advance(all, len(all) < r.most, part)
	return slices.DeleteFunc(all, func(f found) bool { return !r.holds(f.Record) }), nil
}

// advance takes off what is left what was read of a part of it: all there is if done.
func (r *reading) advance(read []found, done bool, of span) {
	switch {
	case done && r.back:
		r.left.until, r.last = of.since, nil
	case done:
		r.left.since, r.last = of.until, nil
	default:
		last := read[len(read)-1].Place
		r.last = &last
		if r.back {
			r.left.until = last.opened + 1
		} else {
			r.left.since = last.opened
		}
	}
}

// where is the question's condition, and that of a few more for which holds says no.
// The text is made of constants only.
func (q Query) where(at span) (string, []any) {
	var b strings.Builder
	b.WriteString("opened >= ? AND opened < ?")
	args := []any{at.since, at.until}
	if q.ID != "" {
		b.WriteString(" AND id = ?")
		args = append(args, q.ID)
	}
	for _, c := range []struct{ condition, value string }{
		{"trace <> 0 AND trace = ?", q.Trace},
		{"origin = ?", q.From},
		{"target = ?", q.To},
		{"owner = ?", q.Owner},
		{"service = ?", q.Service},
	} {
		if c.value != "" {
			b.WriteString(" AND " + c.condition)
			args = append(args, mark(c.value))
		}
	}
	if q.Identity != "" {
		b.WriteString(" AND (source = ? OR destination = ?)")
		args = append(args, mark(q.Identity), mark(q.Identity))
	}
	if q.Denied {
		b.WriteString(" AND denied = 1")
	}
	if q.Allowed {
		b.WriteString(" AND denied = 0")
	}
	if q.Unmatched || unmatched(q.State) {
		b.WriteString(" AND unmatched = 1")
	}
	return b.String(), args
}

// holds says that every field but the window holds of a record.
func (q *Query) holds(r *crossingv1.Record) bool {
	c := ClassOf(r)
	is := func(asked, has string) bool { return asked == "" || asked == has }
	return is(q.ID, r.GetId()) && is(q.Trace, r.GetTrace()) && is(q.From, c.From) && is(q.To, c.To) && is(q.Owner, c.Owner) &&
		is(q.Service, r.GetOperation().GetService()) && (is(q.Identity, r.GetSource()) || is(q.Identity, r.GetDestination())) &&
		(!q.Denied || c.Denied) && !(q.Allowed && c.Denied) && (!q.Unmatched || unmatched(c.State)) &&
		(q.State == crossingv1.Record_STATE_UNSPECIFIED || q.State == c.State) && q.Asks.In(r.GetOperation())
}

// read runs a question.
func read(ctx context.Context, db database, where string, args []any) ([]found, error) {
	rows, err := db.QueryContext(ctx, `SELECT opened, id, egress, ingress, record FROM crossings WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err has told
	var all []found
	for rows.Next() {
		var f found
		var encoded []byte
		if err := rows.Scan(&f.opened, &f.id, &f.Place.egress, &f.Place.ingress, &encoded); err != nil {
			return nil, err
		}
		f.Joined = Joined{f.Place.egress, f.Place.ingress, &crossingv1.Record{}}
		if err := proto.Unmarshal(encoded, f.Record); err != nil {
			return nil, fmt.Errorf("crossing %q: %w: %w", f.id, err, ErrDamaged)
		}
		all = append(all, f)
	}
	return all, rows.Err()
}
