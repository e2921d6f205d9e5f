package http2

import (
	"encoding/binary"
	"fmt"
)

const (
	preface     = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // RFC 9113 3.4
	headerLen   = 9
	frameSize   = 16 << 10 // the longest payload at first, and what this end takes
	largeFrame  = 64 << 10 // the longest payload that this end sends to a peer that takes it
	firstWindow = 65535    // of each stream and of the connection, until told otherwise
	maxWindow   = 1<<31 - 1
	maxStream   = 1<<31 - 1
)

// kind is a frame type (RFC 9113 6).
type kind uint8

const (
	kindData         kind = 0x0
	kindHeaders      kind = 0x1
	kindPriority     kind = 0x2
	kindReset        kind = 0x3
	kindSettings     kind = 0x4
	kindPushPromise  kind = 0x5
	kindPing         kind = 0x6
	kindGoAway       kind = 0x7
	kindWindow       kind = 0x8
	kindContinuation kind = 0x9
)

var kindNames = [...]string{
	"DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION",
}

func (k kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("frame type %#x", uint8(k))
}

const (
	flagAck        = 0x1 // SETTINGS, PING
	flagEndStream  = 0x1 // DATA, HEADERS
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// header is what stands before each frame's payload.
type header struct {
	length int
	kind   kind
	flags  uint8
	stream uint32
}

func (h header) has(flag uint8) bool { return h.flags&flag != 0 }

// parseHeader reads a header; b has headerLen bytes. The reserved bit is ignored
// (RFC 9113 4.1).
func parseHeader(b []byte) header {
	return header{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   kind(b[3]),
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxStream,
	}
}

func appendHeader(b []byte, h header) []byte {
	b = append(b, byte(h.length>>16), byte(h.length>>8), byte(h.length), byte(h.kind), h.flags)
	return binary.BigEndian.AppendUint32(b, h.stream)
}

// putHeader writes a header over the first bytes of b.
func putHeader(b []byte, h header) { appendHeader(b[:0], h) }

func appendData(b []byte, stream uint32, p []byte, end bool) []byte {
	h := header{length: len(p), kind: kindData, stream: stream}
	if end {
		h.flags = flagEndStream
	}
	return append(appendHeader(b, h), p...)
}

func appendReset(b []byte, stream uint32, code Code) []byte {
	b = appendHeader(b, header{length: 4, kind: kindReset, stream: stream})
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendWindow(b []byte, stream, credit uint32) []byte {
	b = appendHeader(b, header{length: 4, kind: kindWindow, stream: stream})
	return binary.BigEndian.AppendUint32(b, credit)
}

func appendPing(b []byte, flags uint8, opaque uint64) []byte {
	b = appendHeader(b, header{length: 8, kind: kindPing, flags: flags})
	return binary.BigEndian.AppendUint64(b, opaque)
}

func appendGoAway(b []byte, last uint32, code Code) []byte {
	b = appendHeader(b, header{length: 8, kind: kindGoAway})
	b = binary.BigEndian.AppendUint32(b, last)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendSettings(b []byte, settings ...setting) []byte {
	b = appendHeader(b, header{length: len(settings) * settingLen, kind: kindSettings})
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.id))
		b = binary.BigEndian.AppendUint32(b, s.value)
	}
	return b
}

func appendSettingsAck(b []byte) []byte {
	return appendHeader(b, header{kind: kindSettings, flags: flagAck})
}

// unpad takes the padding of HEADERS off (RFC 9113 6.2).
func unpad(h header, p []byte) ([]byte, error) {
	if !h.has(flagPadded) {
		return p, nil
	}
	if len(p) == 0 || int(p[0]) > len(p)-1 {
		return nil, broken(ProtocolError, "%s on stream %d is padding beyond its length", h.kind, h.stream)
	}
	return p[1 : len(p)-int(p[0])], nil
}

// unprioritise takes the priority fields of HEADERS off, which RFC 9113 5.3.2
// gives no meaning any more.
func unprioritise(h header, p []byte) ([]byte, error) {
	if !h.has(flagPriority) {
		return p, nil
	}
	if len(p) < priorityLen {
		return nil, broken(FrameSizeError, "%s of %d bytes with a priority", h.kind, h.length)
	}
	return p[priorityLen:], checkPriority(h.stream, p)
}

const priorityLen = 5

// checkPriority refuses a stream that depends on itself (RFC 7540 5.3.1).
func checkPriority(stream uint32, p []byte) error {
	if binary.BigEndian.Uint32(p)&maxStream == stream {
		return broken(ProtocolError, "stream %d depends on itself", stream)
	}
	return nil
}
