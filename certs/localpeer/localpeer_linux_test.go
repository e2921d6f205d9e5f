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
}

// TestClosed: of a socket that its process has closed nothing is known, though the
// kernel still has it: it may then be told as root's.
func TestClosed(t *testing.T) {
	for name, end := range map[string]func(own *net.TCPConn){
		"FIN_WAIT2": func(*net.TCPConn) {},
		"TIME_WAIT": func(own *net.TCPConn) { own.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, "tcp4", "127.0.0.1:0")
			var client net.Conn
			c := accepted(t, l, func() (_ net.Conn, err error) {
				client, err = net.Dial("tcp4", l.Addr().String())
				return client, err
			})
			client.Close()
			if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Fatalf("read %d, %v", n, err)
			}
			end(c.(*net.TCPConn))
			if p, err := Of(c); !errors.Is(err, ErrUnknown) || p != (Peer{}) {
				t.Errorf("got %+v, %v", p, err)
			}
		})
	}
}

// TestHalfClosed: a process that has said all still has its socket.
func TestHalfClosed(t *testing.T) {
	l := listen(t, "tcp4", "127.0.0.1:0")
	var client net.Conn
	c := accepted(t, l, func() (_ net.Conn, err error) {
		client, err = net.Dial("tcp4", l.Addr().String())
		return client, err
	})
	client.(*net.TCPConn).CloseWrite()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if p, err := Of(c); err != nil || p.UID != uint32(os.Getuid()) {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestSuccessor: who has the peer's port after it went away is not who said what the
// connection has to read.
func TestSuccessor(t *testing.T) {
	l := succeeded(t)
	for _, want := range []error{ErrUnknown, nil} {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if p, err := Of(c); !errors.Is(err, want) {
			t.Errorf("got %+v, %v; want %v", p, err, want)
		}
	}
}

// succeeded has two connections to accept from the same port: one that said something
// and was reset, and one that is up.
func succeeded(t *testing.T) net.Listener {
	t.Helper()
	for range 100 {
		l := listen(t, "tcp4", "127.0.0.1:0")
		t.Cleanup(func() { l.Close() })
		first, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := first.Write([]byte("words")); err != nil {
			t.Fatal(err)
		}
		first.(*net.TCPConn).SetLinger(0)
		first.Close()
		second, err := (&net.Dialer{LocalAddr: first.LocalAddr()}).Dial("tcp4", l.Addr().String())
		switch {
		case err == nil:
			t.Cleanup(func() { second.Close() })
			return l
		case !errors.Is(err, syscall.EADDRINUSE): // somebody else was faster
			t.Fatal(err)
		}
	}
	t.Fatal("the port of a connection that has ended is always taken")
	return nil
}

// TestListening: a socket that listens at the peer's port is not the peer.
func TestListening(t *testing.T) {
	l := listen(t, "tcp4", "127.0.0.1:0")
	defer l.Close()
	own := netip.MustParseAddrPort("127.0.0.1:1")
	if p, err := ofTCP(l.Addr().(*net.TCPAddr).AddrPort(), own); !errors.Is(err, ErrUnknown) || p != (Peer{}) {
		t.Errorf("got %+v, %v", p, err)
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
		for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			if is && isCgroup2(at) && unix.Stat(filepath.Join(at, path), &st) == nil {
				return st.Ino, true
			}
		}
	}
	return 0, false
}

func isCgroup2(at string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(at, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// The socket that the answers here are about.
var (
	itsPeer = netip.MustParseAddrPort("10.1.0.7:40312")
	itsOwn  = netip.MustParseAddrPort("10.3.0.9:8000")
)

// answer is one of the kernel's about a socket of user 7 in cgroup 9.
func answer() []byte {
	b := make([]byte, 16+answerSize+12)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	msg := b[16:]
	msg[0], msg[stateAt] = unix.AF_INET, 1
	binary.BigEndian.PutUint16(msg[4:], itsPeer.Port())
	binary.BigEndian.PutUint16(msg[6:], itsOwn.Port())
	copy(msg[8:], itsPeer.Addr().AsSlice())
	copy(msg[24:], itsOwn.Addr().AsSlice())
	binary.NativeEndian.PutUint32(msg[uidAt:], 7)
	binary.NativeEndian.PutUint32(msg[inodeAt:], 1234)
	binary.NativeEndian.PutUint16(msg[answerSize:], 12)
	binary.NativeEndian.PutUint16(msg[answerSize+2:], cgroupID)
	binary.NativeEndian.PutUint64(msg[answerSize+4:], 9)
	return b
}

// FuzzAnswer: no answer makes the parser read beyond it.
func FuzzAnswer(f *testing.F) {
	f.Add(answer())
	f.Add(answer()[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseAnswer(b, itsPeer, itsOwn)
		if err != nil && p != (Peer{}) {
			t.Errorf("%+v beside %v", p, err)
		}
		if err == nil && len(b) < 16+answerSize {
			t.Errorf("%+v of %d bytes", p, len(b))
		}
	})
}

// TestAnswer: user and cgroup stand where the kernel's headers say, and the answer
// must be about the socket that was asked for, which a process has open.
func TestAnswer(t *testing.T) {
	if p, err := parseAnswer(answer(), itsPeer, itsOwn); err != nil || p != (Peer{UID: 7, Cgroup: 9}) {
		t.Errorf("got %+v, %v", p, err)
	}
	for n := range answer() {
		if p, err := parseAnswer(answer()[:n], itsPeer, itsOwn); err == nil {
			t.Errorf("%d bytes give %+v", n, p)
		}
	}
	for name, change := range map[string]func(msg []byte){
		"listens":         func(msg []byte) { msg[stateAt] = unix.BPF_TCP_LISTEN },
		"connects yet":    func(msg []byte) { msg[stateAt] = unix.BPF_TCP_SYN_SENT },
		"closed":          func(msg []byte) { binary.NativeEndian.PutUint32(msg[inodeAt:], 0) },
		"another port":    func(msg []byte) { msg[5]++ },
		"another address": func(msg []byte) { msg[27]++ },
		"another family":  func(msg []byte) { msg[0] = unix.AF_INET6 },
	} {
		b := answer()
		change(b[16:])
		if p, err := parseAnswer(b, itsPeer, itsOwn); !errors.Is(err, ErrUnknown) || p != (Peer{}) {
			t.Errorf("%s: got %+v, %v", name, p, err)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Of(c); err != nil {
			b.Fatal(err)
		}
	}
}
