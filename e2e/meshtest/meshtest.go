// Package meshtest brings up a whole mesh for a test: the very one that
// `sallyport demo` runs, in a directory of its own, until the test ends.
package meshtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Patience bounds every wait: far longer than anything takes, on a machine that
// does other things too.
const Patience = 30 * time.Second

// Mesh is a mesh that is up.
type Mesh struct {
	*localmesh.Mesh
	// Context ends with the test, or with the mesh.
	Context context.Context
}

// Start brings a mesh up and takes it down with the test. Change, if not nil,
// changes what is run. Its policy is Plain unless that says another.
func Start(t testing.TB, change func(*localmesh.Config)) *Mesh {
	t.Helper()
	cfg := localmesh.Config{Dir: Dir(t), Log: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))}
	if os.Getenv("SALLYPORT_TEST_LOG") == "" {
		cfg.Log = zap.NewNop() // the mesh logs after the test has ended
	}
	if change != nil {
		change(&cfg)
	}
	if cfg.Policy == nil {
		cfg.Policy = Plain()
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, down := make(chan *localmesh.Mesh, 1), make(chan error, 1)
	go func() {
		down <- localmesh.Run(ctx, cfg, func(ctx context.Context, m *localmesh.Mesh) error {
			up <- m
			return nil
		})
	}()
	select {
	case m := <-up:
		t.Cleanup(func() {
			cancel()
			if err := <-down; err != nil {
				t.Errorf("the mesh ended with: %v", err)
			}
		})
		return &Mesh{Mesh: m, Context: ctx}
	case err := <-down:
		cancel()
		t.Fatalf("the mesh did not come up: %v", err)
	}
	return nil
}

// Dir is a directory short enough for Unix sockets, removed with the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// As is an HTTP client that attaches as a workload by mTLS.
func (m *Mesh) As(t testing.TB, workload string) *http.Client {
	t.Helper()
	c, err := m.Client(m.Context, workload)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// Token is a JWT-SVID of a workload for its own environment's gateway.
func (m *Mesh) Token(t testing.TB, workload, environment string) string {
	t.Helper()
	return m.JWT(t, workload, localmesh.GatewayID(environment).String())
}

// JWT is a JWT-SVID of a workload for an audience.
func (m *Mesh) JWT(t testing.TB, workload, audience string) string {
	t.Helper()
	s, err := m.Source(m.Context, workload)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := s.FetchJWTSVID(m.Context, audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TrustOnly is how a client that knows nothing of SPIFFE trusts a gateway: by
// root certificates and DNS name.
func (m *Mesh) TrustOnly(t testing.TB, environment string) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(m.CABundle(environment)) {
		t.Fatal("no root certificates")
	}
	return &tls.Config{RootCAs: roots}
}

// CAFile is the same as a file.
func (m *Mesh) CAFile(t testing.TB, environment string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), environment+".pem")
	if err := os.WriteFile(path, m.CABundle(environment), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// WriteSVID writes a workload's X509-SVID and key as PEM files, for programs that
// know nothing of the Workload API.
func (m *Mesh) WriteSVID(t testing.TB, workload string) (cert, key string) {
	t.Helper()
	source, err := m.Source(m.Context, workload)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	chain, private, err := svid.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "svid.pem"), filepath.Join(dir, "svid.key")
	for path, text := range map[string][]byte{cert: chain, key: private} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// ServeChat serves in place of the mesh's own llm, until the test ends.
func (m *Mesh) ServeChat(t testing.TB, h http.HandlerFunc) {
	t.Helper()
	m.Serve(t, "llm", map[string]http.Handler{"chat": h})
}

// Serve serves these services, and no others, in place of a workload of the
// mesh's own, until the test ends.
func (m *Mesh) Serve(t testing.TB, workload string, services map[string]http.Handler) {
	t.Helper()
	source, err := m.Source(m.Context, workload)
	if err != nil {
		t.Fatal(err)
	}
	gateway := localmesh.GatewayID(strings.TrimSuffix(source.TrustDomain().Name(), ".demo"))
	config := certs.ServerTLS(source, certs.AuthorizeID(gateway), "http/1.1")
	at := map[string]string{}
	for name, h := range services {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: h, ReadHeaderTimeout: Patience}
		go srv.Serve(tls.NewListener(l, config)) //nolint:errcheck // it ends with the test
		t.Cleanup(func() { srv.Close() })        //nolint:errcheck // nobody is served any more
		at[name] = l.Addr().String()
	}
	if err := m.Register(m.Context, workload, at); err != nil {
		t.Fatal(err)
	}
}

// DialTo makes a dialler that reaches one address whatever name it is given.
func DialTo(addr net.Addr) func(ctx context.Context, network, _ string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr.String())
	}
}

