package anthropic

import (
	"bytes"
	"math"
	"slices"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// Bounds of what is told of a batch's results.
const (
	maxModels = 128            // bytes of the names of all models, joined
	maxSum    = math.MaxUint32 // tokens: a record tells no more
)

// results are an answer of JSON Lines: of each message of a batch, what became of it
// (Message Batches API, Retrieve Message Batch results). What all of them cost is summed
// as they pass. SDKs look at no content type, and end a line at LF, CR or both.
//
// Until all lines were read, what they have in output is no report: it is Counted. It
// stays so if one of them does not say what it cost.
type results struct {
	said   inspect.Said
	reader reader
	begun  bool     // the line has more than space
	partly bool     // a line did not say what it cost
	models []string // in the order in which they came
	untold bool     // there are more models than can be told, or one has no name
}

func newResults(said inspect.Said) *results { return &results{said: said} }

// Said is what was found in the lines so far.
func (r *results) Said() *inspect.Said { return &r.said }

// Pass reads p, and gives it.
func (r *results) Pass(p []byte) ([]byte, error) {
	rest := p
	for end := bytes.IndexAny(rest, "\r\n"); end >= 0; end = bytes.IndexAny(rest, "\r\n") {
		r.piece(rest[:end])
		r.endLine()
		rest = rest[end+1:]
	}
	r.piece(rest)
	return p, nil
}

// End tells of the last line, which need not end, and that there is no more.
func (r *results) End() ([]byte, error) {
	r.endLine()
	if !r.partly {
		r.said.Tokens.Output = r.said.Tokens.Counted
	}
	return nil, nil
}

// piece takes a piece of a line. A line of space is none.
func (r *results) piece(p []byte) {
	if !r.begun {
		if p = bytes.TrimLeft(p, " \t"); len(p) == 0 {
			return
		}
		r.begun = true
		r.reader.begin(resultLines, &r.said)
	}
	r.reader.write(p)
}

// endLine takes what a line says, if it is one JSON text.
func (r *results) endLine() {
	if !r.begun {
		return
	}
	r.begun = false
	if !r.reader.end() {
		r.partly = true
		return
	}
	f := &r.reader.found
	if f.kind != costlessText {
		r.partly = r.partly || f.counts.input < 0 || f.counts.output < 0
		r.tellModel(f.model)
	}
	r.add(f.counts)
}

// add sums what a message cost. One that was not answered cost nothing.
func (r *results) add(c counts) {
	var cost inspect.Tokens
	c.tell(&cost)
	sum := &r.said.Tokens
	for _, n := range [...]struct {
		at   *int64
		more int64
	}{
		{&sum.Input, max(cost.Input, 0)},
		{&sum.Counted, max(cost.Output, 0)},
		{&sum.CacheRead, cost.CacheRead},
		{&sum.CacheWritten, cost.CacheWritten},
		{&sum.Reasoning, cost.Reasoning},
	} {
		if n.more >= 0 {
			*n.at = min(max(*n.at, 0)+n.more, maxSum)
		}
	}
}

// tellModel takes the model that answered a message. All are told, or none: what they
// cost is what the dearest of them costs.
func (r *results) tellModel(model string) {
	if r.untold || slices.Contains(r.models, model) {
		return
	}
	r.models = append(r.models, model)
	r.said.Model = strings.Join(r.models, ",")
	if model == "" || len(r.said.Model) > maxModels {
		r.said.Model, r.untold = "", true
	}
}
