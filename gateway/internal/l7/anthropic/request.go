package anthropic

import (
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// request reads the content of a request.
type request struct {
	scan    jsonscan.Scanner
	schema  *schema
	head    inspect.Ask // what the head says
	asks    []inspect.Ask
	queried string // the model that the query names
	err     error
	settled bool
	whole   bool

	first  int       // in asks: that for the message that is being read
	others []another // of that message
	last   another   // that is being read
}

// another is a model that a message may be given to, too.
type another struct {
	model   string
	max     int64 // of tokens
	inherit bool  // the message's limit, if it has none of its own
}

func newRequest(reads *schema, head inspect.Ask) *request {
	r := &request{schema: reads, head: head, last: another{max: -1}}
	r.scan.Reset(reads.Paths, (*requestHandler)(r))
	if !r.batch() {
		r.asks = []inspect.Ask{head}
	}
	return r
}

func (r *request) batch() bool { return r.head.Operation == CreateBatch }

// Write takes a piece of the content.
func (r *request) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.scan.Write(p)
	if err == nil && r.scan.Whole() && !r.batch() {
		err = r.settle()
	}
	if err != nil {
		r.err = inspect.Scanned(err)
	}
	return n, r.err
}

// End says that the content is whole.
func (r *request) End() error {
	if r.err == nil {
		err := r.scan.End()
		if err == nil {
			err = r.settle()
		}
		if err != nil {
			r.err = inspect.Scanned(err)
		}
	}
	r.settled = true
	return r.err
}

// Asks has that of the message first, and then those of other models; of a batch,
// those of each message in turn.
func (r *request) Asks() []inspect.Ask {
	if r.batch() && !r.whole {
		return nil
	}
	return r.asks
}

// Settled is true where the JSON text has ended: until then, another model may come.
func (r *request) Settled() bool { return r.settled }

// settle says of what did not come that it is not there.
func (r *request) settle() error {
	if r.settled {
		return nil
	}
	if err := r.endMessage(); err != nil {
		return err
	}
	if len(r.asks) == 0 { // a batch of nothing
		r.asks = []inspect.Ask{r.head}
	}
	r.settled, r.whole = true, true
	return nil
}

// beginItem goes on to the next message of a batch.
func (r *request) beginItem(is jsonscan.Kind) error {
	if is != jsonscan.Object {
		return inspect.Unreadable("an item of the batch is no object", nil)
	}
	if err := r.endMessage(); err != nil {
		return err
	}
	r.first = len(r.asks)
	return r.add(r.head)
}

func (r *request) add(ask inspect.Ask) error {
	if len(r.asks) == inspect.MaxAsks {
		return inspect.Unreadable("it asks for more than can be told", nil)
	}
	r.asks = append(r.asks, ask)
	return nil
}

// endMessage tells of what one message asks for beyond its own model.
func (r *request) endMessage() error {
	if r.first == len(r.asks) {
		return nil // there is none yet
	}
	message := &r.asks[r.first]
	if r.queried != "" && message.Model != r.queried {
		return inspect.Ambiguous("the query names another model than the content", nil)
	}
	if message.Streamed == inspect.Unknown {
		message.Streamed = inspect.No
	}
	if err := r.endOther(); err != nil {
		return err
	}
	for _, o := range r.others {
		ask := inspect.NewAsk()
		ask.Operation, ask.Streamed = message.Operation, message.Streamed
		ask.Model, ask.MaxTokens = o.model, o.max
		if o.inherit && o.max < 0 {
			ask.MaxTokens = r.asks[r.first].MaxTokens
		}
		if err := r.add(ask); err != nil {
			return err
		}
	}
	r.others = r.others[:0]
	return nil
}

// beginBackups takes models to fall back to, or a word for those that the service
// chooses.
func (r *request) beginBackups(is jsonscan.Kind, text []byte) error {
	switch {
	case is == jsonscan.Array, is == jsonscan.Null:
		return nil
	case is == jsonscan.String && string(text) == Default:
		if err := r.beginOther(true); err != nil {
			return err
		}
		r.last.model = Default
		return nil
	default:
		return inspect.Unreadable("fallbacks is neither an array nor default", nil)
	}
}

// beginOther goes on to what may name another model.
func (r *request) beginOther(inherit bool) error {
	err := r.endOther()
	r.last.inherit = inherit
	return err
}

// endOther keeps what was read of another model.
func (r *request) endOther() error {
	if r.last.model != "" {
		if len(r.others) == inspect.MaxAsks {
			return inspect.Unreadable("it asks for more than can be told", nil)
		}
		r.others = append(r.others, r.last)
	}
	r.last = another{max: -1}
	return nil
}

// readModel is a model's name.
func readModel(is jsonscan.Kind, text []byte) (string, error) {
	name := string(text)
	switch {
	case is != jsonscan.String:
		return "", inspect.Unreadable("model is not a string", nil)
	case !inspect.Nameable(name):
		return "", inspect.Unreadable("model is too long, or has control characters", nil)
	default:
		return name, nil
	}
}

// readLimit is a number of tokens that every reader takes for the same; -1 if there
// is none.
func readLimit(is jsonscan.Kind, text []byte) (int64, error) {
	if is == jsonscan.Null {
		return -1, nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if is != jsonscan.Number || err != nil || n < 0 {
		return -1, inspect.Unreadable("max_tokens is no whole number of tokens", nil)
	}
	return n, nil
}

// readStream takes null for what is not there. The API's specification does not
// allow it, and no reader takes it for true.
func readStream(is jsonscan.Kind) (inspect.Truth, error) {
	switch is {
	case jsonscan.True:
		return inspect.Yes, nil
	case jsonscan.False, jsonscan.Null:
		return inspect.No, nil
	default:
		return inspect.Unknown, inspect.Unreadable("stream is not a boolean", nil)
	}
}
