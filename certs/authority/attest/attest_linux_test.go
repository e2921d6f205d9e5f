package attest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// connectTo makes this test binary a workload: it connects, says so, and waits for
// its standard input to end, or does what it reads there.
const connectTo = "SALLYPORT_ATTEST_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(connectTo); socket != "" {
		os.Exit(workload(socket))
	}
	os.Exit(m.Run())
}

func workload(socket string) int {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("connected")
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if line == "exec\n" {
		file, err := conn.(*net.UnixConn).File()
		if err == nil {
			_, err = syscall.Dup(int(file.Fd())) // without close-on-exec
		}
		if err == nil {
			err = syscall.Exec("/bin/sh", []string{"sh", "-c", "echo another; read wait"}, nil)
		}
		fmt.Println(err)
	}
	return 0
}

// child is a workload that runs, and the peer that the kernel says it is.
type child struct {
	*exec.Cmd
	peer *Peer
	in   io.WriteCloser
	out  *bufio.Reader
}

// run starts a copy of this test binary, which is a program of its own.
func run(t *testing.T, a *Attestor, as *syscall.Credential) *child {
	t.Helper()
	dir, err := os.MkdirTemp("", "at") // t.TempDir is too long for a socket, and closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return runIn(t, a, dir, copyOf(t, filepath.Join(dir, "agent")), as)
}

func copyOf(t *testing.T, path string) string {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, path...), 0o755); err != nil { // its digest is its own as well
		t.Fatal(err)
	}
	return path
}

func runIn(t *testing.T, a *Attestor, dir, program string, as *syscall.Credential) *child {
	t.Helper()
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: exec.CommandContext(t.Context(), program)}
	c.Env = []string{connectTo + "=" + socket}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if c.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	c.hear(t, "connected\n")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if c.peer, err = a.Of(conn.(*net.UnixConn)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *child) hear(t *testing.T, want string) {
	t.Helper()
	if line, err := c.out.ReadString('\n'); line != want {
		t.Fatalf("the workload said %q, %v, want %q", line, err, want)
	}
}

func (c *child) end() {
	c.in.Close()
	_ = c.Wait() // it is ended twice where a test ends it
}

func selectors(t *testing.T, texts ...string) Selectors {
	t.Helper()
	s, err := ParseAll([]uint32{0, uint32(os.Getuid()), 65534}, texts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// satisfies attests one list of selectors.
func (c *child) satisfies(t *testing.T, texts ...string) bool {
	t.Helper()
	satisfied, _, err := c.peer.Attest([]Selectors{selectors(t, texts...)})
	if err != nil {
		t.Fatalf("Attest(%q) = %v", texts, err)
	}
	return len(satisfied) == 1
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func TestAttest(t *testing.T) {
	c := run(t, New(), nil)
	sum := digestOf(t, c.Path)
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	cgroup, err := parseCgroup(string(own))
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getgid())
	tests := []struct {
		selectors []string
		want      bool
	}{
		{[]string{"unix:uid:" + uid, "unix:gid:" + gid, "unix:path:" + c.Path, "unix:sha256:" + sum, "cgroup:" + cgroup}, true},
		{[]string{"unix:path:" + c.Path}, true},
		{[]string{"unix:path:" + c.Path + "2"}, false},
		{[]string{"unix:sha256:" + sum}, true},
		{[]string{"unix:sha256:" + strings.Repeat("0", 64)}, false},
		{[]string{"unix:path:" + c.Path, "unix:sha256:" + strings.Repeat("0", 64)}, false},
		{[]string{"unix:uid:4000000000"}, false},
		{[]string{"unix:gid:4000000000"}, false},
		{[]string{"unix:supplementary_gid:4000000000"}, false},
		{[]string{"cgroup:/nowhere.service"}, false},
		{[]string{"unix:uid:4000000000", "unix:path:" + c.Path}, false},
	}
	for _, tt := range tests {
		if got := c.satisfies(t, tt.selectors...); got != tt.want {
			t.Errorf("%q satisfied: %t, want %t", tt.selectors, got, tt.want)
		}
	}
}

// TestAttestLists: several lists are judged at once, and what was found out is told.
func TestAttestLists(t *testing.T) {
	c := run(t, New(), nil)
	lists := []Selectors{
		selectors(t, "unix:path:/usr/bin/other"),
		selectors(t),
		selectors(t, "unix:path:"+c.Path),
		{UIDs: []uint32{4000000000}},
	}
	satisfied, found, err := c.peer.Attest(lists)
	if err != nil || !slices.Equal(satisfied, []int{1, 2}) {
		t.Fatalf("Attest = %v, %v, want the second and the third", satisfied, err)
	}
	want := []string{"unix:gid:" + strconv.Itoa(os.Getgid()), "unix:path:" + c.Path, "unix:uid:" + strconv.Itoa(os.Getuid())}
	if diff := cmp.Diff(want, found.Facts()); diff != "" || int(found.PID) != c.Process.Pid {
		t.Errorf("facts of process %d (-want +got):\n%s", found.PID, diff)
	}
	if found.SHA256 != "" || found.Cgroup != "" {
		t.Error("more was looked at than was asked for")
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it runs processes as other users")
	}
}

func TestAttestAnotherUser(t *testing.T) {
	needRoot(t)
	c := run(t, New(), &syscall.Credential{Uid: 65534, Gid: 65533, Groups: []uint32{27, 44}})
	tests := []struct {
		selectors []string
		want      bool
	}{
		{[]string{"unix:uid:65534", "unix:gid:65533", "unix:supplementary_gid:27", "unix:supplementary_gid:44", "unix:path:" + c.Path}, true},
		{[]string{"unix:uid:0"}, false},
		{[]string{"unix:gid:27"}, false},
		{[]string{"unix:supplementary_gid:65533"}, false},
		{[]string{"unix:supplementary_gid:28"}, false},
	}
	for _, tt := range tests {
		if got := c.satisfies(t, tt.selectors...); got != tt.want {
			t.Errorf("%q satisfied: %t, want %t", tt.selectors, got, tt.want)
		}
	}
	if c.peer.UID() != 65534 {
		t.Errorf("UID = %d", c.peer.UID())
	}
}

// TestUnprivileged is an attestor that may not look into other users' processes:
// it knows their user and group, and says of the rest what it lacks.
func TestUnprivileged(t *testing.T) {
	needRoot(t)
	c := run(t, New(), &syscall.Credential{Uid: 65534, Gid: 65534})
	lists := []Selectors{selectors(t, "unix:path:"+c.Path), selectors(t, "unix:gid:65534")}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is not given back: it has another user from here on. As a raw
		// call, setresuid is about the calling thread alone.
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 65532, 65532, 65532); errno != 0 {
			t.Error(errno)
			return
		}
		satisfied, _, err := c.peer.Attest(lists)
		if !slices.Equal(satisfied, []int{1}) || err == nil || !strings.Contains(err.Error(), "CAP_SYS_PTRACE") {
			t.Errorf("Attest = %v, %v", satisfied, err)
		}
	}()
	<-done
}

