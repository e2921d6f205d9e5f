package quictunnel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// cryptoError is where TLS alerts begin among QUIC's transport error codes.
const cryptoError = 0x100

// code is the application error code that tells the peer of an error.
func code(err error) quic.ApplicationErrorCode {
	var fault *mux.FaultError
	if errors.As(err, &fault) {
		return quic.ApplicationErrorCode(fault.Reason)
	}
	return quic.ApplicationErrorCode(mux.Closed)
}

// brokeQUIC says whether the library ended the connection because of something
// that the peer sent, which no gateway of ours would.
func brokeQUIC(err error) bool {
	var t *quic.TransportError
	if !errors.As(err, &t) || t.Remote {
		return false
	}
	switch t.ErrorCode {
	case quic.FlowControlError, quic.StreamLimitError, quic.StreamStateError, quic.FinalSizeError,
		quic.FrameEncodingError, quic.TransportParameterError, quic.ConnectionIDLimitError,
		quic.ProtocolViolation, quic.CryptoBufferExceeded, quic.KeyUpdateError:
		return true
	case cryptoError + 10, cryptoError + 47, cryptoError + 50, cryptoError + 70, cryptoError + 109, cryptoError + 120:
		// unexpected message, illegal parameter, decode error, protocol version,
		// missing extension, no application protocol
		return true
	}
	return false
}

// explain says why a connection ended.
func explain(err error) error {
	var app *quic.ApplicationError
	switch {
	case errors.As(err, &app) && app.Remote:
		return fmt.Errorf("peer closed the tunnel: %s: %w", reasonOf(app.ErrorCode), net.ErrClosed)
	case brokeQUIC(err):
		return fmt.Errorf("peer broke the protocol: %w", err)
	case errors.Is(err, context.Canceled):
		return net.ErrClosed
	}
	return fmt.Errorf("connection was lost: %w", err)
}

func reasonOf(c quic.ApplicationErrorCode) mux.Reason {
	return mux.Reason(min(uint64(c), math.MaxUint32))
}

// resetOf is what an error of the library means for a stream.
func resetOf(err error) *tunnel.ResetError {
	var s *quic.StreamError
	if !errors.As(err, &s) {
		return &tunnel.ResetError{Code: tunnel.TunnelClosed}
	}
	c := tunnel.ProtocolError // codes have 32 bits
	if s.ErrorCode <= math.MaxUint32 {
		c = tunnel.ResetCode(s.ErrorCode)
	}
	// The tunnel was closed, whoever closed it.
	return &tunnel.ResetError{Code: c, Remote: s.Remote && c != tunnel.TunnelClosed}
}
