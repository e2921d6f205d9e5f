package controlplane

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// bundleOf is a trust domain's bundle document.
func bundleOf(t *testing.T, d *certstest.Domain) []byte {
	t.Helper()
	data, err := d.Bundle().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// replace puts a file in place as a whole, as whoever copies bundles should.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestBundleFile(t *testing.T) {
	t.Parallel()
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	td := mesh["aws.demo"].TrustDomain()
	path := filepath.Join(t.TempDir(), "aws.json")
	empty, err := spiffebundle.New(td).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	good, other := bundleOf(t, mesh["aws.demo"]), bundleOf(t, mesh["azure.demo"])
	f := &bundleFile{path: path}
	steps := []struct {
		name    string
		data    []byte
		changed bool
		fails   bool
	}{
		{"not there", nil, false, true},
		{"first", good, true, false},
		{"the same", good, false, false},
		{"no JSON", []byte("{"), false, true},
		{"no roots", empty, false, true},
		{"good again", good, false, false},
		{"other roots", other, true, false},
	}
	for _, s := range steps {
		if s.data != nil {
			replace(t, path, s.data)
		}
		changed, err := f.read(td)
		if changed != s.changed || (err != nil) != s.fails {
			t.Errorf("%s: read() = %v, %v, want changed %v, failing %v", s.name, changed, err, s.changed, s.fails)
		}
	}
	if f.bundle == nil {
		t.Error("the last good bundle is gone")
	}
}

// newTestAuthority makes an authority of onprem.demo with one entry.
func newTestAuthority(t *testing.T, log *zap.Logger, federated map[spiffeid.TrustDomain]string) (*Authority, string, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	td := spiffeid.RequireTrustDomainFromString("onprem.demo")
	socket := filepath.Join(dir, "w.sock")
	a, err := NewAuthority(AuthorityConfig{
		Authority: authority.Config{
			TrustDomain: td, Dir: filepath.Join(dir, "keys"),
			Entries: []authority.Entry{{ID: spiffeid.RequireFromPath(td, "/ai/orchestrator"), Socket: socket}},
		},
		Federated: federated, Log: log,
	})
	return a, "unix://" + socket, err
}

func TestAuthorityFollowsBundleFiles(t *testing.T) {
	t.Parallel()
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	aws := mesh["aws.demo"].TrustDomain()
	path := filepath.Join(t.TempDir(), "aws.json")
	a, address, err := newTestAuthority(t, nil, map[spiffeid.TrustDomain]string{aws: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	}()
	source, err := certs.NewSource(t.Context(), certs.Options{WorkloadAPI: address})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := source.GetX509BundleForTrustDomain(aws); err == nil {
		t.Fatal("a bundle is there before its file")
	}
	replace(t, path, bundleOf(t, mesh["aws.demo"]))
	for {
		if _, err := source.GetX509BundleForTrustDomain(aws); err == nil {
			return
		}
		select {
		case <-source.Updated():
		case <-t.Context().Done():
			t.Fatal("the bundle did not come")
		}
	}
}

func TestAuthorityLogsAFaultOnce(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.ErrorLevel)
	aws := spiffeid.RequireTrustDomainFromString("aws.demo")
	a, _, err := newTestAuthority(t, zap.New(core), map[spiffeid.TrustDomain]string{aws: "/nowhere/aws.json"})
	if err != nil {
		t.Fatal(err)
	}
	a.refresh()
	a.refresh()
	if n := logs.FilterMessage("federated bundle cannot be read").Len(); n != 1 {
		t.Errorf("the missing file was logged %d times, want once", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Errorf("Run() with an ended context = %v", err)
	}
}

func TestAuthorityDoesNotFederateWithItself(t *testing.T) {
	t.Parallel()
	own := spiffeid.RequireTrustDomainFromString("onprem.demo")
	if _, _, err := newTestAuthority(t, nil, map[spiffeid.TrustDomain]string{own: "x"}); err == nil {
		t.Error("NewAuthority() that federates its own trust domain succeeded")
	}
}