func TestGone(t *testing.T) {
	c := run(t, New(), nil)
	lists := []Selectors{selectors(t, "unix:path:"+c.Path), selectors(t)}
	satisfied, found, err := c.peer.Attest(lists)
	if err != nil || len(satisfied) != 2 {
		t.Fatalf("Attest = %v, %v", satisfied, err)
	}
	if err := c.peer.Still(&found); err != nil {
		t.Errorf("Still = %v", err)
	}
	c.end()
	if satisfied, _, err := c.peer.Attest(lists); !errors.Is(err, ErrGone) || len(satisfied) != 0 {
		t.Errorf("Attest of a process that ended = %v, %v", satisfied, err)
	}
	if err := c.peer.Still(&found); !errors.Is(err, ErrGone) {
		t.Errorf("Still of a process that ended = %v", err)
	}
}

// TestPIDReuse gives the id of a process that ended to another one, which must not
// be taken for it, though it runs the very program that is asked for.
func TestPIDReuse(t *testing.T) {
	needRoot(t)
	const lastPID = "/proc/sys/kernel/ns_last_pid"
	a := New()
	c := run(t, a, nil)
	lists := []Selectors{selectors(t, "unix:path:/bin/sleep"), selectors(t, "unix:path:/usr/bin/sleep"), selectors(t, "unix:path:"+c.Path)}
	c.end()
	for range 200 {
		if err := os.WriteFile(lastPID, []byte(strconv.Itoa(c.Process.Pid-1)), 0); err != nil {
			t.Skipf("needs to choose the id of a process: %v", err)
		}
		next := exec.CommandContext(t.Context(), "/bin/sleep", "60")
		if err := next.Start(); err != nil {
			t.Fatal(err)
		}
		same := next.Process.Pid == c.Process.Pid
		if same {
			if satisfied, _, err := c.peer.Attest(lists); !errors.Is(err, ErrGone) || len(satisfied) != 0 {
				t.Errorf("Attest = %v, %v: another process has the id", satisfied, err)
			}
		}
		_ = next.Process.Kill()
		_ = next.Wait()
		if same {
			return
		}
	}
	t.Skip("needs to choose the id of a process: others were always faster")
}

