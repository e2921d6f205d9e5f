package coding

import "io"

// source is what a library pulls from: what came, and then it waits for more.
type source struct {
	in     []byte
	taken  int64
	ended  bool
	wait   func() bool // until there is more, or the end; false if there will be neither
	closed bool
}

// next is what came and was not taken yet, at least a byte. Its error is io.EOF or
// ErrClosed.
func (s *source) next() ([]byte, error) {
	for len(s.in) == 0 {
		if s.closed {
			return nil, ErrClosed
		}
		if s.ended {
			return nil, io.EOF
		}
		s.closed = !s.wait()
	}
	return s.in, nil
}

// over says that there is nothing more.
func (s *source) over() bool { return len(s.in) == 0 && (s.ended || s.closed) }

func (s *source) take(n int) {
	s.in = s.in[n:]
	s.taken += int64(n)
}

func (s *source) Read(p []byte) (int, error) {
	in, err := s.next()
	if err != nil {
		return 0, err
	}
	n := copy(p, in)
	s.take(n)
	return n, nil
}

// ReadByte lets deflate take no byte behind its end.
func (s *source) ReadByte() (byte, error) {
	in, err := s.next()
	if err != nil {
		return 0, err
	}
	c := in[0]
	s.take(1)
	return c, nil
}
