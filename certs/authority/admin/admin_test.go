package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/zap"
)

// roots is an authority that notes what it is told to do.
type roots struct {
	notYet bool
	fault  error

	mu   sync.Mutex // guards said: what is done for curl is read of another goroutine
	said []string
}

func (r *roots) do(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, what)
	return r.fault
}

func (r *roots) done() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.said)
}

func (r *roots) may() error {
	if r.notYet {
		return fmt.Errorf("%w: wait another hour", ErrNotYet)
	}
	return nil
}

func (r *roots) Roots() []Root          { return []Root{{Number: 7, State: "active"}} }
func (r *roots) PrepareRoot() error     { return r.do("prepare") }
func (r *roots) MayActivateRoot() error { return r.may() }
func (r *roots) ActivateRoot() error    { return r.do("activate") }
func (r *roots) MayRetireRoot() error   { return r.may() }
func (r *roots) RetireRoot() error      { return r.do("retire") }
func (r *roots) AbandonRoot() error     { return r.do("abandon") }

func serve(t *testing.T, r *roots) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ad") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // so that others get as far as the door
		t.Fatal(err)
	}
	socket := filepath.Join(dir, Socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, r, zap.NewNop()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return socket
}

func TestSteps(t *testing.T) {
	r := &roots{}
	c := Dial(serve(t, r))
	if got, err := c.Roots(t.Context()); err != nil || len(got) != 1 || got[0].Number != 7 {
		t.Errorf("Roots = %v, %v", got, err)
	}
	for _, step := range []string{"prepare", "activate", "retire", "abandon"} {
		if got, err := c.Step(t.Context(), step); err != nil || len(got) != 1 {
			t.Errorf("Step(%q) = %v, %v", step, got, err)
		}
	}
	if _, err := c.Step(t.Context(), "destroy"); err == nil {
		t.Error("an unknown step was taken")
	}
	r.notYet = true
	for _, step := range []string{"activate", "retire"} {
		if _, err := c.Step(t.Context(), step); !errors.Is(err, ErrNotYet) || !strings.Contains(err.Error(), "another hour") {
			t.Errorf("Step(%q) = %v, want ErrNotYet", step, err)
		}
		if _, err := c.ForceStep(t.Context(), step); err != nil {
			t.Errorf("ForceStep(%q) = %v", step, err)
		}
	}
	r.fault = errors.New("disk is full")
	if _, err := c.ForceStep(t.Context(), "prepare"); err == nil || errors.Is(err, ErrNotYet) || err.Error() != "disk is full" {
		t.Errorf("a step that fails = %v", err)
	}
	want := []string{"prepare", "activate", "retire", "abandon", "activate", "retire", "prepare"}
	if !slices.Equal(r.done(), want) {
		t.Errorf("done: %v, want %v", r.done(), want)
	}
}

// TestOtherUsers: who is neither the authority's user nor root may do nothing, even
// if the socket's mode let him.
func TestOtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it runs a process as another user")
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl")
	}
	r := &roots{}
	socket := serve(t, r)
	ask := func(uid uint32) string {
		cmd := exec.CommandContext(t.Context(), curl, "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", socket, "-X", "POST", "http://a/v1/roots/prepare")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if got := ask(65534); got != "403" || len(r.done()) != 0 {
		t.Errorf("another user got %s, and %v was done", got, r.done())
	}
	if got := ask(0); got != "200" || len(r.done()) != 1 {
		t.Errorf("root got %s, and %v was done", got, r.done())
	}
}

func TestNobodyThere(t *testing.T) {
	if _, err := Dial("/nowhere/admin.sock").Roots(t.Context()); err == nil || !strings.Contains(err.Error(), "ask the authority") {
		t.Errorf("Roots = %v", err)
	}
}