// Crossings asks the API.
func (m *Mesh) Crossings(t testing.TB, req *controlv1.ListCrossingsRequest) []*crossingv1.Record {
	t.Helper()
	var all []*crossingv1.Record
	err := m.list(req, func() { all = nil }, func(r *crossingv1.Record) bool {
		all = append(all, r)
		return false
	})
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return all
}

// Unmatched are the findings of the API, of all transitions.
func (m *Mesh) Unmatched(t testing.TB) []*controlv1.Finding {
	t.Helper()
	ctx, cancel := context.WithTimeout(m.Context, Patience)
	defer cancel()
	stream, err := controlv1.NewCrossingServiceClient(m.API()).ListUnmatched(ctx, &controlv1.ListUnmatchedRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return All(t, stream)
}

// Follow waits for a record that want accepts.
func (m *Mesh) Follow(t testing.TB, req *controlv1.ListCrossingsRequest, want func(*crossingv1.Record) bool) *crossingv1.Record {
	t.Helper()
	req.Follow = true
	var last *crossingv1.Record
	err := m.list(req, func() {}, func(r *crossingv1.Record) bool {
		last = r
		return want(r)
	})
	if err != nil {
		t.Fatalf("wait for a record: %v; last seen: %v", err, last)
	}
	return last
}

// list gives records until one is enough, or fails, with io.EOF at their end. It
// begins again when the connection has ended, as it does with the operator's SVID.
func (m *Mesh) list(req *controlv1.ListCrossingsRequest, begin func(), enough func(*crossingv1.Record) bool) error {
	ctx, cancel := context.WithTimeout(m.Context, Patience)
	defer cancel()
	for {
		begin()
		stream, err := controlv1.NewCrossingServiceClient(m.API()).ListCrossings(ctx, req)
		for err == nil {
			var r *crossingv1.Record
			if r, err = stream.Recv(); err == nil && enough(r) {
				return nil
			}
		}
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return err
		}
	}
}

// Record waits for the whole record of a crossing.
func (m *Mesh) Record(t testing.TB, id string) *crossingv1.Record {
	t.Helper()
	if id == "" {
		t.Fatal("no crossing id")
	}
	return m.Follow(t, &controlv1.ListCrossingsRequest{Id: id}, Whole)
}

// Whole says that nothing is to be expected any more of a record.
func Whole(r *crossingv1.Record) bool {
	switch r.GetState() {
	case crossingv1.Record_JOINED, crossingv1.Record_DENIED, crossingv1.Record_REFUSED, crossingv1.Record_DISAGREE:
		return true
	}
	return false
}

// PolicyText is the policy as the mesh published it.
func (m *Mesh) PolicyText(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.Dir(), "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Edit replaces a part of a text that must be there.
func Edit(t testing.TB, text, old, replacement string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in the policy", old)
	}
	return strings.Replace(text, old, replacement, 1)
}

// Edited is Plain, with each text that must be there replaced by another.
func Edited(t testing.TB, edits map[string]string) []byte {
	t.Helper()
	text := string(Plain())
	for old, replacement := range edits {
		text = Edit(t, text, old, replacement)
	}
	return []byte(text)
}

// Eventually waits until something holds that nothing tells of.
func (m *Mesh) Eventually(t testing.TB, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(Patience); !holds(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to hold")
		}
	}
}

// All are the answers of a stream, to its end.
func All[T any](t testing.TB, stream grpc.ServerStreamingClient[T]) (all []*T) {
	t.Helper()
	for {
		one, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}
