package mcp

import (
	"bytes"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/sse"
)

// stream is an answer of events, each of which has a message, or a batch of them, for
// its data, whatever its name.
type stream struct {
	sieve  sieve
	said   inspect.Said
	parser sse.Parser
	in     []byte // that is passed now
	base   int64  // its place in the stream
	done   int    // how much of it was taken
	cr     bool   // the last byte was a CR
	err    error
}

var _ inspect.Answer = (*stream)(nil)

func newStream(rules *inspect.Rules) *stream {
	s := &stream{said: inspect.NewSaid()}
	s.parser.Reset((*listener)(s))
	s.sieve.reset(rules, &s.said, true)
	return s
}

func (s *stream) Said() *inspect.Said { return &s.said }

func (s *stream) Pass(p []byte) ([]byte, error) {
	s.sieve.out = s.sieve.out[:0]
	s.in, s.base, s.done = p, s.parser.Offset(), 0
	if s.err == nil && s.sieve.rules != nil {
		s.err = s.bareCR(p)
	}
	if s.err == nil {
		_, s.err = s.parser.Write(p)
	}
	s.in = nil
	switch {
	case s.sieve.rules == nil:
		return p, nil
	case s.err == nil:
		s.err = s.sieve.frame(p[s.done:])
	}
	if s.err != nil {
		return nil, s.err
	}
	if s.sieve.mode == unknown {
		s.sieve.alive()
	}
	return s.sieve.out, nil
}

// bareCR refuses a CR that ends a line alone: Go's SDK finds no end there, and so
// another message than who goes by the standard.
func (s *stream) bareCR(p []byte) error {
	for rest := p; len(rest) > 0; {
		if s.cr && rest[0] != '\n' {
			return inspect.Ambiguous("a line of an event ends with CR alone", nil)
		}
		i := bytes.IndexByte(rest, '\r')
		if s.cr = i >= 0; !s.cr {
			return nil
		}
		rest = rest[i+1:]
	}
	return nil
}

// End takes what is behind the last blank line for an event too: there are readers who
// do.
func (s *stream) End() ([]byte, error) {
	s.sieve.out = s.sieve.out[:0]
	if s.err == nil {
		s.err = s.sieve.end()
	}
	switch {
	case s.sieve.rules == nil:
		return nil, nil
	case s.err != nil:
		return nil, s.err
	}
	return s.sieve.out, nil
}

// listener is a stream that is told of events, which is not for others to do.
type listener stream

var _ sse.Handler = (*listener)(nil)

func (s *listener) Data(piece []byte) error {
	if piece[0] == '\n' {
		return s.write(piece, false)
	}
	at := int(s.parser.At() - s.base)
	if err := s.sieve.frame(s.in[s.done:at]); err != nil {
		return err
	}
	s.done = at + len(piece)
	return s.write(piece, true)
}

// write has the sieve take a piece. Who only looks looks no further into what is no
// message, and goes on with the next event.
func (s *listener) write(piece []byte, stands bool) error {
	err := s.sieve.write(piece, stands)
	if err != nil && s.sieve.rules == nil {
		s.sieve.mode = gone
		return nil
	}
	return err
}

func (s *listener) Block(b *sse.Block) error {
	end := int(b.To - s.base)
	if err := s.sieve.frame(s.in[s.done:end]); err != nil {
		return err
	}
	s.done = end
	v := &s.sieve
	if v.mode == gone && v.rules != nil {
		v.out = append(v.out, '\n') // where a byte order mark may not come to begin the stream
	}
	if err := v.end(); err != nil && v.rules != nil {
		return err
	}
	v.reset(v.rules, v.said, true)
	return nil
}
