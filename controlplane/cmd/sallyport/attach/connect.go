package attach

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// connect carries a byte stream: the gateway's answer to the CONNECT as it is, and
// then what both sides say.
func (a *Attach) connect(w http.ResponseWriter, r *http.Request) {
	upper, answer, err := a.ask(r)
	if err != nil {
		a.failed(w, r, err)
		return
	}
	defer upper.Close()
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body) //nolint:errcheck // the program hears that the answer is cut
		return
	}
	lower, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2, which cannot be hijacked
		http.Error(w, "CONNECT is for HTTP/1.1", http.StatusNotImplemented)
		return
	}
	defer lower.Close()
	if _, err := io.WriteString(lower, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	relay(lower, buffered.Reader, upper)
}

// ask sends the CONNECT to the gateway in a connection of its own.
func (a *Attach) ask(r *http.Request) (*stream, *http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), headTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: a.gateway}).DialContext(ctx, "tcp", a.cfg.Gateway)
	if err != nil {
		return nil, nil, err
	}
	s := &stream{Conn: conn.(*tls.Conn), buffered: bufio.NewReader(conn)}
	out := &http.Request{Method: http.MethodConnect, URL: r.URL, Host: r.Host, Header: r.Header.Clone()}
	out.Header.Del("Proxy-Connection")
	if err := out.Write(conn); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	// The destination may take its time: the program's patience counts.
	stop := context.AfterFunc(r.Context(), func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	answer, err := http.ReadResponse(s.buffered, out)
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return s, answer, nil
}

// stream is the gateway's side of a byte stream, part of which may have been read
// with the answer's head.
type stream struct {
	*tls.Conn
	buffered *bufio.Reader
}

// Read reads what was buffered first.
func (s *stream) Read(p []byte) (int, error) { return s.buffered.Read(p) }

// relay copies both ways until both have ended, or one has failed.
func relay(lower net.Conn, from io.Reader, upper *stream) {
	var both sync.WaitGroup
	both.Go(func() { pass(upper, from, upper.Conn, lower) })
	both.Go(func() { pass(lower, upper, lower, upper.Conn) })
	both.Wait()
}

// pass copies one way and ends that way. What is cut off on one side is cut off on
// the other: an end in order says that all has come.
func pass(to io.Writer, from io.Reader, ends, other net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := ends.(interface{ CloseWrite() error }); err == nil && ok {
		err = half.CloseWrite()
	}
	if err != nil {
		abort(ends)
		abort(other)
	}
}

// abort closes a connection without an end in order.
func abort(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0) //nolint:errcheck // it is closed in any case
	}
	c.Close()
}

// failed answers what could not be brought to the gateway.
func (a *Attach) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody waits for it
	}
	a.cfg.Log.Warn("gateway not reached", zap.String("gateway", a.cfg.Gateway), zap.Error(err))
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusBadGateway)
	json.NewEncoder(w).Encode(problem{ //nolint:errcheck // as above
		Title:  "The gateway at " + a.cfg.Gateway + " could not be asked",
		Status: http.StatusBadGateway,
		Detail: err.Error(),
	})
}

// problem is the body of an answer that this side gives (RFC 9457).
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}
