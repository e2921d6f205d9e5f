package certs_test

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// several is a Workload API that gives one workload several SVIDs, as SPIRE does,
// and no JWT-SVIDs.
type several struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	t       *testing.T
	answers chan []*x509svid.SVID
	bundle  []byte
}

func newSeveral(t *testing.T, d *certstest.Domain) (api *several, addr string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "a.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	api = &several{t: t, answers: make(chan []*x509svid.SVID, 1), bundle: raw(d.Bundle().X509Authorities())}
	srv := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(srv, api)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	return api, "unix://" + socket
}

func raw(certificates []*x509.Certificate) (der []byte) {
	for _, c := range certificates {
		der = append(der, c.Raw...)
	}
	return der
}

// FetchX509SVID implements workload.SpiffeWorkloadAPIServer.
func (s *several) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case svids := <-s.answers:
			resp := new(workload.X509SVIDResponse)
			for _, svid := range svids {
				key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
				if err != nil {
					s.t.Error(err)
				}
				resp.Svids = append(resp.Svids, &workload.X509SVID{
					SpiffeId: svid.ID.String(), X509Svid: raw(svid.Certificates), X509SvidKey: key, Bundle: s.bundle,
				})
			}
			if err := stream.Send(resp); err != nil {
				return err
			}
		}
	}
}

// TestOneOfSeveral takes the SVID that was asked for among several, or else the
// first, and stays with it whatever comes before it later.
func TestOneOfSeveral(t *testing.T) {
	d := certstest.Mesh(t, "aws.example")["aws.example"]
	fresh := func(paths ...string) (svids []*x509svid.SVID) {
		for _, path := range paths {
			svid, err := d.Source(path).GetX509SVID()
			if err != nil {
				t.Fatal(err)
			}
			svids = append(svids, svid)
		}
		return svids
	}
	for _, c := range []struct {
		name  string
		want  spiffeid.ID
		gives []string
		takes string
	}{
		{"asked for", d.ID("/gateway"), []string{"/monitoring", "/gateway"}, "/gateway"},
		{"nothing asked for", spiffeid.ID{}, []string{"/gateway", "/monitoring"}, "/gateway"},
		{"asked for what is not there", d.ID("/llm"), []string{"/gateway", "/monitoring"}, "/gateway"},
	} {
		t.Run(c.name, func(t *testing.T) {
			api, addr := newSeveral(t, d)
			api.answers <- fresh(c.gives...)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			core, logs := observer.New(zap.WarnLevel)
			s, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: addr, ID: c.want, Log: zap.New(core)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			if s.ID() != d.ID(c.takes) {
				t.Fatalf("took %s, want %s", s.ID(), c.takes)
			}
			for _, gives := range [][]string{{"/backup", "/gateway", "/monitoring"}, {"/gateway", "/backup"}} {
				svids := fresh(gives...)
				want := svids[slices.Index(gives, c.takes)]
				api.answers <- svids
				await(t, s, "renewal", func() bool {
					got, err := s.GetX509SVID()
					return err == nil && got.Certificates[0].Equal(want.Certificates[0])
				})
			}
			if refused := logs.FilterMessage("svid refused").All(); len(refused) > 0 {
				t.Errorf("refused: %v", refused)
			}
		})
	}
}
