package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// patience bounds each dial, each head, and the whole of an answer that comes
// to nothing.
const patience = 30 * time.Second

// Target is where load goes.
type Target struct {
	// Address is HOST:PORT, in 127.0.0.0/8 unless Dial is set.
	Address string
	// Dial reaches Address, which is then in a network namespace of the
	// caller's own; nil for this process's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Connect, if set, is the authority that each connection first asks for by
	// CONNECT.
	Connect string
	// Authority is the Host of requests; "backend.bench" if empty.
	Authority string
	// Method of requests; GET if empty. None has content.
	Method string
	// Token goes as Proxy-Authorization with Connect if that is set, and with
	// each request if not.
	Token string
}

// authority is the Host of requests.
func (t Target) authority() string { return cmp.Or(t.Authority, "backend.bench") }

// request is a head with further fields, each "NAME: VALUE".
func (t Target) request(path string, fields ...string) []byte {
	head := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", cmp.Or(t.Method, "GET"), path, t.authority())
	if t.Token != "" && t.Connect == "" {
		fields = append(fields, "Proxy-Authorization: Bearer "+t.Token)
	}
	for _, field := range fields {
		head = fmt.Appendf(head, "%s\r\n", field)
	}
	return append(head, "\r\n"...)
}

// client is one connection, with CONNECT behind it if the target asks for one.
type client struct {
	net.Conn
	br   *bufio.Reader
	stop func() bool
}

// open connects. The connection is closed when the context ends.
func (t Target) open(ctx context.Context) (*client, error) {
	dial := t.Dial
	if dial == nil {
		at, err := netip.ParseAddrPort(t.Address)
		if err != nil || !at.Addr().IsLoopback() {
			return nil, fmt.Errorf("load: %q is not on loopback", t.Address)
		}
		dial = (&net.Dialer{Timeout: patience}).DialContext
	}
	conn, err := dial(ctx, "tcp", t.Address)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, br: bufio.NewReaderSize(conn, 2<<10)}
	c.stop = context.AfterFunc(ctx, func() { conn.Close() })
	if t.Connect == "" {
		return c, nil
	}
	if err := c.connect(t); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) connect(t Target) error {
	ask := fmt.Appendf(nil, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", t.Connect, t.Connect)
	if t.Token != "" {
		ask = fmt.Appendf(ask, "Proxy-Authorization: Bearer %s\r\n", t.Token)
	}
	if _, err := c.Write(append(ask, "\r\n"...)); err != nil {
		return fmt.Errorf("ask for %s: %w", t.Connect, err)
	}
	if _, err := c.head(); err != nil {
		return fmt.Errorf("connect to %s: %w", t.Connect, err)
	}
	return nil
}

func (c *client) close() {
	c.stop()
	c.Close()
}

// ask sends a request and reads its answer to the end. It gives the bytes of
// the body that came, also beside an error.
func (c *client) ask(request, scratch []byte) (int64, error) {
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	length, err := c.head()
	if err != nil {
		return 0, err
	}
	return c.discard(length, scratch)
}

// head reads an answer's head and gives the length of its body.
func (c *client) head() (length int64, err error) {
	status, err := c.br.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("read the status: %w", err)
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		return 0, fmt.Errorf("answered %q: %q", bytes.TrimSpace(status), c.reason())
	}
	for {
		line, err := c.br.ReadSlice('\n')
		if err != nil {
			return 0, fmt.Errorf("read the head: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, err
			}
		}
	}
}

// reason is as much as came together with the status of an answer that is none.
func (c *client) reason() []byte {
	rest, _ := c.br.Peek(c.br.Buffered())
	_, body, _ := bytes.Cut(rest, []byte("\r\n\r\n"))
	return body
}

// discard reads away a body of that length.
func (c *client) discard(length int64, scratch []byte) (int64, error) {
	got := int64(0)
	for got < length {
		var n int
		var err error
		part := scratch[:min(int64(len(scratch)), length-got)]
		if c.br.Buffered() > 0 {
			n, err = c.br.Read(part)
		} else {
			n, err = c.Conn.Read(part)
		}
		got += int64(n)
		if errors.Is(err, io.EOF) && got < length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && got < length {
			return got, fmt.Errorf("read %d of %d bytes: %w", got, length, err)
		}
	}
	return got, nil
}
