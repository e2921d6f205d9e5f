package http2

import (
	"errors"
	"fmt"
	"net"
)

// Code is an error code of RFC 9113 7.
type Code uint32

// The codes.
const (
	NoError            Code = 0x0
	ProtocolError      Code = 0x1
	InternalError      Code = 0x2
	FlowControlError   Code = 0x3
	SettingsTimeout    Code = 0x4
	StreamClosed       Code = 0x5
	FrameSizeError     Code = 0x6
	RefusedStream      Code = 0x7
	Cancel             Code = 0x8
	CompressionError   Code = 0x9
	ConnectError       Code = 0xa
	EnhanceYourCalm    Code = 0xb
	InadequateSecurity Code = 0xc
	HTTP11Required     Code = 0xd
)

var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
	"STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
	"CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String is the code's name in RFC 9113.
func (c Code) String() string {
	if int64(c) < int64(len(codeNames)) {
		return codeNames[c]
	}
	return fmt.Sprintf("code %#x", uint32(c))
}

// Why Open opens no stream. Nothing was sent.
var (
	// ErrStreamLimit says that as many are open as the peer takes: ask another
	// connection.
	ErrStreamLimit = errors.New("as many streams as the peer takes")
	// ErrGoingAway says that the connection takes no further streams.
	ErrGoingAway = errors.New("no more streams on this connection")
)

// Errors of a Stream that is written to against its rules.
var (
	ErrHeadTwice = errors.New("stream has its head already")
	ErrNoHead    = errors.New("stream has no head yet")
	ErrOver      = errors.New("stream was ended already")
	ErrTooLong   = errors.New("content is longer than its content-length")
	ErrTooShort  = errors.New("content is shorter than its content-length")
	// ErrStopped is what Read gives after StopReading.
	ErrStopped = fmt.Errorf("reading was stopped: %w", net.ErrClosed)
)

// ResetError says that a stream was reset. It is net.ErrClosed.
type ResetError struct {
	Code   Code
	Remote bool // by the peer; else by this end
	// Unprocessed says that the peer did nothing for the stream, so that the same
	// may be asked elsewhere: it said REFUSED_STREAM, or GOAWAY with an earlier
	// stream.
	Unprocessed bool
}

// Error says the code and who reset.
func (e *ResetError) Error() string {
	if e.Remote {
		return fmt.Sprintf("stream was reset by the peer: %s", e.Code)
	}
	return fmt.Sprintf("stream was reset here: %s", e.Code)
}

// Unwrap makes it net.ErrClosed.
func (e *ResetError) Unwrap() error { return net.ErrClosed }

// ConnError says why a connection ended, and with it its streams. It is
// net.ErrClosed.
type ConnError struct {
	Code   Code
	Remote bool   // the peer said so; else this end did, or the connection was lost
	Detail string // numbers and names of the protocol only, nothing that the peer wrote
	Err    error  // of the connection underneath, nil if it was not lost
}

// Error says it in one line.
func (e *ConnError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("HTTP/2 connection: %s: %v", e.Detail, e.Err)
	case e.Remote:
		return fmt.Sprintf("HTTP/2 connection was ended by the peer: %s", e.Code)
	}
	return fmt.Sprintf("HTTP/2 connection was ended: %s: %s", e.Code, e.Detail)
}

// Unwrap makes it net.ErrClosed, and what the connection underneath said.
func (e *ConnError) Unwrap() []error {
	if e.Err == nil {
		return []error{net.ErrClosed}
	}
	return []error{net.ErrClosed, e.Err}
}

// Unprocessed says that a stream's error leaves no doubt that the peer has done
// nothing for it.
func Unprocessed(err error) bool {
	var reset *ResetError
	return errors.As(err, &reset) && reset.Unprocessed || errors.Is(err, ErrStreamLimit) || errors.Is(err, ErrGoingAway)
}

// broken is what a peer did for which the connection must end.
func broken(code Code, format string, a ...any) *ConnError {
	return &ConnError{Code: code, Detail: fmt.Sprintf(format, a...)}
}

// streamError is what a peer did for which one stream must end.
type streamError struct {
	stream uint32
	code   Code
	detail string
}

func (e *streamError) Error() string { return fmt.Sprintf("%s: %s", e.code, e.detail) }
