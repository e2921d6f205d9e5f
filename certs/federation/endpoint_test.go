package federation

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	gospiffe "github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// served is an endpoint on a real socket, which anybody's client may ask.
func served(t *testing.T, cfg EndpointConfig) string {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	e, err := NewEndpointServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	background(t, e.Run)
	return e.Addr().String()
}

func writePair(t *testing.T, certFile, keyFile string, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	for path, text := range map[string][]byte{
		keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), certFile: chain,
	} {
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnothersClient: go-spiffe's client reads our endpoint, by both profiles.
func TestAnothersClient(t *testing.T) {
	a := newAuthority(t, aws)
	p, err := NewPublisher(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	spiffe := served(t, EndpointConfig{TrustDomain: aws, Bundle: a.Bundle, Certificate: p.Certificate})
	got, err := gospiffe.FetchBundle(t.Context(), aws, "https://"+spiffe+"/",
		gospiffe.WithSPIFFEAuth(a.Bundle(), spiffeid.RequireFromPath(aws, testName)))
	if err != nil || !got.Equal(a.Bundle()) {
		t.Errorf("by https_spiffe: %v, %v", got, err)
	}
	web := certstest.Mesh(t, "web.test")["web.test"]
	certFile, keyFile := filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "k")
	writePair(t, certFile, keyFile, web.Certificate(web.ID("/x"), "127.0.0.1"))
	certificate, err := WebCertificate(certFile, keyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := served(t, EndpointConfig{TrustDomain: aws, Bundle: a.Bundle, Certificate: certificate, Path: "/bundle.json"})
	got, err = gospiffe.FetchBundle(t.Context(), aws, "https://"+at+"/bundle.json", gospiffe.WithWebPKIRoots(web.Roots()))
	if err != nil || !got.Equal(a.Bundle()) {
		t.Errorf("by https_web: %v, %v", got, err)
	}
	for method, path := range map[string]string{http.MethodPost: "/bundle.json", http.MethodGet: "/other"} {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+at+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: certs.WebClientTLS(web.Roots())}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Errorf("%s %s was answered", method, path)
		}
	}
	if _, err := tls.Dial("tcp", at, &tls.Config{RootCAs: web.Roots(), MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("it speaks TLS 1.2")
	}
}

func TestWebCertificateIsReloaded(t *testing.T) {
	d := certstest.Mesh(t, "web.test")["web.test"]
	certFile, keyFile := filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "k")
	if _, err := WebCertificate(certFile, keyFile, nil); err == nil {
		t.Fatal("files that are not there were read")
	}
	first, second := d.Certificate(d.ID("/x"), "127.0.0.1"), d.Certificate(d.ID("/x"), "127.0.0.1")
	writePair(t, certFile, keyFile, first)
	get, err := WebCertificate(certFile, keyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	shows := func(want tls.Certificate) bool {
		c, err := get()
		return err == nil && bytes.Equal(c.Certificate[0], want.Certificate[0])
	}
	until := func(what string, want tls.Certificate) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !shows(want); <-time.After(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	if !shows(first) {
		t.Fatal("not the first")
	}
	if err := os.WriteFile(certFile, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	<-time.After(reloadEvery + 100*time.Millisecond)
	if !shows(first) {
		t.Error("the last good one is gone")
	}
	writePair(t, certFile, keyFile, second)
	until("the second one does not come", second)
}

func TestParseEndpoint(t *testing.T) {
	good := func() *configv1.BundleEndpoint {
		return &configv1.BundleEndpoint{
			TrustDomain: "aws.test", Url: "https://bundle.aws.test:8447/x", Profile: ProfileSPIFFE, Id: "spiffe://aws.test/spire/server",
		}
	}
	for name, change := range map[string]func(e *configv1.BundleEndpoint){
		"":                 func(*configv1.BundleEndpoint) {},
		"want https":       func(e *configv1.BundleEndpoint) { e.Url = "http://x/" },
		"nobody's name":    func(e *configv1.BundleEndpoint) { e.Url = "https://a:b@x/" },
		"HOST":             func(e *configv1.BundleEndpoint) { e.Url = "https:///x" },
		"invalid":          func(e *configv1.BundleEndpoint) { e.Url = "https://x:y/" },
		"profile":          func(e *configv1.BundleEndpoint) { e.Profile = "https" },
		"has none":         func(e *configv1.BundleEndpoint) { e.Profile = ProfileWeb },
		"cannot be empty":  func(e *configv1.BundleEndpoint) { e.Id = "" },
		"trust domain":     func(e *configv1.BundleEndpoint) { e.TrustDomain = "" },
		"trust domain cha": func(e *configv1.BundleEndpoint) { e.TrustDomain = "A B" },
	} {
		e := good()
		change(e)
		_, err := ParseEndpoint(e)
		if name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("%q: ParseEndpoint(%v) = %v", name, e, err)
		}
	}
}

// TestHostileEndpoints: whatever an endpoint answers, the last good bundle stays.
func TestHostileEndpoints(t *testing.T) {
	a := newAuthority(t, aws)
	web := certstest.Mesh(t, "web.test")["web.test"]
	tests := []struct {
		name   string
		answer http.HandlerFunc
		says   string
	}{
		{"an error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) }, "502"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.test/", http.StatusFound)
		}, "302"},
		{"too much", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 64<<20)) // the client leaves
		}, "at most"},
		{"no bundle", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, ErrMalformed.Error()},
		{"another trust domain's", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(documentOf(t, web.Bundle()))
		}, "web.test"},
		{"huge headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x", strings.Repeat("x", 1<<20))
		}, "header"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			own := web.Certificate(web.ID("/x"), "127.0.0.1")
			server := &http.Server{Handler: tt.answer, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
			done := make(chan error, 1)
			go func() {
				done <- server.Serve(tls.NewListener(l, certs.PublicServerTLS(func() (*tls.Certificate, error) { return &own, nil })))
			}()
			defer func() { server.Close(); <-done }()
			k := keeper(t, "", a)
			if err := k.Accept(a.signed()); err != nil {
				t.Fatal(err)
			}
			f := &Follower{Keeper: k, Roots: web.Roots()}
			e, err := ParseEndpoint(&configv1.BundleEndpoint{TrustDomain: aws.Name(), Url: "https://" + l.Addr().String() + "/", Profile: ProfileWeb})
			if err != nil {
				t.Fatal(err)
			}
			if err := f.fetch(t.Context(), e); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("fetch() = %v, want %q", err, tt.says)
			}
			if !trusts(k, peerOf(t, a)) {
				t.Error("the last good bundle is gone")
			}
			f.Roots = nil
			if err := f.fetch(t.Context(), e); err == nil || !strings.Contains(err.Error(), "certificate") {
				t.Errorf("fetch() from an endpoint that nobody vouches for = %v", err)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestWhoAnEndpointIs: of https_spiffe, the very SPIFFE ID.
func TestWhoAnEndpointIs(t *testing.T) {
	a := newAuthority(t, aws)
	for path, good := range map[string]bool{testName: true, "/sallyport/gateway/aws-1": false} {
		k := keeper(t, "", a)
		svid := svidOf(t, a.newest(), path)
		f := endpointOf(t, k, a, func() (*tls.Certificate, error) { return certs.Certificate(svid), nil })
		err := f.fetch(t.Context(), f.Endpoints[0])
		if (err == nil) != good {
			t.Errorf("an endpoint that is %s: fetch() = %v", path, err)
		}
		if !good && !errors.Is(err, certs.ErrUnauthorized) {
			t.Errorf("fetch() = %v", err)
		}
	}
	k := keeperOf(t, Config{Self: self, Peers: []spiffeid.TrustDomain{aws}})
	f := endpointOf(t, k, a, newestRoot(a))
	if err := f.fetch(t.Context(), f.Endpoints[0]); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("an endpoint of a trust domain without an anchor: fetch() = %v", err)
	}
}

// TestConnectionsAreBounded: strangers who hold connections let nobody wait for ever.
func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := &bounded{Listener: l, free: make(chan struct{}, 1)}
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Fatal("two at one time")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	first.Close() // twice makes room once
	(<-accepted).Close()
}

var _ spiffebundle.Source = publishedBundle(nil)
