package api

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxTalkers bounds how many are asked for.
const maxTalkers = 1000

// Counts counts what crossed. Package records says what each means.
type Counts interface {
	Matrix(ctx context.Context, w records.Window) ([]records.Cell, error)
	Talkers(ctx context.Context, from, to string, w records.Window, n int) ([]records.Talker, error)
}

// GetMatrix counts what crossed, and who talked most.
func (c *crossings) GetMatrix(ctx context.Context, req *controlv1.GetMatrixRequest) (*controlv1.GetMatrixResponse, error) {
	if req.GetTalkers() > maxTalkers {
		return nil, invalid("talkers: %d are too many, ask for %d at most", req.GetTalkers(), maxTalkers)
	}
	w := records.WindowOf(req.GetSince(), req.GetUntil())
	if !w.Until.IsZero() && w.Until.Before(w.Since) {
		return nil, invalid("until is before since")
	}
	counts := c.config.Counts
	if counts == nil {
		counts = counted{c.config.Records}
	}
	cells, err := counts.Matrix(ctx, w)
	if err != nil {
		return nil, err
	}
	resp := new(controlv1.GetMatrixResponse)
	pairs := map[[2]string]bool{}
	for _, cell := range cells {
		pairs[[2]string{cell.From, cell.To}] = true
		resp.Cells = append(resp.Cells, &controlv1.MatrixCell{
			From: cell.From, To: cell.To, Owner: cell.Owner, Denied: cell.Denied, State: cell.State,
			Crossings: cell.Crossings, RequestBytes: cell.RequestBytes, ResponseBytes: cell.ResponseBytes,
		})
	}
	resp.Talkers, err = loudest(ctx, counts, pairs, w, int(req.GetTalkers()))
	return resp, err
}

// loudest are the talkers of all transitions with the most bytes.
func loudest(ctx context.Context, counts Counts, pairs map[[2]string]bool, w records.Window, n int) ([]*controlv1.Talker, error) {
	if n == 0 {
		return nil, nil
	}
	type talker struct {
		records.Talker
		pair [2]string
	}
	var all []talker
	for pair := range pairs {
		talkers, err := counts.Talkers(ctx, pair[0], pair[1], w, n)
		if err != nil {
			return nil, err
		}
		for _, t := range talkers {
			all = append(all, talker{t, pair})
		}
	}
	slices.SortFunc(all, func(a, b talker) int { return louder(a.Talker, b.Talker) })
	var first []*controlv1.Talker
	for _, t := range all[:min(n, len(all))] {
		first = append(first, &controlv1.Talker{
			From: t.pair[0], To: t.pair[1], Source: t.Source, Destination: t.Destination, Crossings: t.Crossings, Denied: t.Denied,
			RequestBytes: t.RequestBytes, ResponseBytes: t.ResponseBytes,
		})
	}
	return first, nil
}

// louder has those with the most bytes first, then with the most crossings, then by name.
func louder(a, b records.Talker) int {
	return cmp.Or(cmp.Compare(b.RequestBytes+b.ResponseBytes, a.RequestBytes+a.ResponseBytes), cmp.Compare(b.Crossings, a.Crossings),
		cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination))
}

// counted counts the records that are in memory: for who has no store, as of a mesh that
// is stopped.
type counted struct{ records Records }

// each calls f with each record of a time.
func (c counted) each(ctx context.Context, w records.Window, f func(*crossingv1.Record)) error {
	w.Since = w.Since.Truncate(time.Minute)
	if !w.Until.IsZero() {
		w.Until = w.Until.Add(time.Minute - 1).Truncate(time.Minute)
	}
	return c.records.List(ctx, &controlv1.ListCrossingsRequest{}, func(j records.Joined) error {
		opened := crossing.Opened(j.Record).AsTime()
		if !opened.Before(w.Since) && (w.Until.IsZero() || opened.Before(w.Until)) {
			f(j.Record)
		}
		return nil
	})
}

// Matrix implements Counts.
func (c counted) Matrix(ctx context.Context, w records.Window) ([]records.Cell, error) {
	sums := map[records.Class]records.Counts{}
	err := c.each(ctx, w, func(r *crossingv1.Record) {
		class := records.ClassOf(r)
		sums[class] = plus(sums[class], r)
	})
	cells := make([]records.Cell, 0, len(sums))
	for class, sum := range sums {
		cells = append(cells, records.Cell{Class: class, Counts: sum})
	}
	slices.SortFunc(cells, func(a, b records.Cell) int { return a.Compare(b.Class) })
	return cells, err
}

// plus adds a record: as the egress gateway counted it, or the ingress gateway where there
// is no more.
func plus(c records.Counts, r *crossingv1.Record) records.Counts {
	end := r.GetEgress()
	if end == nil {
		end = r.GetIngress()
	}
	return records.Counts{Crossings: c.Crossings + 1, RequestBytes: c.RequestBytes + end.GetRequestBytes(), ResponseBytes: c.ResponseBytes + end.GetResponseBytes()}
}

// Talkers implements Counts.
func (c counted) Talkers(ctx context.Context, from, to string, w records.Window, n int) ([]records.Talker, error) {
	sums := map[[2]string]*records.Talker{}
	err := c.each(ctx, w, func(r *crossingv1.Record) {
		if r.GetTransition().GetFrom() != from || r.GetTransition().GetTo() != to {
			return
		}
		key := [2]string{r.GetSource(), r.GetDestination()}
		t := sums[key]
		if t == nil {
			t = &records.Talker{Source: key[0], Destination: key[1]}
			sums[key] = t
		}
		if t.Counts = plus(t.Counts, r); records.ClassOf(r).Denied {
			t.Denied++
		}
	})
	all := make([]records.Talker, 0, len(sums))
	for t := range maps.Values(sums) {
		all = append(all, *t)
	}
	slices.SortFunc(all, louder)
	return all[:min(n, len(all))], err
}
