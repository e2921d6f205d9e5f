package capture

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sallyport-mesh/sallyport/certs/localpeer"
)

// TestCgroup: a process is in its very cgroup, not in one above it, nor in one that
// has its path again.
func TestCgroup(t *testing.T) {
	root, err := cgroupRoot()
	if err != nil {
		skip(t, err)
	}
	name := "/sallyport-test-" + strings.ReplaceAll(filepath.Base(t.TempDir()), "/", "")
	dir := filepath.Join(root, name, "below")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		skip(t, err)
	}
	t.Cleanup(func() { os.Remove(dir); os.Remove(filepath.Dir(dir)) })
	c, err := New([]Caller{caller(t, agent, "cgroup:"+name+"/below")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.of(localpeer.Peer{UID: 7, Cgroup: inode(t, dir)}); err != nil {
		t.Error(err)
	}
	for what, p := range map[string]localpeer.Peer{
		"one above it": {Cgroup: inode(t, filepath.Dir(dir))}, "none": {}, "the root": {Cgroup: inode(t, root)},
	} {
		if id, err := c.of(p); !errors.Is(err, ErrNobody) {
			t.Errorf("a process in %s is %q, %v", what, id, err)
		}
	}
	was := inode(t, dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if id, err := c.of(localpeer.Peer{Cgroup: was}); !errors.Is(err, ErrNobody) {
		t.Errorf("a process in a cgroup that has gone is %q, %v", id, err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := c.of(localpeer.Peer{Cgroup: inode(t, dir)}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if id, err := c.of(localpeer.Peer{Cgroup: was}); !errors.Is(err, ErrNobody) {
		t.Errorf("a process in the one before is %q, %v", id, err)
	}
}

// skip skips a test for what it needs. Where everything is there,
// SALLYPORT_REQUIRE_ALL turns the skip into a failure.
func skip(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("SALLYPORT_REQUIRE_ALL") != "" {
		t.Fatalf("needs root and cgroups (v2): %v", why)
	}
	t.Skipf("needs root and cgroups (v2): %v", why)
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestTransparent: a socket has the option or, without the capability, there is an
// error that says what to do.
func TestTransparent(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Logf("%s is not to be had here: %v", at, err)
			continue
		}
		defer l.Close()
		for range 2 { // the second time as of one that was handed over
			err := Transparent(l)
			if errors.Is(err, unix.EPERM) {
				t.Skip(err)
			}
			if err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
	if err := Transparent(nil); err == nil {
		t.Error("no listener at all was taken")
	}
}

// TestTransparentWithout: the error of a process without the capability says what it
// needs.
func TestTransparentWithout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var none [2]unix.CapUserData
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			said <- err
			return
		}
		said <- Transparent(l)
	}()
	if err := <-said; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "AmbientCapabilities=") {
		t.Errorf("Transparent = %v", err)
	}
}
