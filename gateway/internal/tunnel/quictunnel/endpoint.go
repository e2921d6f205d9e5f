package quictunnel

import (
	"crypto/rand"
	"errors"
	"sync"

	"github.com/quic-go/quic-go"
)

var errEndpointClosed = errors.New("UDP socket was closed")

// endpoint is a UDP socket which tunnels share, dialled and accepted ones. It
// closes when nobody holds it any more.
type endpoint struct {
	tr *quic.Transport

	mu   sync.Mutex // guards what follows
	held int
	gone bool
}

// newEndpoint takes over a transport and its socket. The caller holds the
// endpoint. A peer that did not hear of a tunnel's end is told so by a stateless
// reset, for as long as the endpoint lives.
func newEndpoint(tr *quic.Transport, resetKey [32]byte) *endpoint {
	key := quic.StatelessResetKey(resetKey)
	if resetKey == ([32]byte{}) {
		rand.Read(key[:]) // it never fails
	}
	tr.StatelessResetKey = &key
	return &endpoint{tr: tr, held: 1}
}

// hold keeps the endpoint; it fails once that is too late.
func (e *endpoint) hold() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return errEndpointClosed
	}
	e.held++
	return nil
}

// release closes the endpoint if it was the last holder's. Their connections
// have ended by then: the transport would cut them off.
func (e *endpoint) release() {
	e.mu.Lock()
	e.held--
	last := e.held == 0
	e.gone = e.gone || last
	e.mu.Unlock()
	if last {
		e.tr.Close()      //nolint:errcheck // nobody is left to tell
		e.tr.Conn.Close() //nolint:errcheck // nor here
	}
}
