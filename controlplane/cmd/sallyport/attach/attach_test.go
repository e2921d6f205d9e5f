package attach

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// gateway is a server of the test's own with a gateway's identity, and what it saw.
type gateway struct {
	*httptest.Server
	domain *certstest.Domain
	source *certs.Source // of the workload

	mu    sync.Mutex
	shown []string // fingerprints of the SVIDs of requests
	conns []string // where they came from
}

func newGateway(t *testing.T, path string, h http.HandlerFunc) *gateway {
	t.Helper()
	d := certstest.Mesh(t, "onprem.test")["onprem.test"]
	g := &gateway{domain: d, source: d.Source("/ai/orchestrator")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := certs.ServerTLS(d.Source(path), certs.AuthorizeID(g.source.ID()), "h2", "http/1.1")
	g.Server = &httptest.Server{Listener: tls.NewListener(l, config), Config: &http.Server{
		Protocols: new(http.Protocols),
		TLSConfig: config,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.mu.Lock()
			g.shown = append(g.shown, certs.Fingerprint(r.TLS.PeerCertificates[0]))
			g.conns = append(g.conns, r.RemoteAddr)
			g.mu.Unlock()
			h(w, r)
		}),
	}}
	g.Config.Protocols.SetHTTP1(true)
	g.Config.Protocols.SetHTTP2(true)
	g.Server.Start()
	t.Cleanup(g.Server.Close)
	return g
}

// start is a helper before the gateway.
func (g *gateway) start(t *testing.T, change func(*Config)) *Attach {
	t.Helper()
	c := Config{Source: g.source, Gateway: g.Listener.Addr().String(), Listen: "127.0.0.1:0"}
	if change != nil {
		change(&c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

// plain trusts nobody: it speaks no TLS.
var plain = &http.Client{Transport: &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{}}}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// TestRequest: the gateway sees the request as the program sent it, under the name
// that it gave, by the workload's SVID.
func TestRequest(t *testing.T) {
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s ua=%q ae=%q key=%q via=%q", r.Method, r.Host, r.URL.RequestURI(),
			r.UserAgent(), r.Header.Get("Accept-Encoding"), r.Header.Get("Authorization"), r.Header.Get("X-Forwarded-For"))
	})
	a := g.start(t, nil)
	base := "http://" + a.Addr().String()
	proxied := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: a.Addr().String()}), DisableCompression: true}}
	defer proxied.CloseIdleConnections()
	for _, c := range []struct {
		client    *http.Client
		url, want string
	}{
		{plain, base + "/llm.azure.mesh:8000/v1/a%2Fb?c=d", "GET " + a.Addr().String() + ` /llm.azure.mesh:8000/v1/a%2Fb?c=d ua="Go-http-client/1.1" ae="" key="" via=""`},
		{proxied, "http://llm.azure.mesh:8000/v1", `GET llm.azure.mesh:8000 /v1 ua="Go-http-client/1.1" ae="" key="" via=""`},
	} {
		if status, got := get(t, c.client, c.url); status != http.StatusOK || got != c.want {
			t.Errorf("%d %s\nwant %s", status, got, c.want)
		}
	}
}

// TestRotation: a request that comes after a new SVID is sent in a connection that
// shows it, and one that is under way ends where it began.
func TestRotation(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{}, 1)
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			w.WriteHeader(http.StatusOK)
			http.NewResponseController(w).Flush()
			begun <- struct{}{}
			<-release
			io.WriteString(w, "whole")
		}
	})
	a := g.start(t, nil)
	base := "http://" + a.Addr().String()
	long := make(chan string, 1)
	go func() {
		_, text := get(t, plain, base+"/long")
		long <- text
	}()
	<-begun
	get(t, plain, base+"/before")
	g.domain.Rotate(g.source)
	get(t, plain, base+"/after")
	close(release)
	if text := <-long; text != "whole" {
		t.Errorf("what was under way came as %q", text)
	}
	svid, err := g.source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	now := certs.Fingerprint(svid.Certificates[0])
	if len(g.shown) != 3 || g.shown[1] == now || g.shown[2] != now || g.conns[0] != g.conns[1] || g.conns[1] == g.conns[2] {
		t.Errorf("requests came under %v of %v, now it is %v", g.shown, g.conns, now)
	}
}

