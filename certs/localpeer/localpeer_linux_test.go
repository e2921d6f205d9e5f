package localpeer

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// accepted is the listener's end of a connection that dial makes.
func accepted(t *testing.T, l net.Listener, dial func() (net.Conn, error)) net.Conn {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	client, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("%s is not to be had here: %v", address, err)
	}
	return l
}

// TestOf: the user of every kind of connection is the one that opened it.
func TestOf(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for name, at := range map[string][2]string{
		"ipv4": {"tcp4", "127.0.0.1:0"}, "ipv6": {"tcp6", "[::1]:0"}, "mapped": {"tcp", "[::]:0"}, "unix": {"unix", socket},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, at[0], at[1])
			address := l.Addr().String()
			if name == "mapped" {
				address = strings.Replace(address, "[::]", "127.0.0.1", 1)
			}
			c := accepted(t, l, func() (net.Conn, error) { return net.Dial(at[0], address) })
			p, err := Of(c)
			if err != nil || p.UID != uint32(os.Getuid()) {
				t.Errorf("got %+v, %v; want user %d", p, err, os.Getuid())
			}
		})
	}
}

// TestOfAnother: a process of another user is told from this one.
func TestOfAnother(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const nobody = 65534
	l := listen(t, "tcp4", "127.0.0.1:0")
	defer l.Close()
	cmd := exec.Command("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$0; read -u 3", port(l))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p, err := Of(c); err != nil || p.UID != nobody {
		t.Errorf("got %+v, %v; want user %d", p, err, nobody)
	}
}

func port(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestUnknown: what the kernel does not have is an error, never a user.
func TestUnknown(t *testing.T) {
	at := netip.MustParseAddrPort
	if p, err := ofTCP(at("192.0.2.1:1"), at("127.0.0.1:1")); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %+v, %v", p, err)
	}
	client, server := net.Pipe()
	defer client.Close()
	if p, err := Of(server); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %+v, %v", p, err)
	}
	l := listen(t, "tcp4", "127.0.0.1:0")
	c := accepted(t, l, func() (net.Conn, error) { return net.Dial("tcp4", l.Addr().String()) })
	c.Close()
	if p, err := Of(c); err == nil && p.UID != uint32(os.Getuid()) {
		t.Errorf("got %+v of a closed connection", p)
	}
}

// TestCgroup: the cgroup is the one whose directory has that inode.
func TestCgroup(t *testing.T) {
	l := listen(t, "tcp4", "127.0.0.1:0")
	c := accepted(t, l, func() (net.Conn, error) { return net.Dial("tcp4", l.Addr().String()) })
	p, err := Of(c)
	if err != nil {
		t.Fatal(err)
	}
	if want, ok := ownCgroup(); ok && p.Cgroup != want {
		t.Errorf("cgroup %d, want %d", p.Cgroup, want)
	}
}

// ownCgroup is the inode of this process's cgroup directory.
func ownCgroup() (uint64, bool) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	for _, line := range strings.Split(string(text), "\n") {
		path, is := strings.CutPrefix(line, "0::")
		var st unix.Stat_t
		if is && unix.Stat(filepath.Join("/sys/fs/cgroup", path), &st) == nil && st.Ino != 0 && isCgroup2() {
			return st.Ino, true
		}
	}
	return 0, false
}

func isCgroup2() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// FuzzAnswer: no answer makes the parser read beyond it.
func FuzzAnswer(f *testing.F) {
	whole := make([]byte, 16+answerSize+12)
	binary.NativeEndian.PutUint32(whole, uint32(len(whole)))
	binary.NativeEndian.PutUint16(whole[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint32(whole[16+uidAt:], 7)
	binary.NativeEndian.PutUint16(whole[16+answerSize:], 12)
	binary.NativeEndian.PutUint16(whole[16+answerSize+2:], cgroupID)
	binary.NativeEndian.PutUint64(whole[16+answerSize+4:], 9)
	f.Add(whole)
	f.Add(whole[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseAnswer(b)
		if err != nil && p != (Peer{}) {
			t.Errorf("%+v beside %v", p, err)
		}
		if err == nil && len(b) < 16+answerSize {
			t.Errorf("%+v of %d bytes", p, len(b))
		}
	})
}

// TestAnswer: user and cgroup stand where the kernel's headers say.
func TestAnswer(t *testing.T) {
	b := make([]byte, 16+answerSize+12)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint32(b[16+uidAt:], 7)
	binary.NativeEndian.PutUint16(b[16+answerSize:], 12)
	binary.NativeEndian.PutUint16(b[16+answerSize+2:], cgroupID)
	binary.NativeEndian.PutUint64(b[16+answerSize+4:], 9)
	if p, err := parseAnswer(b); err != nil || p != (Peer{UID: 7, Cgroup: 9}) {
		t.Errorf("got %+v, %v", p, err)
	}
	for n := range b {
		if p, err := parseAnswer(b[:n]); err == nil {
			t.Errorf("%d bytes give %+v", n, p)
		}
	}
}
