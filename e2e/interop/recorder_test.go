//go:build linux

package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// hit is a request as a destination took it.
type hit struct {
	Method, Target, Host, Proto string
	Crossing                    string // what its sallyport-crossing field says
	Header, Trailer             http.Header
	Length                      int64
	Sum                         string // SHA-256 of the body
	Broken                      string // why the body ended early, if it did
}

// recorder is a destination that keeps and repeats what it is asked.
type recorder struct {
	answers atomic.Int64 // of HTTP/1.1, those to what never became a request among them

	mu   sync.Mutex // guards hits
	hits []hit
}

func (r *recorder) taken() []hit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hits)
}

// large is what a recorder serves whole or in parts.
var large = bytes.Repeat([]byte("0123456789abcdef"), 64<<10)

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := hit{
		Method: req.Method, Target: req.RequestURI, Host: req.Host, Proto: req.Proto,
		Crossing: req.Header.Get("Sallyport-Crossing"), Header: req.Header,
	}
	sum := sha256.New()
	var err error
	if h.Length, err = io.Copy(sum, req.Body); err != nil {
		h.Broken = err.Error()
	}
	h.Sum, h.Trailer = hex.EncodeToString(sum.Sum(nil)), req.Trailer
	r.mu.Lock()
	r.hits = append(r.hits, h)
	r.mu.Unlock()
	switch {
	case strings.HasPrefix(req.Header.Get("Content-Type"), "application/grpc"):
		answerGRPC(w)
	case strings.HasPrefix(req.URL.Path, "/large"):
		http.ServeContent(w, req, "large.bin", time.Unix(1, 0), bytes.NewReader(large))
	case strings.HasPrefix(req.URL.Path, "/trailer"):
		w.Header().Set("Trailer", "X-Length")
		json.NewEncoder(w).Encode(h)
		w.Header().Set("X-Length", strconv.FormatInt(h.Length, 10))
	default:
		json.NewEncoder(w).Encode(h)
	}
}

// answerGRPC answers a call with one empty message.
func answerGRPC(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	w.Write(make([]byte, 5))
	w.Header().Set("Grpc-Status", "0")
}

// serve serves a place with a recorder: HTTP/1.1, or HTTP/2 with prior knowledge
// for gRPC.
func serve(t testing.TB, name, protocol string) (place, *recorder) {
	t.Helper()
	l, port := listen(t)
	r := &recorder{}
	srv := &http.Server{Handler: r, ReadHeaderTimeout: meshtest.Patience, DisableGeneralOptionsHandler: true}
	if protocol == "grpc" {
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	go srv.Serve(counting{l, &r.answers})
	t.Cleanup(func() { srv.Close() })
	return place{name, protocol, port}, r
}

// counting counts the answers that a server writes.
type counting struct {
	net.Listener
	answers *atomic.Int64
}

func (l counting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return counted{conn, l.answers}, nil
}

type counted struct {
	net.Conn
	answers *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte("HTTP/1.1 ")) && !bytes.HasPrefix(b, []byte("HTTP/1.1 1")) {
		c.answers.Add(1)
	}
	return c.Conn.Write(b)
}
