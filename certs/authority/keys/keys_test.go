package keys

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
)

// Of a signer that is a process of its own, made of this test binary.
const (
	serveAt   = "SALLYPORT_SIGNER_SOCKET"
	serveFrom = "SALLYPORT_SIGNER_DIR"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(serveAt); socket != "" {
		os.Exit(signerProcess(socket, os.Getenv(serveFrom)))
	}
	os.Exit(m.Run())
}

func signerProcess(socket, dir string) int {
	store, err := OpenDisk(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("serving")
	if err := Serve(context.Background(), l, store, attest.Selectors{UIDs: []uint32{uint32(os.Getuid())}}, zap.NewNop()); err != nil {
		fmt.Println(err)
	}
	return 1
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ks") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// remote starts a signer's process and gives a store of it.
func remote(t *testing.T) *Remote {
	t.Helper()
	dir := shortDir(t)
	socket := filepath.Join(dir, "s")
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), own)
	cmd.Env = []string{serveAt + "=" + socket, serveFrom + "=" + filepath.Join(dir, "keys")}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "serving\n" {
		t.Fatalf("the signer says %q, %v", line, err)
	}
	return Dial(socket)
}

func disk(t *testing.T) *Disk {
	t.Helper()
	d, err := OpenDisk(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestStores holds every store to the contract.
func TestStores(t *testing.T) {
	for name, s := range map[string]Store{"disk": disk(t), "another process": remote(t)} {
		t.Run(name, func(t *testing.T) { conforms(t, s) })
	}
}

func conforms(t *testing.T, s Store) {
	t.Helper()
	if _, err := s.Load("root-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of no key = %v", err)
	}
	made, err := s.Make("root-1")
	if err != nil {
		t.Fatal(err)
	}
	pub, err := CheckPublic(made.Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Make("root-1"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Make of the same name = %v", err)
	}
	for what, load := range map[string]func() (crypto.Signer, error){
		"Make":   func() (crypto.Signer, error) { return made, nil },
		"Load":   func() (crypto.Signer, error) { return s.Load("root-1") },
		"Ensure": func() (crypto.Signer, error) { return Ensure(s, "root-1") },
	} {
		signer, err := load()
		if err != nil {
			t.Fatalf("%s = %v", what, err)
		}
		digest := sha256.Sum256([]byte(what))
		signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil || !ecdsa.VerifyASN1(pub, digest[:], signature) {
			t.Errorf("signature of %s: %v", what, err)
		}
	}
	other, err := Ensure(s, "root-2")
	if err != nil || pub.Equal(other.Public()) {
		t.Errorf("another name gives the same key, or %v", err)
	}
	for range 2 { // the second time there is none
		if err := s.Remove("root-1"); err != nil {
			t.Errorf("Remove = %v", err)
		}
	}
	if _, err := s.Load("root-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load after Remove = %v", err)
	}
	for _, bad := range []string{"", "../root", "a/b", "A", "a.pem", strings.Repeat("a", maxName+1)} {
		_, made := s.Make(bad)
		_, loaded := s.Load(bad)
		if removed := s.Remove(bad); made == nil || loaded == nil || removed == nil {
			t.Errorf("name %q: %v, %v, %v", bad, made, loaded, removed)
		}
	}
}

func TestDiskRefuses(t *testing.T) {
	d := disk(t)
	if _, err := d.Make("key"); err != nil {
		t.Fatal(err)
	}
	path := d.path("key")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	big, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(big)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		text []byte
		mode fs.FileMode
		says string
	}{
		{"the group may read it", good, 0o640, "chmod 600"},
		{"others may read it", good, 0o604, "chmod 600"},
		{"not a key", []byte("secret words"), 0o600, "no PEM block"},
		{"two keys", append(append([]byte{}, good...), good...), 0o600, "second PEM block"},
		{"another curve", pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), 0o600, "P-256"},
		{"empty", nil, 0o600, "no PEM block"},
	}
	for _, tt := range tests {
		if err := os.WriteFile(path, tt.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		_, err := d.Load("key")
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if os.Getuid() == 0 {
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Load("key"); err == nil || !strings.Contains(err.Error(), "user 65534") {
			t.Errorf("another user's key: %v", err)
		}
	}
	if err := os.Chmod(d.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDisk(d.dir); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a directory for others: %v", err)
	}
}

// TestSignerRefusesOthers: who is not among its users gets nothing.
func TestSignerRefusesOthers(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, l, disk(t), attest.Selectors{UIDs: []uint32{uint32(os.Getuid()) + 1}}, zap.NewNop())
	}()
	if _, err := Dial(socket).Make("root-1"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("Make = %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// TestRogueSigner answers with what it should not: none of it is believed.
func TestRogueSigner(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	says := &keyMessage{PublicKey: der}
	socket := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(says)
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()

	r := Dial(socket)
	signer, err := r.Load("root-1")
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	if says.Signature, err = key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(nil, digest[:], crypto.SHA256); err != nil {
		t.Errorf("a good signature: %v", err)
	}
	other := sha256.Sum256([]byte("y"))
	if _, err := signer.Sign(nil, other[:], crypto.SHA256); err == nil {
		t.Error("a signature of something else was believed")
	}
	if _, err := signer.Sign(nil, digest[:], crypto.SHA384); err == nil {
		t.Error("another digest was signed")
	}
	for _, bad := range [][]byte{nil, {1, 2, 3}} {
		says.PublicKey = bad
		if _, err := r.Load("root-1"); err == nil {
			t.Errorf("public key %v was believed", bad)
		}
	}
	server.Close()
	if _, err := r.Load("root-1"); err == nil || !strings.Contains(err.Error(), "ask signer") {
		t.Errorf("a signer that is gone: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := Parse(text); err == nil && key.Curve != elliptic.P256() {
			t.Error("a key of another curve was taken")
		}
	})
}

func BenchmarkSign(b *testing.B) {
	d, err := OpenDisk(filepath.Join(b.TempDir(), "keys"))
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ks")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go func() { _ = Serve(ctx, l, d, attest.Selectors{UIDs: []uint32{uint32(os.Getuid())}}, zap.NewNop()) }()
	for name, s := range map[string]Store{"disk": d, "remote": Dial(l.Addr().String())} {
		signer, err := Ensure(s, "root-1")
		if err != nil {
			b.Fatal(err)
		}
		digest := sha256.Sum256(nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
