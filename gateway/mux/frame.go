// Package mux is the wire format of the TCP carrier and its state machine: how
// many streams share one connection between two gateways. FORMAT.md is the
// format as a document. The package is pure: it reads and writes no connection,
// starts no goroutine and asks no clock; package tcptunnel does that around it.
//
// One invariant holds: whatever bytes a peer sends, no more is remembered or
// granted for it than the limits that were announced to it, and a peer that
// goes beyond them is told apart by a FaultError.
package mux

import (
	"encoding/binary"
	"fmt"
	"time"
)

const (
	// HeaderLen is the length of a frame's header.
	HeaderLen = 8
	// MaxPayload is the longest payload of a frame: its length has 16 bits. It
	// also bounds how long one stream can hold up the others.
	MaxPayload = 1<<16 - 1
	// MaxHeader is the longest crossing header in an OPEN frame.
	MaxHeader = 16 << 10
)

// Lengths of the payloads that have one length only.
const (
	resetLen  = 4
	windowLen = 4
	pingLen   = 16
	goAwayLen = 8
)

// Type of a frame.
type Type uint8

// The frame types. Numbers are part of the wire format.
const (
	Open   Type = 1 // opens a stream with a crossing's header
	Data   Type = 2 // bytes of a stream
	Reset  Type = 3 // ends both directions of a stream
	Window Type = 4 // grants credit: to a stream, or on stream 0 to the tunnel
	Ping   Type = 5 // asks for a PONG
	Pong   Type = 6 // answers a PING
	GoAway Type = 7 // the sender takes no more streams
)

// String is the type's name as FORMAT.md writes it.
func (t Type) String() string {
	switch t {
	case Open:
		return "OPEN"
	case Data:
		return "DATA"
	case Reset:
		return "RESET"
	case Window:
		return "WINDOW"
	case Ping:
		return "PING"
	case Pong:
		return "PONG"
	case GoAway:
		return "GOAWAY"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// FlagFin on a DATA frame ends the sender's direction. It is the only flag.
const FlagFin uint8 = 1

// Header of a frame.
type Header struct {
	Type   Type
	Flags  uint8
	Length int    // of the payload, in bytes
	Stream uint32 // 0 for the tunnel itself
}

// ParseHeader reads a frame's header from the first HeaderLen bytes of b, which
// must be there. All that can be judged without the payload is judged here, so
// that nothing is read or allocated for a frame that cannot be right. The error
// is a *FaultError.
func ParseHeader(b []byte) (Header, error) {
	h := Header{
		Type:   Type(b[0]),
		Flags:  b[1],
		Length: int(binary.BigEndian.Uint16(b[2:])),
		Stream: binary.BigEndian.Uint32(b[4:]),
	}
	allowed, shortest, longest := h.shape()
	switch {
	case longest < 0:
		return h, h.fault(UnknownType, "")
	case h.Flags&^allowed != 0:
		return h, h.fault(ReservedFlags, fmt.Sprintf("flags %#02x", h.Flags))
	case h.Length < shortest || h.Length > longest:
		return h, h.fault(BadLength, fmt.Sprintf("%d bytes", h.Length))
	case h.Type != Window && (h.Stream == 0) != (h.Type >= Ping):
		return h, h.fault(BadStream, "")
	}
	return h, nil
}

// shape is the flags and the lengths that a frame of this type may have.
func (h Header) shape() (flags uint8, shortest, longest int) {
	switch h.Type {
	case Open:
		return 0, 0, MaxHeader
	case Data:
		return FlagFin, 0, MaxPayload
	case Reset:
		return 0, resetLen, resetLen
	case Window:
		return 0, windowLen, windowLen
	case Ping, Pong:
		return 0, pingLen, pingLen
	case GoAway:
		return 0, goAwayLen, goAwayLen
	}
	return 0, 0, -1
}

func (h Header) fault(r Reason, detail string) *FaultError {
	return &FaultError{Reason: r, Type: h.Type, Stream: h.Stream, Detail: detail}
}

func appendHeader(b []byte, t Type, flags uint8, length int, stream uint32) []byte {
	b = append(b, byte(t), flags)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	return binary.BigEndian.AppendUint32(b, stream)
}

// AppendOpen appends an OPEN frame with a header of at most MaxHeader bytes.
func AppendOpen(b []byte, stream uint32, header []byte) []byte {
	return append(appendHeader(b, Open, 0, len(header), stream), header...)
}

// AppendData appends a DATA frame with at most MaxPayload bytes. fin ends the
// direction.
func AppendData(b []byte, stream uint32, p []byte, fin bool) []byte {
	var flags uint8
	if fin {
		flags = FlagFin
	}
	return append(appendHeader(b, Data, flags, len(p), stream), p...)
}

// PutDataHeader writes the header of a DATA frame with n bytes of payload into
// the HeaderLen bytes before them, so that what was read behind a gap of that
// length need not be copied.
func PutDataHeader(b []byte, stream uint32, n int) {
	appendHeader(b[:0], Data, 0, n, stream)
}

// AppendReset appends a RESET frame.
func AppendReset(b []byte, stream, code uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, Reset, 0, resetLen, stream), code)
}

// AppendWindow appends a WINDOW frame that grants credit in bytes, from 1 to
// MaxWindow; stream 0 is the tunnel.
func AppendWindow(b []byte, stream, credit uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, Window, 0, windowLen, stream), credit)
}

// Probe is the payload of PING and PONG.
type Probe struct {
	Opaque uint64    // chosen by the one that pings; the PONG repeats it
	Clock  time.Time // the sender's, to the nanosecond
}

// AppendPing appends a PING frame.
func AppendPing(b []byte, p Probe) []byte { return appendProbe(b, Ping, p) }

// AppendPong appends a PONG frame.
func AppendPong(b []byte, p Probe) []byte { return appendProbe(b, Pong, p) }

func appendProbe(b []byte, t Type, p Probe) []byte {
	b = binary.BigEndian.AppendUint64(appendHeader(b, t, 0, pingLen, 0), p.Opaque)
	return binary.BigEndian.AppendUint64(b, uint64(p.Clock.UnixNano()))
}

func parseProbe(p []byte) Probe {
	return Probe{
		Opaque: binary.BigEndian.Uint64(p),
		Clock:  time.Unix(0, int64(binary.BigEndian.Uint64(p[8:]))),
	}
}

// AppendGoAway appends a GOAWAY frame. last is the highest stream of the peer
// that the sender has taken.
func AppendGoAway(b []byte, last uint32, r Reason) []byte {
	b = binary.BigEndian.AppendUint32(appendHeader(b, GoAway, 0, goAwayLen, 0), last)
	return binary.BigEndian.AppendUint32(b, uint32(r))
}