// TestExec: a process that was attested runs another program and still has the
// connection.
func TestExec(t *testing.T) {
	c := run(t, New(), nil)
	satisfied, found, err := c.peer.Attest([]Selectors{selectors(t, "unix:path:"+c.Path)})
	if err != nil || len(satisfied) != 1 {
		t.Fatalf("Attest = %v, %v", satisfied, err)
	}
	if _, err := io.WriteString(c.in, "exec\n"); err != nil {
		t.Fatal(err)
	}
	c.hear(t, "another\n")
	if err := c.peer.Still(&found); !errors.Is(err, ErrGone) {
		t.Errorf("Still after exec = %v", err)
	}
	if c.satisfies(t, "unix:path:"+c.Path) {
		t.Error("it is taken for the program that it was")
	}
}

// TestUpgrade: the program's file is replaced while it runs. Who was attested
// remains so; a new look sees that the path leads elsewhere, and the digest of what
// runs.
func TestUpgrade(t *testing.T) {
	c := run(t, New(), nil)
	sum := digestOf(t, c.Path)
	_, found, err := c.peer.Attest([]Selectors{selectors(t, "unix:path:"+c.Path)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Path+".new", []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.Path+".new", c.Path); err != nil {
		t.Fatal(err)
	}
	if err := c.peer.Still(&found); err != nil {
		t.Errorf("Still = %v", err)
	}
	if c.satisfies(t, "unix:path:"+c.Path) {
		t.Error("it is taken for what is at its path now")
	}
	if !c.satisfies(t, "unix:sha256:"+sum) {
		t.Error("the digest is not that of what runs")
	}
}

// TestDigestIsRemembered: a program is read once, and again when it is another.
func TestDigestIsRemembered(t *testing.T) {
	var d digests
	id := fileID{inode: 1, size: 3, mtime: 1}
	same := func() (fileID, error) { return id, nil }
	first, err := d.of(id, strings.NewReader("abc"), same)
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.of(id, strings.NewReader("other"), same)
	if err != nil || again != first {
		t.Errorf("of = %q, %v, want what is known", again, err)
	}
	id.mtime++
	if other, err := d.of(id, strings.NewReader("xyz"), same); err != nil || other == first {
		t.Errorf("of a file that was written to = %q, %v", other, err)
	}
	written := fileID{inode: 2}
	if _, err := d.of(written, strings.NewReader("abc"), same); !errors.Is(err, ErrGone) {
		t.Errorf("of a file that is written to meanwhile = %v", err)
	}
	if _, err := d.of(fileID{size: maxProgram + 1}, strings.NewReader(""), same); err == nil {
		t.Error("a program beyond the bound was hashed")
	}
	for i := range int64(3 * maxDigests) {
		id := fileID{changed: i}
		if _, err := d.of(id, bytes.NewReader(nil), func() (fileID, error) { return id, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.known) > maxDigests {
		t.Errorf("%d digests are remembered", len(d.known))
	}
}

func TestParseProc(t *testing.T) {
	if g, err := parseGroups("Name:\tx\nGroups:\t4 27 \nNStgid:\t1\n"); err != nil || !slices.Equal(g, []uint32{4, 27}) {
		t.Errorf("parseGroups = %v, %v", g, err)
	}
	if g, err := parseGroups("Groups:\t \n"); err != nil || len(g) != 0 {
		t.Errorf("parseGroups of none = %v, %v", g, err)
	}
	for _, text := range []string{"", "Groups:\t-1\n", "Groups:\t99999999999\n"} {
		if _, err := parseGroups(text); err == nil {
			t.Errorf("parseGroups(%q) was taken", text)
		}
	}
	if c, err := parseCgroup("9:name=systemd:/x\n0::/system.slice/agent.service\n"); err != nil || c != "/system.slice/agent.service" {
		t.Errorf("parseCgroup = %q, %v", c, err)
	}
	if _, err := parseCgroup("4:memory:/x\n"); err == nil {
		t.Error("a cgroup of version 1 was taken")
	}
}

func BenchmarkAttest(b *testing.B) {
	ends := socketPair(b)
	peer, err := New().Of(ends)
	if err != nil {
		b.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for name, texts := range map[string][]string{"uid": nil, "path": {"unix:path:" + own}, "sha256": {"unix:sha256:" + strings.Repeat("0", 64)}} {
		s, err := ParseAll([]uint32{uint32(os.Getuid())}, texts)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := peer.Attest([]Selectors{s}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func socketPair(b *testing.B) *net.UnixConn {
	b.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer syscall.Close(fds[1])
	file := os.NewFile(uintptr(fds[0]), "pair")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn)
}
