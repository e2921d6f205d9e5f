package tcptunnel

import (
	"crypto/tls"
	"encoding/binary"
	"net"
)

const (
	// recordData is the most that a TLS record carries.
	recordData = 16 << 10
	// recordHeader is the length of a TLS record's header; it ends with the
	// length of the rest.
	recordHeader = 5
	// readAhead is how many bytes of records are read at a time.
	readAhead = 64 << 10
)

// secureConn is a TLS connection that costs fewer system calls: what one Write
// makes of records leaves together, and several records are read together. One
// goroutine may read while another one writes.
type secureConn struct {
	*tls.Conn
	under *records
}

// records is the connection under TLS.
type records struct {
	net.Conn

	// The reader's own.
	in   []byte // read ahead; in[r:w] is left
	r, w int
	left int // of the record that TLS is reading; in[r:] begins a record if 0

	// The writer's own.
	out  []byte
	hold bool
}

// newSecure makes a TLS connection of raw by client or server.
func newSecure(raw net.Conn, with func(net.Conn, *tls.Config) *tls.Conn, cfg *tls.Config) *secureConn {
	under := &records{Conn: raw, in: make([]byte, readAhead)}
	return &secureConn{with(under, cfg), under}
}

// NetConn is the connection under TLS, without what was read ahead.
func (c *secureConn) NetConn() net.Conn { return c.under.Conn }

// Write writes p in as many records as it takes, in one piece.
func (c *secureConn) Write(p []byte) (int, error) {
	if len(p) <= recordData { // one record
		return c.Conn.Write(p)
	}
	u := c.under
	u.hold = true
	n, err := c.Conn.Write(p)
	u.hold = false
	joined := u.out
	u.out = u.out[:0]
	if err != nil {
		return n, err
	}
	if _, err := u.Conn.Write(joined); err != nil {
		return 0, err
	}
	return n, nil
}

// Read reads what has come, of as many records as are there as a whole.
func (c *secureConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for err == nil && len(p)-n >= recordData && c.under.whole() {
		var more int
		more, err = c.Conn.Read(p[n:])
		n += more
	}
	if n > 0 {
		return n, nil // an error comes again
	}
	return n, err
}

// whole says that the next record has come as a whole, and that nothing of
// another one stands before it.
func (u *records) whole() bool {
	return u.left == 0 && u.w-u.r >= recordHeader && u.w-u.r >= recordLength(u.in[u.r:])
}

func recordLength(b []byte) int {
	return recordHeader + int(binary.BigEndian.Uint16(b[recordHeader-2:]))
}

// Read never gives bytes of two records, so that whole can tell where the next
// one begins.
func (u *records) Read(p []byte) (int, error) {
	if u.left == 0 {
		if err := u.fill(recordHeader); err != nil {
			return 0, err
		}
		u.left = recordLength(u.in[u.r:])
	}
	if err := u.fill(1); err != nil {
		return 0, err
	}
	n := copy(p, u.in[u.r:min(u.w, u.r+u.left)])
	u.r += n
	u.left -= n
	return n, nil
}

// fill waits until n bytes are there.
func (u *records) fill(n int) error {
	if u.w-u.r >= n {
		return nil
	}
	u.r, u.w = 0, copy(u.in, u.in[u.r:u.w])
	for u.w < n {
		m, err := u.Conn.Read(u.in[u.w:])
		u.w += m
		if err != nil {
			return err
		}
	}
	return nil
}

// Write keeps p while several records are to leave together.
func (u *records) Write(p []byte) (int, error) {
	if !u.hold {
		return u.Conn.Write(p)
	}
	u.out = append(u.out, p...)
	return len(p), nil
}
