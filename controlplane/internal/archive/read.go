package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Want says which records of an hour are meant: those for which every field that is
// set holds.
type Want struct {
	// Since and Until bound the opening, in microseconds since 1970: included, and
	// excluded.
	Since, Until int64
	// ID and Trace are found by Bloom filters.
	ID, Trace string
	// Identity is the source or the destination.
	Identity string
	// From, To, Owner and Service are as in the record.
	From, To, Owner, Service string
	// Denied and Unmatched records alone.
	Denied, Unmatched bool
	// Back is from the newest to the oldest.
	Back bool
}

// asked is what of a line is looked at before the rest of it is read.
type asked struct {
	Opened      int64  `parquet:"opened,delta,timestamp(microsecond)"`
	ID          string `parquet:"id,delta"`
	Trace       string `parquet:"trace,delta"`
	From        string `parquet:"from,dict"`
	To          string `parquet:"to,dict"`
	Owner       string `parquet:"owner,dict"`
	Service     string `parquet:"service,dict"`
	Source      string `parquet:"source,dict"`
	Destination string `parquet:"destination,dict"`
	State       string `parquet:"state,dict"`
	Denied      bool   `parquet:"denied"`
}

func (l *line) asked() *asked {
	return &asked{l.Opened, l.ID, l.Trace, l.From, l.To, l.Owner, l.Service, l.Source, l.Destination, l.State, l.Denied}
}

func (w *Want) holds(a *asked) bool {
	is := func(asked, has string) bool { return asked == "" || asked == has }
	return a.Opened >= w.Since && a.Opened < w.Until && is(w.ID, a.ID) && is(w.Trace, a.Trace) &&
		is(w.From, a.From) && is(w.To, a.To) && is(w.Owner, a.Owner) && is(w.Service, a.Service) &&
		(is(w.Identity, a.Source) || is(w.Identity, a.Destination)) && (!w.Denied || a.Denied) && (!w.Unmatched || unmatched(a.State))
}

func unmatched(state string) bool {
	return state == crossingv1.Record_ONE_SIDED.String() || state == crossingv1.Record_DISAGREE.String()
}

