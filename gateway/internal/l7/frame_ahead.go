package l7

import (
	"io"
	"slices"
)

// maxAhead is how many bytes of a direction are read before they are asked for.
const maxAhead = 64 << 10

// ahead reads frames from a stream, some of them before they are asked for.
type ahead struct {
	r    io.Reader
	room []byte // where held begins
	held []byte // read, and not given yet
}

func (a *ahead) Read(p []byte) (int, error) {
	if len(a.held) == 0 {
		return a.r.Read(p)
	}
	n := copy(p, a.held)
	a.held = a.held[n:]
	return n, nil
}

// fill reads what the stream gives without waiting, if it can say how much.
func (a *ahead) fill() {
	b, ok := a.r.(interface{ Buffered() int })
	if !ok {
		return
	}
	n := min(b.Buffered(), maxAhead-len(a.held))
	if n <= 0 {
		return
	}
	a.room = slices.Grow(append(a.room[:0], a.held...), n)
	n, _ = io.ReadFull(a.r, a.room[len(a.held):len(a.held)+n]) // an error comes again
	a.room = a.room[:len(a.held)+n]
	a.held = a.room
}

// Ready says that all the rest of the direction has come, so that reading it to
// its end does not wait. It says so only of a stream that can tell, and of up to
// 64 KiB.
func (fr *FrameReader) Ready() bool {
	if fr.ended {
		return true
	}
	fr.in.fill()
	if fr.data > len(fr.in.held) {
		return false
	}
	for rest := fr.in.held[fr.data:]; len(rest) >= frameHeader; {
		length := frameHeader + frameLength(rest)
		if Kind(rest[0]) != KindData {
			return Kind(rest[0]) == KindTrailers && length <= len(rest)
		}
		if length > len(rest) {
			return false
		}
		rest = rest[length:]
	}
	return false
}

func frameLength(header []byte) int {
	return int(header[1])<<16 | int(header[2])<<8 | int(header[3])
}
