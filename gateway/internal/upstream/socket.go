package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
)

// socket is the TCP connection under another one, or that itself. One goroutine
// reads while another writes.
type socket struct {
	*net.TCPConn
	raw   syscall.RawConn
	look  func(fd uintptr) // sets quiet; made once
	quiet bool             // nothing can be read, nor has the peer ended
	wrote uint64           // bytes
	dry   bool             // reads nothing

	// From the handshake; not changed afterwards. None in plaintext.
	u       *Upstream
	id      spiffeid.ID
	chain   []*x509.Certificate
	retires time.Time // when it is to carry no further exchange
	fault   atomic.Pointer[distrust]

	once sync.Once // of Close
}

func newSocket(tcp *net.TCPConn) (*socket, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		_ = tcp.Close()
		return nil, fmt.Errorf("look at a socket: %w", err)
	}
	s := &socket{TCPConn: tcp, raw: raw}
	s.look = s.peek
	return s, nil
}

// trust remembers whose SVID was verified, so that it can be again.
func (s *socket) trust(u *Upstream, id spiffeid.ID, chain []*x509.Certificate) {
	s.u, s.id, s.chain, s.retires = u, id, chain, certs.RetireAt(chain[0].NotAfter, time.Now())
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sockets[s] = struct{}{}
}

// distrust is why a peer's SVID does not verify any more.
type distrust struct{ error }

// credential is what the peer has shown; nil in plaintext.
func (s *socket) credential() Credential {
	if s.u == nil {
		return nil
	}
	return s
}

// Expires implements Credential.
func (s *socket) Expires() time.Time { return s.chain[0].NotAfter }

// Check implements Credential.
func (s *socket) Check() error {
	if bad := s.fault.Load(); bad != nil {
		return bad.error
	}
	return nil
}

// retired says that the SVID that the peer has shown is about to end: the next one
// is shown in another connection.
func (s *socket) retired() bool { return s.u != nil && time.Now().After(s.retires) }

// isQuiet says that the peer has neither ended nor said anything that was not
// read. It does not wait.
func (s *socket) isQuiet() bool {
	s.quiet = false
	return s.raw.Control(s.look) == nil && s.quiet
}

// dryError is what reads fail with that must not wait for the peer. To crypto/tls
// it is one that passes.
type dryError struct{}

func (dryError) Error() string   { return "nothing more is read" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

var _ net.Error = dryError{}

func (s *socket) Read(p []byte) (int, error) {
	if s.dry {
		return 0, dryError{}
	}
	return s.TCPConn.Read(p)
}

func (s *socket) Write(p []byte) (int, error) {
	n, err := s.TCPConn.Write(p)
	s.wrote += uint64(max(n, 0))
	return n, err
}

// holdsNothing says that nc, over the socket, holds nothing that it has read and
// not given: more than the answer, in the same TLS record or in one behind it.
func (s *socket) holdsNothing(nc net.Conn) bool {
	if nc == net.Conn(s) {
		return true
	}
	var one [1]byte
	s.dry = true
	n, err := nc.Read(one[:])
	s.dry = false
	return n == 0 && errors.Is(err, dryError{})
}

// Close breaks the connection at once, without a close_notify. Any goroutine may
// call it.
func (s *socket) Close() error {
	s.once.Do(func() {
		if s.u != nil {
			s.u.mu.Lock()
			defer s.u.mu.Unlock()
			delete(s.u.sockets, s)
		}
	})
	return s.TCPConn.Close()
}

// cut is Close where there is nothing to be done about its error.
func (s *socket) cut() { _ = s.Close() }