// Read yields the records of an hour that are meant, in the order in which they were
// written, or the other way round. The first read of a file in a process compares it
// with its digest. After an error it yields no more.
func (a *Archive) Read(ctx context.Context, hour int64, w Want) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		n, ok := a.name(hour)
		if !ok {
			yield(Entry{}, fmt.Errorf("%w: %s of %q", ErrMissing, name{hour: hour}, a.dir))
			return
		}
		err := a.read(ctx, n, w, func(e Entry) bool { return yield(e, nil) })
		if err != nil && ctx.Err() == nil {
			err = a.explain(n, err)
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// read gives what is meant, until that wants no more.
func (a *Archive) read(ctx context.Context, n name, w Want, give func(Entry) bool) error {
	a.mu.Lock()
	_, checked := a.checked[n]
	a.mu.Unlock()
	if !checked {
		if err := a.check(n); err != nil {
			return err
		}
	}
	file, err := os.Open(a.path(n))
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	p, err := parquet.OpenFile(file, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(w.ID == "" && w.Trace == ""))
	if err != nil {
		return err
	}
	groups := slices.Clone(p.RowGroups())
	if w.Back {
		slices.Reverse(groups)
	}
	for _, g := range groups {
		if more, err := readGroup(ctx, g, w, give); !more || err != nil {
			return err
		}
	}
	return nil
}

// readGroup gives what is meant of a row group, and says whether more is wanted.
func readGroup(ctx context.Context, g parquet.RowGroup, w Want, give func(Entry) bool) (more bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if may, err := mayHold(g, w); !may || err != nil {
		return true, err
	}
	meant, err := choose(g, w)
	if err != nil || len(meant) == 0 {
		return true, err
	}
	rows := parquet.NewGenericRowGroupReader[line](g)
	defer rows.Close() //nolint:errcheck // it was only read
	for len(meant) > 0 {
		run := firstRun(meant, w.Back)
		meant = meant[len(run):]
		more, err := giveRun(rows, run, w, give)
		if !more || err != nil {
			return more, err
		}
	}
	return true, nil
}

// mayHold asks the bounds and the Bloom filters.
func mayHold(g parquet.RowGroup, w Want) (bool, error) {
	if least, most, ok := opened(g); ok && (most < w.Since || least >= w.Until) {
		return false, nil
	}
	for _, c := range g.ColumnChunks() {
		value := map[string]string{"id": w.ID, "trace": w.Trace}[g.Schema().Columns()[c.Column()][0]]
		filter := c.BloomFilter()
		if value == "" || filter == nil {
			continue
		}
		if may, err := filter.Check(parquet.ByteArrayValue([]byte(value))); !may || err != nil {
			return false, err
		}
	}
	return true, nil
}

// askedID and askedTrace are what is looked at first where few can be meant.
type (
	askedID struct {
		ID string `parquet:"id,delta"`
	}
	askedTrace struct {
		Trace string `parquet:"trace,delta"`
	}
)

// choose says which rows can be meant, in the order of the answer, by as few columns
// as will do.
func choose(g parquet.RowGroup, w Want) (meant []int64, err error) {
	switch {
	case w.all(g):
		meant = everyRow(g.NumRows())
	case w.ID != "":
		meant, err = chooseBy(g, func(a *askedID) bool { return a.ID == w.ID })
	case w.Trace != "":
		meant, err = chooseBy(g, func(a *askedTrace) bool { return a.Trace == w.Trace })
	default:
		meant, err = chooseBy(g, w.holds)
	}
	if w.Back {
		slices.Reverse(meant)
	}
	return meant, err
}

// chooseBy reads the columns of T.
func chooseBy[T any](g parquet.RowGroup, holds func(*T) bool) ([]int64, error) {
	rows := parquet.NewGenericRowGroupReader[T](g)
	defer rows.Close() //nolint:errcheck // it was only read
	var meant []int64
	var at int64
	for batch := make([]T, min(batchRows, g.NumRows())); ; {
		n, err := rows.Read(batch)
		for i := range batch[:n] {
			if holds(&batch[i]) {
				meant = append(meant, at+int64(i))
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return meant, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// all says that every row of the group is meant, as far as its bounds tell.
func (w Want) all(g parquet.RowGroup) bool {
	least, most, ok := opened(g)
	bare := Want{Since: w.Since, Until: w.Until, Back: w.Back}
	return w == bare && ok && least >= w.Since && most < w.Until
}

// opened are the bounds of a group's openings.
func opened(g parquet.RowGroup) (least, most int64, ok bool) {
	for _, c := range g.ColumnChunks() {
		chunk, isFile := c.(*parquet.FileColumnChunk)
		if isFile && g.Schema().Columns()[c.Column()][0] == "opened" {
			a, b, ok := chunk.Bounds()
			return a.Int64(), b.Int64(), ok
		}
	}
	return 0, 0, false
}

func everyRow(n int64) []int64 {
	all := make([]int64, n)
	for i := range all {
		all[i] = int64(i)
	}
	return all
}

// firstRun are the first rows that lie beside one another, few enough to read at once.
func firstRun(meant []int64, back bool) []int64 {
	step := int64(1)
	if back {
		step = -1
	}
	n := 1
	for n < len(meant) && n < batchRows && meant[n] == meant[n-1]+step {
		n++
	}
	return meant[:n]
}

// giveRun reads rows that lie beside one another.
func giveRun(rows *parquet.GenericReader[line], run []int64, w Want, give func(Entry) bool) (more bool, err error) {
	if err := rows.SeekToRow(min(run[0], run[len(run)-1])); err != nil {
		return false, err
	}
	lines := make([]line, len(run))
	for read := 0; read < len(lines); {
		n, err := rows.Read(lines[read:])
		if read += n; read < len(lines) && err != nil {
			return false, err
		}
	}
	if run[0] > run[len(run)-1] {
		slices.Reverse(lines)
	}
	for i := range lines {
		if !w.holds(lines[i].asked()) {
			continue
		}
		e, err := lines[i].entry()
		if err != nil {
			return false, err
		}
		if !give(e) {
			return false, nil
		}
	}
	return true, nil
}
