package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/bench/load"
)

// TestRunSaysWhatIsWrong: nobody waits for a peer that cannot serve.
func TestRunSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"flag", []string{"-loud"}, "-loud"},
		{"end", []string{"-end", "middle"}, `unknown end "middle"`},
		{"certificates", []string{"-certs", t.TempDir()}, "near.crt"},
		{"address", []string{"-end", "backend", "-listen", "nowhere"}, "missing port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if err := run(c.args, strings.NewReader(""), &out); err == nil || !strings.Contains(err.Error(), c.want) || out.Len() > 0 {
				t.Errorf("run(%q) = %v, said %q; want %q", c.args, err, out.String(), c.want)
			}
		})
	}
}

// TestBackend: it serves when it says so, and ends with its standard input.
func TestBackend(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	stdin, closing := io.Pipe()
	words, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run([]string{"-end", "backend", "-listen", address}, stdin, stdout) }()
	if word, err := bufio.NewReader(words).ReadString('\n'); err != nil || word != "ready\n" {
		t.Fatalf("it said %q, %v", word, err)
	}
	resp, err := (&http.Client{}).Get("http://" + address + "/bytes/1000")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != 1000 || err != nil {
		t.Errorf("%d bytes, %v; want 1000", n, err)
	}
	closing.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// proxies starts a pair of proxies and gives where it listens.
func proxies(t *testing.T, backend string) string {
	t.Helper()
	identity := httptest.NewTLSServer(nil)
	defer identity.Close()
	roots := x509.NewCertPool()
	roots.AddCert(identity.Certificate())
	config := &tls.Config{
		Certificates: identity.TLS.Certificates, RootCAs: roots,
		ServerName: "example.com", ClientAuth: tls.RequireAnyClientCert,
	}
	at := backend
	for _, end := range []string{"far", "near"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o := options{mode: "proxy", end: end, listen: l.Addr().String(), target: at}
		l.Close()
		if err := o.proxy(config, make(chan error, 1)); err != nil {
			t.Fatal(err)
		}
		at = o.listen
	}
	return at
}

// TestProxy: what a pair of proxies is asked over HTTP/1.1 or HTTP/2 comes back
// from the backend.
func TestProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go load.Serve(l)
	near := load.Target{Address: proxies(t, l.Addr().String())}
	if r, err := load.KeepAlive(t.Context(), near, 2, load.Bound{Count: 20}); err != nil || r.Requests != 20 {
		t.Errorf("over HTTP/1.1: %+v, %v", r, err)
	}
	if r, err := load.Calls(t.Context(), near, 2, 2, load.Get, load.Bound{Count: 20}); err != nil || r.Requests != 20 {
		t.Errorf("over HTTP/2: %+v, %v", r, err)
	}
	if r, err := load.Tokens(t.Context(), near, 2, 5, time.Millisecond); err != nil || r.Requests != 10 {
		t.Errorf("events: %+v, %v", r, err)
	}
}

// TestProxyHoldsNothingBack: an answer's first part comes while its second is
// not there yet.
func TestProxyHoldsNothingBack(t *testing.T) {
	seen := make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "one\n")
		http.NewResponseController(w).Flush()
		<-seen
		io.WriteString(w, "two\n")
	}))
	defer backend.Close()
	resp, err := (&http.Client{}).Get("http://" + proxies(t, backend.Listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	br := bufio.NewReader(resp.Body)
	if line, err := br.ReadString('\n'); line != "one\n" {
		t.Errorf("first %q, %v", line, err)
	}
	close(seen)
	if line, err := br.ReadString('\n'); line != "two\n" {
		t.Errorf("then %q, %v", line, err)
	}
}
