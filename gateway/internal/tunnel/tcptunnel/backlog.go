package tcptunnel

// usualBacklog is how many streams a backlog has room for once there was a need.
const usualBacklog = 64

// backlog is the streams that the peer has opened and nobody has accepted yet.
type backlog struct {
	streams []*stream
	taken   int // of them
}

func (b *backlog) len() int { return len(b.streams) - b.taken }

func (b *backlog) push(s *stream) {
	if len(b.streams) == cap(b.streams) && b.taken > b.len() {
		left := copy(b.streams, b.streams[b.taken:])
		clear(b.streams[left:])
		b.streams, b.taken = b.streams[:left], 0
	}
	b.streams = append(b.streams, s)
}

// pop takes the first of those that there are.
func (b *backlog) pop() *stream {
	s := b.streams[b.taken]
	b.streams[b.taken] = nil
	if b.taken++; b.len() == 0 {
		b.streams, b.taken = b.streams[:0], 0
		if cap(b.streams) > usualBacklog {
			b.streams = nil
		}
	}
	return s
}
