package records

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

// A record can be put again with another time of opening, such as that of the half which
// came late, by a clock that is off by any time. What there is of it in a cold hour must be
// found then, and only its id is known. Nearly all crossings opened in the hour in which
// their id was made, or in the one before or after: they are looked for there. The others
// that are cold are strays, and the database has the hour of each. So an old hour is found
// however far it is; a stray costs some 50 bytes, and any other crossing nothing.

// madeIn is the hour in which a crossing's id was made, by its egress gateway's clock. It
// depends on the id alone: what is no UUIDv7 has an hour, too.
func madeIn(id string) int64 {
	made, err := crossing.ParseID(id)
	if err != nil {
		return 0
	}
	var milliseconds [8]byte
	copy(milliseconds[2:], made[:6])
	return int64(binary.BigEndian.Uint64(milliseconds[:]) / (60 * 60 * 1000)) //nolint:gosec // of 48 bits
}

// isStray says that a crossing opened far from when its id was made.
func isStray(id string, h int64) bool {
	made := madeIn(id)
	return h < made-1 || h > made+1
}

// addStray says in which hour a crossing is.
func addStray(ctx context.Context, tx *sql.Tx, id string, h int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO strays VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, madeIn(id), mark(id), h)
	return err
}

// addStrays keeps those of a warm hour.
func (w *putting) addStrays(h int64) error {
	ctx := context.Background() // see putting
	rows, err := w.tx.QueryContext(ctx, `SELECT id FROM crossings WHERE opened >= ?1 * 3600000000 AND opened < (?1 + 1) * 3600000000`, h)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err has told
	var strays []string
	var id string
	for rows.Next() {
		if err := rows.Scan(&id); err != nil {
			return err
		}
		if isStray(id, h) {
			strays = append(strays, id)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range strays {
		if err := addStray(ctx, w.tx, id, h); err != nil {
			return err
		}
	}
	return nil
}

// mayBeIn are the cold hours in which there may be something of the rows, and of which of
// them. s.writing is held.
func (s *SQLite) mayBeIn(ctx context.Context, rows []*row) (map[int64][]*row, error) {
	may := map[int64][]*row{}
	for made, of := range grouped(rows, func(r *row) int64 { return madeIn(r.id) }) {
		for h := made - 1; h <= made+1; h++ {
			if s.coldNow(h) {
				may[h] = append(may[h], of...)
			}
		}
		if err := s.strays(ctx, made, of, may); err != nil {
			return nil, err
		}
	}
	return may, nil
}

// strays adds those hours in which rows whose ids were made in one hour are strays.
func (s *SQLite) strays(ctx context.Context, made int64, rows []*row, may map[int64][]*row) error {
	var any bool // none, nearly always
	if err := s.writer.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM strays WHERE made = ?)`, made).Scan(&any); err != nil || !any {
		return err
	}
	byMark := grouped(rows, func(r *row) int64 { return mark(r.id) })
	marks := make([]int64, 0, len(byMark))
	for m := range byMark {
		marks = append(marks, m)
	}
	asked, err := json.Marshal(marks)
	if err != nil {
		return err
	}
	found, err := s.writer.QueryContext(ctx, `SELECT crossing, hour FROM strays WHERE made = ? AND crossing IN (SELECT value FROM json_each(?))`, made, string(asked))
	if err != nil {
		return err
	}
	defer found.Close() //nolint:errcheck // found.Err has told
	for found.Next() {
		var m, h int64
		if err := found.Scan(&m, &h); err != nil {
			return err
		}
		may[h] = append(may[h], byMark[m]...)
	}
	return found.Err()
}

// grouped are rows by what a function says of each: the same of nearly all that lie beside
// one another.
func grouped(rows []*row, by func(*row) int64) map[int64][]*row {
	groups := map[int64][]*row{}
	for first := 0; first < len(rows); {
		group, next := by(rows[first]), first+1
		for next < len(rows) && by(rows[next]) == group {
			next++
		}
		groups[group] = append(groups[group], rows[first:next]...)
		first = next
	}
	return groups
}
