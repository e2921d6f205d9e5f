package main

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
)

// buffers are large enough for a record of TLS several times over.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// accept hands on what comes, each connection in a goroutine of its own.
func accept(l net.Listener, failed chan<- error, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			failed <- err
			return
		}
		go serve(c)
	}
}

// relay copies both directions until both have ended.
func relay(a, b duplex) {
	var other sync.WaitGroup
	other.Go(func() { pass(a, b) })
	pass(b, a)
	other.Wait()
	a.Close()
	b.Close()
}

// pass copies one direction. The plain interfaces hide what io.Copy would
// rather use than our buffer.
func pass(to, from duplex) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if _, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, *buf); err != nil {
		to.Close() // the other side is told that its peer broke off
		return
	}
	to.CloseWrite() //nolint:errcheck // the next read says the same
}

// deliver makes a plain connection of a stream.
func deliver(s duplex, target string) {
	c, err := net.Dial("tcp", target)
	if err != nil {
		s.Close() // there is nobody to tell
		return
	}
	relay(s, c.(*net.TCPConn))
}

// farTLS takes one TLS connection for each stream.
func farTLS(listen, target string, config *tls.Config, failed chan<- error) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	go accept(l, failed, func(c net.Conn) {
		secure := tls.Server(c, config)
		if secure.Handshake() != nil {
			c.Close()
			return
		}
		deliver(secure, target)
	})
	return nil
}
