package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// What is written is a key pair that its bundle verifies, and nobody else may
// read the key.
func TestSVIDX509(t *testing.T) {
	m := startRealMesh(t)
	out := filepath.Join(t.TempDir(), "new", "svid")
	for range 2 { // a second time in place of the first
		code, stdout, stderr := invoke(t, "svid", "x509", "--out", out, "--workload-api", m.workloadAPI)
		if code != yes || stderr != "" || !strings.Contains(stdout, operatorID+" until ") {
			t.Fatalf("svid x509 = %d, %q, %q", code, stdout, stderr)
		}
	}
	for name, want := range map[string]os.FileMode{"key.pem": 0o600, "svid.pem": 0o644, "bundle.pem": 0o644} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %o", name, info, err, want)
		}
	}
	if files, err := os.ReadDir(out); err != nil || len(files) != 3 {
		t.Errorf("%d files, %v, want 3", len(files), err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(out, "svid.pem"), filepath.Join(out, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots, text := x509.NewCertPool(), read(t, filepath.Join(out, "bundle.pem"))
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("no root in %q", text)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(cert)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if id, err := x509svid.IDFromCert(leaf); err != nil || id.String() != operatorID {
		t.Errorf("it is of %s, %v", id, err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSVIDJWT(t *testing.T) {
	m := startRealMesh(t)
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", m.workloadAPI)
	code, stdout, stderr := invoke(t, "svid", "jwt", "--audience", controlPlaneID)
	if code != yes || stderr != "" || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("svid jwt = %d, %q, %q", code, stdout, stderr)
	}
	svid, err := jwtsvid.ParseInsecure(strings.TrimSpace(stdout), []string{controlPlaneID})
	if err != nil || svid.ID.String() != operatorID {
		t.Errorf("it is of %v, %v", svid, err)
	}
}

func TestSVIDRefuses(t *testing.T) {
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	for _, c := range []struct{ name, args, want string }{
		{"no directory", "svid x509", "required flag"},
		{"no audience", "svid jwt", "required flag"},
		{"audience that is none", "svid jwt --audience gateway", `"gateway" is no SPIFFE ID`},
		{"no Workload API", "svid jwt --audience spiffe://a/b", "SPIFFE_ENDPOINT_SOCKET"},
	} {
		if code, stdout, stderr := invoke(t, strings.Fields(c.args)...); code != couldNotSay || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %d, %q, %q, want %q", c.name, code, stdout, stderr, c.want)
		}
	}
}
