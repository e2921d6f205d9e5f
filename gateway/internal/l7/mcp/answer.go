package mcp

import (
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/agree"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// shape is what the content of an answer looks like.
type shape uint8

const (
	other shape = iota // no SDK reads it, but for an error
	asJSON
	asEvents
	either // readers may take it for more than one of them
)

// shaped is what an answer's head says of its content.
func shaped(head *l7.ResponseHead) shape {
	types, utf8 := agree.Types(head.Fields)
	is := other
	for _, media := range types {
		switch {
		case agree.IsJSON(media):
			is = max(is, asJSON)
		case media == "text/event-stream":
			is = max(is, asEvents)
		}
	}
	if is != other && (len(types) > 1 || !utf8) {
		return either
	}
	return is
}

// MayShorten says that less of an answer may go on than came, since something may be
// left out. It must not have a content-length then, nor be in a content coding: whoever
// has rules asks the server for none.
//
// Whatever was asked for, an answer may have a list in it: an SDK takes one for the
// answer to any of its requests, by its id, also out of another one's stream.
func (Protocol) MayShorten(head *l7.ResponseHead, rules *inspect.Rules) bool {
	return rules != nil && shaped(head) != other
}

// Answer begins to read what a server answers. What was asked for does not matter: see
// MayShorten.
func (Protocol) Answer(_ []inspect.Ask, head *l7.ResponseHead, rules *inspect.Rules) inspect.Answer {
	switch is := shaped(head); {
	case is == asJSON:
		return newBody(rules)
	case is == asEvents:
		return newStream(rules)
	case is == either && rules != nil:
		b := newBody(rules)
		b.err = inspect.Ambiguous("the answer has more than one type, or is not in UTF-8", nil)
		return b
	}
	return nil
}

// body is an answer of JSON.
type body struct {
	sieve sieve
	said  inspect.Said
	err   error
}

var _ inspect.Answer = (*body)(nil)

func newBody(rules *inspect.Rules) *body {
	b := &body{said: inspect.NewSaid()}
	b.sieve.reset(rules, &b.said, false)
	return b
}

func (b *body) Said() *inspect.Said { return &b.said }

func (b *body) Pass(p []byte) ([]byte, error) {
	if b.sieve.rules == nil {
		if b.err == nil {
			b.err = b.sieve.write(p, true)
		}
		return p, nil
	}
	b.sieve.out = b.sieve.out[:0]
	if b.err == nil {
		b.err = b.sieve.write(p, true)
	}
	return b.given()
}

func (b *body) End() ([]byte, error) {
	b.sieve.out = b.sieve.out[:0]
	if b.err == nil {
		b.err = b.sieve.end()
	}
	if b.sieve.rules == nil {
		return nil, nil
	}
	return b.given()
}

// given is what goes on, unless something is wrong.
func (b *body) given() ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.sieve.out, nil
}
