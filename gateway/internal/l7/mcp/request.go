package mcp

import (
	"bytes"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// space is what may stand between the tokens of JSON.
const space = " \t\r\n"

// request reads what a client posts.
type request struct {
	scan    jsonscan.Scanner
	ask     inspect.Ask // of which nothing is known but what the head says
	batches bool        // there may be several messages
	batch   bool        // and there are
	begun   bool
	ended   bool
	message message
	asks    []inspect.Ask
	one     [1]inspect.Ask // the room of asks for one
	err     error
}

var _ inspect.Request = (*request)(nil)

func newRequest(head *l7.RequestHead, ask inspect.Ask) *request {
	r := &request{ask: ask, batches: batches(head.Fields)}
	if why := unlike(head.Fields); why != "" {
		r.err = inspect.Unreadable(why, nil)
	}
	return r
}

func (r *request) Write(p []byte) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	if !r.begun {
		n = len(p) - len(bytes.TrimLeft(p, space))
		if n == len(p) {
			return n, nil
		}
		r.begin(p[n])
	}
	if r.err == nil {
		used, err := r.scan.Write(p[n:])
		if n += used; err != nil {
			r.err = inspect.Scanned(err)
		}
	}
	return n, r.err
}

// begin chooses what to look for by the first byte that is not space.
func (r *request) begin(c byte) {
	switch {
	case c != '[':
		r.scan.Reset(onePaths, (*reader)(r))
	case r.batches:
		r.batch = true
		r.scan.Reset(batchPaths, (*reader)(r))
	default:
		r.err = inspect.Unreadable("this version has no batches", nil)
	}
	r.begun = true
}

func (r *request) End() error {
	switch {
	case r.err != nil:
	case !r.begun:
		r.err = inspect.Unreadable("there is no message", nil)
	default:
		if err := r.scan.End(); err != nil {
			r.err = inspect.Scanned(err)
		} else if len(r.asks) == 0 {
			r.err = inspect.Unreadable("a batch is empty", nil)
		}
	}
	r.ended = true
	return r.err
}

func (r *request) Asks() []inspect.Ask {
	if r.batch && !r.ended {
		return nil
	}
	return r.asks
}

func (r *request) Settled() bool { return r.ended || !r.batch && len(r.asks) > 0 }

// reader is a request that is told of values, which is not for others to do.
type reader request

var _ jsonscan.Ender = (*reader)(nil)

func (r *reader) Value(place int, kind jsonscan.Kind, text []byte) error {
	if place == document {
		return r.beginMessage(kind)
	}
	if err := r.message.value(place, kind, text); err != nil {
		return err
	}
	if r.message.told && !r.batch {
		r.tell()
	}
	return nil
}

func (r *reader) beginMessage(kind jsonscan.Kind) error {
	switch {
	case kind != jsonscan.Object:
		return inspect.Unreadable("a message is no object", nil)
	case len(r.asks) == inspect.MaxAsks:
		return inspect.Unreadable("a batch has too many messages", nil)
	}
	r.message = message{ask: r.ask}
	return nil
}

// tell gives what is known of the only message.
func (r *reader) tell() {
	r.one[0] = r.message.ask
	r.asks = r.one[:]
}

func (r *reader) End(place int) error {
	if place != document {
		return nil
	}
	if err := r.message.end(); err != nil {
		return err
	}
	if r.batch {
		r.asks = append(r.asks, r.message.ask)
	} else {
		r.tell()
	}
	return nil
}
