package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// h2Config has windows that are no limit on any path of the benchmarks, and
// frames larger than HTTP/2's smallest.
func h2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          1 << 20,
		MaxReadFrameSize:              64 << 10,
		MaxReceiveBufferPerStream:     4 << 20,
		MaxReceiveBufferPerConnection: 16 << 20,
	}
}

// openH2 opens streams in one HTTP/2 connection: a request each, whose body
// goes one way and whose answer the other.
func openH2(target string, config *tls.Config) func() (duplex, error) {
	own := config.Clone()
	own.NextProtos = nil // the transport's to set
	t := &http.Transport{TLSClientConfig: own, ForceAttemptHTTP2: true, DisableCompression: true, HTTP2: h2Config()}
	return func() (duplex, error) {
		body, w := io.Pipe()
		req, err := http.NewRequest(http.MethodPost, "https://"+target+"/", body)
		if err != nil {
			return nil, err
		}
		resp, err := t.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
			resp.Body.Close()
			return nil, errors.New(resp.Proto + " " + resp.Status)
		}
		return &h2Stream{resp.Body, w}, nil
	}
}

type h2Stream struct {
	io.ReadCloser
	w *io.PipeWriter
}

func (s *h2Stream) Write(p []byte) (int, error) { return s.w.Write(p) }
func (s *h2Stream) CloseWrite() error           { return s.w.Close() }

func (s *h2Stream) Close() error {
	return errors.Join(s.w.Close(), s.ReadCloser.Close())
}

func farH2(listen, target string, config *tls.Config, failed chan<- error) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	own := config.Clone()
	own.NextProtos = []string{"h2"}
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveH2(w, r, target) }),
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         own,
		HTTP2:             h2Config(),
	}
	go func() { failed <- srv.ServeTLS(l, "", "") }()
	return nil
}

func serveH2(w http.ResponseWriter, r *http.Request, target string) {
	c, err := net.Dial("tcp", target)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	s := &h2Answer{ReadCloser: r.Body, w: w, flush: http.NewResponseController(w)}
	if s.flush.Flush() == nil {
		relay(s, c.(*net.TCPConn))
	}
}

// h2Answer is the far end of a stream; its last direction ends with the handler.
type h2Answer struct {
	io.ReadCloser
	w     io.Writer
	flush *http.ResponseController
}

func (a *h2Answer) CloseWrite() error { return nil }

func (a *h2Answer) Write(p []byte) (int, error) {
	n, err := a.w.Write(p)
	if err == nil {
		err = a.flush.Flush()
	}
	return n, err
}
