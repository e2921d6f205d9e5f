package mux

import (
	"encoding/binary"
	"fmt"
)

const (
	// ALPN is the protocol's name in a TLS handshake.
	ALPN = "sallyport/1"
	// Version of the protocol.
	Version = 1
	// PrefaceLen is the length of the preface, which each end sends first.
	PrefaceLen = 24

	magic = "sallyprt"
)

const (
	// MinWindow is the smallest window that may be announced: less than one
	// frame's worth would be a crawl.
	MinWindow = 64 << 10
	// MaxWindow is the largest credit that an end may hold at a time.
	MaxWindow = 1<<31 - 1
	// MaxStreamLimit is the largest number of streams that may be announced.
	MaxStreamLimit = 1 << 20
)

// The classes of a connection's traffic.
const (
	ClassInteractive uint8 = 0
	ClassBulk        uint8 = 1
)

// Settings are what an end announces in its preface: what it takes from the
// other one, and what the connection is for.
type Settings struct {
	Class        uint8  // of traffic, as the dialler says and the acceptor repeats
	Generation   uint16 // of the process, which tells it from others of the same gateway
	StreamWindow uint32 // bytes that each new stream may send before it gets credit
	TunnelWindow uint32 // bytes that all streams together may send before that
	MaxStreams   uint32 // streams that the other end may have open
}

// Check says what is wrong with settings.
func (s Settings) Check() error {
	for _, w := range [...]uint32{s.StreamWindow, s.TunnelWindow} {
		if w < MinWindow || w > MaxWindow {
			return fmt.Errorf("window of %d bytes is not within %d and %d", w, MinWindow, MaxWindow)
		}
	}
	if s.Class > ClassBulk {
		return fmt.Errorf("unknown class %d", s.Class)
	}
	if s.MaxStreams > MaxStreamLimit {
		return fmt.Errorf("limit of %d streams is above %d", s.MaxStreams, MaxStreamLimit)
	}
	return nil
}

// AppendPreface appends the preface that announces s.
func AppendPreface(b []byte, s Settings) []byte {
	b = append(b, magic...)
	b = append(b, Version, s.Class)
	b = binary.BigEndian.AppendUint16(b, s.Generation)
	b = binary.BigEndian.AppendUint32(b, s.StreamWindow)
	b = binary.BigEndian.AppendUint32(b, s.TunnelWindow)
	return binary.BigEndian.AppendUint32(b, s.MaxStreams)
}

// ParsePreface reads a preface of PrefaceLen bytes. The error is a *FaultError.
func ParsePreface(b []byte) (Settings, error) {
	bad := func(detail string) (Settings, error) {
		return Settings{}, &FaultError{Reason: BadPreface, Detail: detail}
	}
	if len(b) != PrefaceLen || string(b[:len(magic)]) != magic {
		return bad("no magic")
	}
	if b[8] != Version {
		return bad(fmt.Sprintf("version %d, this end speaks %d", b[8], Version))
	}
	s := Settings{
		Class:        b[9],
		Generation:   binary.BigEndian.Uint16(b[10:]),
		StreamWindow: binary.BigEndian.Uint32(b[12:]),
		TunnelWindow: binary.BigEndian.Uint32(b[16:]),
		MaxStreams:   binary.BigEndian.Uint32(b[20:]),
	}
	if err := s.Check(); err != nil {
		return bad(err.Error())
	}
	return s, nil
}
