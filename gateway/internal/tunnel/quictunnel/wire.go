package quictunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// FORMAT.md is what this file does as a document.
const (
	// ALPN is the protocol's name in a TLS handshake.
	ALPN = "sallyport-quic/1"

	version    = 1
	prefaceLen = 12
	magic      = "sallyprt"
	lengthLen  = 2 // of what stands before a crossing's header
)

// appendPreface appends the first bytes of the control stream.
func appendPreface(b []byte, c tunnel.Class, generation uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append(b, magic...), version, byte(c)), generation)
}

// parsePreface reads a preface of prefaceLen bytes. The error is a fault.
func parsePreface(b []byte) (c tunnel.Class, generation uint16, err error) {
	bad := func(detail string) (tunnel.Class, uint16, error) {
		return 0, 0, &mux.FaultError{Reason: mux.BadPreface, Detail: detail}
	}
	switch {
	case len(b) != prefaceLen || string(b[:len(magic)]) != magic:
		return bad("no magic")
	case b[8] != version:
		return bad(fmt.Sprintf("version %d, this end speaks %d", b[8], version))
	case b[9] > byte(tunnel.Bulk):
		return bad(fmt.Sprintf("class %d", b[9]))
	}
	return tunnel.Class(b[9]), binary.BigEndian.Uint16(b[10:]), nil
}

// encodeOpening is the first bytes of a crossing's stream, in the empty b if they
// fit.
func encodeOpening(b []byte, h *crossingv1.Header) ([]byte, error) {
	b, err := carrier.AppendHeader(append(b, make([]byte, lengthLen)...), h)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-lengthLen))
	return b, nil
}

// readOpening reads them. The error is a fault, or what reading gave: then the
// stream was reset, or the connection lost, before all of it was there.
func readOpening(r io.Reader, id quic.StreamID) (*crossingv1.Header, error) {
	buffer := carrier.NewBuffer()
	defer buffer.Free()
	length := append(buffer.B, make([]byte, lengthLen)...)
	if err := readAll(r, length, id); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length))
	if n > mux.MaxHeader {
		return nil, openFault(mux.BadLength, id, fmt.Sprintf("header of %d bytes", n))
	}
	header := slices.Grow(buffer.B, n)[:n]
	if err := readAll(r, header, id); err != nil {
		return nil, err
	}
	return carrier.DecodeHeader(uint32(id), header)
}

func readAll(r io.Reader, b []byte, id quic.StreamID) error {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return openFault(mux.Truncated, id, fmt.Sprintf("after %d bytes", n))
	}
	return err
}

func openFault(r mux.Reason, id quic.StreamID, detail string) error {
	return &mux.FaultError{Reason: r, Type: mux.Open, Stream: uint32(id), Detail: detail}
}

// controlFrame is one frame of the control stream.
type controlFrame struct {
	kind  mux.Type
	probe mux.Probe  // of PING and PONG
	count uint32     // of GOAWAY: the streams its sender has opened
	cause mux.Reason // of GOAWAY
}

// readControl reads the next frame. The error is a fault, or what reading gave.
func readControl(r io.Reader) (controlFrame, error) {
	var b [mux.HeaderLen + 16]byte // no control frame is longer
	if n, err := io.ReadFull(r, b[:mux.HeaderLen]); err != nil {
		return controlFrame{}, cutOff(err, n)
	}
	h, err := mux.ParseHeader(b[:mux.HeaderLen])
	if err != nil {
		return controlFrame{}, err
	}
	if h.Type < mux.Ping || h.Type > mux.GoAway {
		return controlFrame{}, &mux.FaultError{Reason: mux.UnknownType, Type: h.Type, Stream: h.Stream, Detail: "on the control stream"}
	}
	payload := b[mux.HeaderLen : mux.HeaderLen+h.Length]
	if n, err := io.ReadFull(r, payload); err != nil {
		return controlFrame{}, cutOff(err, mux.HeaderLen+n)
	}
	f := controlFrame{kind: h.Type}
	if h.Type == mux.GoAway {
		f.count = binary.BigEndian.Uint32(payload)
		f.cause = mux.Reason(binary.BigEndian.Uint32(payload[4:]))
	} else {
		f.probe.Opaque = binary.BigEndian.Uint64(payload)
		f.probe.Clock = time.Unix(0, int64(binary.BigEndian.Uint64(payload[8:])))
	}
	return f, nil
}

// cutOff makes a fault of the control stream's end: it has none but the
// connection's.
func cutOff(err error, got int) error {
	var reset *quic.StreamError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &mux.FaultError{Reason: mux.Truncated, Detail: fmt.Sprintf("control stream ended after %d bytes", got)}
	case errors.As(err, &reset) && reset.Remote:
		return &mux.FaultError{Reason: mux.BadStream, Detail: "control stream was reset"}
	}
	return err
}
