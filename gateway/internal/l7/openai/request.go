package openai

import (
	"math"
	"math/bits"
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// request reads the content of a request.
type request struct {
	scan    jsonscan.Scanner
	schema  *schema
	asks    [1]inspect.Ask
	err     error
	settled bool

	limited bool
	limit   int64 // of tokens; -1 for no limit
	choices int64 // the most that were named; 0 if none were
	prompts int64
	tool    offer
}

// offer is a tool that is being read.
type offer struct{ name, kind string }

// Write takes a piece of the content.
func (r *request) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.scan.Write(p)
	if r.scan.Whole() {
		r.settle()
	}
	if err != nil {
		r.err = inspect.Scanned(err)
	}
	return n, r.err
}

// End says that the content is whole.
func (r *request) End() error {
	if r.err == nil {
		if err := r.scan.End(); err != nil {
			r.err = inspect.Scanned(err)
		} else {
			r.settle()
		}
	}
	r.settled = true
	return r.err
}

// Asks is always one.
func (r *request) Asks() []inspect.Ask { return r.asks[:] }

// Settled is true where the JSON text has ended: until then, a limit may come.
func (r *request) Settled() bool { return r.settled }

// settle says of what did not come that it is not there.
func (r *request) settle() {
	if r.settled {
		return
	}
	r.settled = true
	r.offered()
	ask := &r.asks[0]
	if ask.Streamed == inspect.Unknown {
		ask.Streamed = inspect.No
	}
	if r.limit >= 0 {
		ask.MaxTokens = times(times(r.limit, max(r.choices, 1)), max(r.prompts, 1))
	}
}

// times is a product, or the most that there is.
func times(a, b int64) int64 {
	high, low := bits.Mul64(uint64(a), uint64(b))
	if high != 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low)
}

// requestHandler is a request that is told of values, which is not for others to
// do.
type requestHandler request

var _ jsonscan.Handler = (*requestHandler)(nil)

func (h *requestHandler) Value(path int, kind jsonscan.Kind, text []byte) error {
	r := (*request)(h)
	switch r.schema.Is[path] {
	case document:
		if kind != jsonscan.Object {
			return inspect.Unreadable("the content is no JSON object", nil)
		}
	case model:
		return r.readModel(kind, text)
	case stream:
		return r.readStream(kind)
	case limit:
		return r.readLimit(kind, text)
	case choices:
		return r.readChoices(kind, text)
	case prompt:
		if kind == jsonscan.String || kind == jsonscan.Array {
			r.prompts++
		}
	case tool:
		r.offered()
	case toolName:
		r.readTool(kind, text)
	case toolType:
		if kind == jsonscan.String {
			r.tool.kind = short(text)
		}
	}
	return nil
}

func (r *request) readModel(kind jsonscan.Kind, text []byte) error {
	ask := &r.asks[0]
	switch name := string(text); {
	case kind != jsonscan.String:
		return inspect.Unreadable("model is not a string", nil)
	case !inspect.Nameable(name):
		return inspect.Unreadable("model is too long, or has control characters", nil)
	case ask.Model != "" && ask.Model != name:
		return inspect.Ambiguous("the content names another model than the path or the query", nil)
	default:
		ask.Model = name
		return nil
	}
}

func (r *request) readStream(kind jsonscan.Kind) error {
	switch kind {
	case jsonscan.True:
		r.asks[0].Streamed = inspect.Yes
	case jsonscan.False, jsonscan.Null:
		r.asks[0].Streamed = inspect.No
	default:
		return inspect.Unreadable("stream is not a boolean", nil)
	}
	return nil
}

// readLimit takes one of the names of a limit. Some servers take one below zero
// for none.
func (r *request) readLimit(kind jsonscan.Kind, text []byte) error {
	if kind == jsonscan.Null {
		return nil
	}
	n, err := whole(kind, text)
	switch {
	case err != nil:
		return inspect.Unreadable("a limit of tokens is not a whole number", nil)
	case r.limited && n != r.limit:
		return inspect.Ambiguous("two limits of tokens differ", nil)
	}
	r.limit, r.limited = n, true
	return nil
}

// readChoices takes how many answers are to be made, of which not all need be
// given.
func (r *request) readChoices(kind jsonscan.Kind, text []byte) error {
	if kind == jsonscan.Null {
		return nil
	}
	n, err := whole(kind, text)
	if err != nil || n < 1 {
		return inspect.Unreadable("n or best_of is not a number of choices", nil)
	}
	r.choices = max(r.choices, n)
	return nil
}

// whole is a number that every reader takes for the same whole one.
func whole(kind jsonscan.Kind, text []byte) (int64, error) {
	if kind != jsonscan.Number {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(string(text), 10, 64)
}

func (r *request) readTool(kind jsonscan.Kind, text []byte) {
	if kind != jsonscan.String {
		return
	}
	if r.tool.name != "" {
		r.offered()
	}
	r.tool.name = short(text)
}

// offered tells of the tool that was read: by its type, if it has no name.
func (r *request) offered() {
	name := r.tool.name
	if name == "" {
		name = r.tool.kind
	}
	r.tool = offer{}
	ask := &r.asks[0]
	if name != "" && len(ask.Offered) < inspect.MaxOffered {
		ask.Offered = append(ask.Offered, name)
	}
}

// short is a text, or "" if it is too long to be told.
func short(text []byte) string {
	if len(text) > inspect.MaxText {
		return ""
	}
	return string(text)
}
