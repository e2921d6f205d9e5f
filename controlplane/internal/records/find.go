package records

import (
	"context"
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

// place is where a record stands in the order of an answer.
type place struct {
	opened int64
	key
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
		if q.Limit > 0 {
			s.newest(ctx, q, at, yield)
			return
		}
		s.every(ctx, q, at, yield)
	}
}

// newest yields the last of what matches, which it holds all at once.
func (s *SQLite) newest(ctx context.Context, q Query, at span, yield func(Joined, error) bool) {
	where, args := q.where(at)
	found, _, err := s.page(ctx, where+` ORDER BY opened DESC, id DESC, egress DESC, ingress DESC LIMIT ?`, append(args, q.Limit))
	if err != nil {
		yield(Joined{}, err)
		return
	}
	for _, j := range slices.Backward(found) {
		if !yield(j, nil) {
			return
		}
	}
}

// every yields all that matches, page by page.
func (s *SQLite) every(ctx context.Context, q Query, at span, yield func(Joined, error) bool) {
	where, args := q.where(at)
	const order = ` ORDER BY opened, id, egress, ingress LIMIT ?`
	text, full := where+order, append(slices.Clip(args), pageSize)
	for {
		found, last, err := s.page(ctx, text, full)
		if err != nil {
			yield(Joined{}, err)
			return
		}
		for _, j := range found {
			if !yield(j, nil) {
				return
			}
		}
		if len(found) < pageSize {
			return
		}
		text = where + ` AND opened >= ? AND (opened, id, egress, ingress) > (?, ?, ?, ?)` + order
		full = append(slices.Clip(args), last.opened, last.opened, last.id, last.egress, last.ingress, pageSize)
	}
}

// where is the question's condition. The text is made of constants only.
func (q Query) where(at span) (string, []any) {
	var b strings.Builder
	b.WriteString("opened >= ? AND opened < ?")
	args := []any{at.since, at.until}
	for _, c := range []struct{ condition, value string }{
		{"id = ?", q.ID},
		{"trace <> '' AND trace = ?", q.Trace},
		{"origin = ?", q.From},
		{"target = ?", q.To},
		{"owner = ?", q.Owner},
		{"service = ?", q.Service},
	} {
		if c.value != "" {
			b.WriteString(" AND " + c.condition)
			args = append(args, c.value)
		}
	}
	if q.Identity != "" {
		b.WriteString(" AND (source = ? OR destination = ?)")
		args = append(args, q.Identity, q.Identity)
	}
	if q.Denied {
		b.WriteString(" AND denied = 1")
	}
	if q.Unmatched {
		b.WriteString(" AND unmatched = 1")
	}
	return b.String(), args
}

// page reads some records, and where the last of them stands.
func (s *SQLite) page(ctx context.Context, where string, args []any) ([]Joined, place, error) {
	rows, err := s.reader.QueryContext(ctx, `SELECT opened, id, egress, ingress, record FROM crossings WHERE `+where, args...)
	if err != nil {
		return nil, place{}, s.explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err has told
	var all []Joined
	var last place
	for rows.Next() {
		var encoded []byte
		if err := rows.Scan(&last.opened, &last.id, &last.egress, &last.ingress, &encoded); err != nil {
			return nil, place{}, s.explain(err)
		}
		r := &crossingv1.Record{}
		if err := proto.Unmarshal(encoded, r); err != nil {
			return nil, place{}, s.explain(fmt.Errorf("crossing %q: %w: %w", last.id, err, ErrDamaged))
		}
		all = append(all, Joined{Egress: last.egress, Ingress: last.ingress, Record: r})
	}
	return all, last, s.explain(rows.Err())
}
