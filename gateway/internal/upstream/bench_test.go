package upstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

const benchContent = 512

// swift is a server that costs next to nothing and allocates nothing: it answers
// each request of 512 bytes of content, or of none, with 512 bytes.
func swift(b *testing.B, config *tls.Config) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	b.Cleanup(func() { l.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: " + strconv.Itoa(benchContent) + "\r\n\r\n" + string(bytes.Repeat([]byte("x"), benchContent)))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go swiftly(c, answer)
		}
	}()
	return l.Addr().String()
}

func swiftly(c net.Conn, answer []byte) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		content := 0
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
			if bytes.EqualFold(line[:min(len(line), len("content-length"))], []byte("content-length")) {
				content = benchContent
			}
		}
		br.Discard(content)
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// again is content that can be had again.
type again struct {
	bytes.Reader
	ready bool
}

func (a *again) Ready() bool         { return a.ready }
func (a *again) Trailers() l7.Fields { return nil }

// BenchmarkRoundTrip is what an exchange costs beside one by http.Transport.
func BenchmarkRoundTrip(b *testing.B) {
	far := certstest.Mesh(b, "far.test")["far.test"]
	source := far.Source("/sallyport/gateway/far-1")
	secure := certs.ServerTLS(far.Source("/ai/llm"), certs.AuthorizeAny(), "http/1.1")
	for _, way := range []struct {
		name   string
		config *tls.Config
	}{{"plaintext", nil}, {"TLS", secure}} {
		addr := swift(b, way.config)
		b.Run(way.name+"/own", func(b *testing.B) { benchOwn(b, New(source, places{addr}, Limits{}), way.config == nil, true) })
		b.Run(way.name+"/own, still coming", func(b *testing.B) { benchOwn(b, New(source, places{addr}, Limits{}), way.config == nil, false) })
		b.Run(way.name+"/http.Transport", func(b *testing.B) {
			url := "http://" + addr + "/v1/chat"
			if way.config != nil {
				url = "https://" + addr + "/v1/chat"
			}
			benchTransport(b, url, &http.Transport{TLSClientConfig: certs.ClientTLS(source, certs.AuthorizeID(llm), "http/1.1"), DisableCompression: true})
		})
	}
}

func benchOwn(b *testing.B, u *Upstream, plaintext, ready bool) {
	d, head := to(plaintext), post()
	head.Fields = l7.Fields{{Name: "content-type", Value: "application/json"}, {Name: "content-length", Value: strconv.Itoa(benchContent)}}
	text, buf := make([]byte, benchContent), make([]byte, 32<<10)
	body := &again{ready: ready}
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		body.Reset(text)
		r := &Request{Head: &head, Body: body}
		resp, err := u.RoundTrip(b.Context(), d, r)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		resp.Body.Close()
		r.Wait()
	}
	u.CloseIdle()
}

func benchTransport(b *testing.B, url string, t *http.Transport) {
	text, buf := make([]byte, benchContent), make([]byte, 32<<10)
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		resp, err := t.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		resp.Body.Close()
	}
	t.CloseIdleConnections()
}

// reportCPU reports what both ends cost, which a busy machine blurs less than
// the time that it takes.
func reportCPU(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}