// TestImpostor: what is no gateway of the own trust domain gets no request.
func TestImpostor(t *testing.T) {
	for _, path := range []string{"/ai/gateway", "/sallyport/gateways/onprem-1"} {
		g := newGateway(t, path, func(http.ResponseWriter, *http.Request) { t.Error("a request came") })
		a := g.start(t, nil)
		status, text := get(t, plain, "http://"+a.Addr().String()+"/")
		if status != http.StatusBadGateway || !strings.Contains(text, "is no gateway of trust domain onprem.test") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	g := newGateway(t, "/sallyport/gateway/onprem-2", func(http.ResponseWriter, *http.Request) { t.Error("a request came") })
	a := g.start(t, func(c *Config) { c.GatewayID = g.domain.ID("/sallyport/gateway/onprem-1") })
	if status, text := get(t, plain, "http://"+a.Addr().String()+"/"); status != http.StatusBadGateway || !strings.Contains(text, "want spiffe://onprem.test/sallyport/gateway/onprem-1") {
		t.Errorf("another gateway: %d %s", status, text)
	}
}

// TestConnect: a byte stream passes both ways, each of which ends by itself, and a
// refusal comes as the gateway gave it.
func TestConnect(t *testing.T) {
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "db.azure.mesh:5432" {
			http.Error(w, "no: "+r.Host, http.StatusForbidden)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nfirst,")
		all, _ := io.ReadAll(buffered)
		fmt.Fprintf(conn, "heard %d", len(all))
	})
	a := g.start(t, nil)
	ask := func(authority string) (*net.TCPConn, *bufio.Reader, *http.Response) {
		c, err := net.Dial("tcp", a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority)
		r := bufio.NewReader(c)
		answer, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
		if err != nil {
			t.Fatal(err)
		}
		return c.(*net.TCPConn), r, answer
	}
	c, r, answer := ask("db.azure.mesh:5432")
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
	const long = 1 << 20
	go func() {
		c.Write(make([]byte, long))
		c.CloseWrite()
	}()
	if all, err := io.ReadAll(r); err != nil || string(all) != fmt.Sprintf("first,heard %d", long) {
		t.Errorf("%q, %v", all, err)
	}
	_, _, answer = ask("other.azure.mesh:1")
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "no: other.azure.mesh:1") {
		t.Errorf("%d %s", answer.StatusCode, text)
	}
}

// TestCut: a byte stream that the gateway breaks off does not end in order.
func TestCut(t *testing.T) {
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nhalf")
		tcp := conn.(*tls.Conn).NetConn().(*net.TCPConn)
		tcp.SetLinger(0)
		tcp.Close()
	})
	a := g.start(t, nil)
	c, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "CONNECT db.azure.mesh:5432 HTTP/1.1\r\nHost: db.azure.mesh:5432\r\n\r\n")
	if all, err := io.ReadAll(c); err == nil {
		t.Errorf("%q ended as if it were whole", all)
	}
}

// TestTrailersOnly: an answer of gRPC that failed at once has its status in the
// trailers, over either version of HTTP.
func TestTrailersOnly(t *testing.T) {
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "9")
		w.Header().Set("Grpc-Message", "not now")
		if r.Header.Get("Te") != "trailers" {
			t.Errorf("te: %q", r.Header.Get("Te"))
		}
	})
	a := g.start(t, nil)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	for range 100 {
		r, _ := http.NewRequest(http.MethodPost, "http://"+a.Addr().String()+"/s/m", http.NoBody)
		r.Header.Set("Te", "trailers")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.ProtoMajor != 2 || answer.Trailer.Get("Grpc-Status") != "9" || answer.Trailer.Get("Grpc-Message") != "not now" {
			t.Fatalf("%s, trailers %v", answer.Proto, answer.Trailer)
		}
	}
}

// TestUsers: another user of this host is nobody until it is named.
func TestUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const nobody = 65534
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(http.ResponseWriter, *http.Request) {})
	for _, named := range []bool{false, true} {
		a := g.start(t, func(c *Config) {
			if named {
				c.UIDs = []uint32{nobody}
			}
		})
		_, port, _ := net.SplitHostPort(a.Addr().String())
		cmd := exec.Command("bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/$0 && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && grep -c 200 <&3`, port)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if err := cmd.Run(); (err == nil) != named {
			t.Errorf("named %t: %v", named, err)
		}
	}
}

// TestRefuses: an address that others can reach is none, and neither is one without
// a port.
func TestRefuses(t *testing.T) {
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(http.ResponseWriter, *http.Request) {})
	for want, c := range map[string]Config{
		"is not loopback":        {Gateway: "10.0.0.1:1", Listen: "0.0.0.0:0"},
		"is no HOST:PORT":        {Gateway: "10.0.0.1", Listen: "127.0.0.1:0"},
		"neither HOST:PORT":      {Gateway: "10.0.0.1:1", Listen: "nowhere"},
		"address already in use": {Gateway: "10.0.0.1:1", Listen: "unix:" + occupied(t)},
	} {
		c.Source = g.source
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func occupied(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path
}

// TestGatewayDown: a request that finds no gateway is answered with what is wrong.
func TestGatewayDown(t *testing.T) {
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(http.ResponseWriter, *http.Request) {})
	a := g.start(t, nil)
	g.Server.Close()
	began := time.Now()
	status, text := get(t, plain, "http://"+a.Addr().String()+"/")
	if status != http.StatusBadGateway || !strings.Contains(text, "could not be asked") || time.Since(began) > headTimeout {
		t.Errorf("%d %s after %s", status, text, time.Since(began))
	}
}
