package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// role is the environment variable that makes this test's program a successor.
const role = "SALLYPORT_TEST_SUCCESSOR"

func TestMain(m *testing.M) {
	if r := os.Getenv(role); r != "" {
		os.Exit(succeed(r))
	}
	os.Exit(m.Run())
}

// succeed is what a successor does: it answers connections with its generation.
func succeed(how string) int {
	i, err := Receive(os.Getenv(Variable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	switch how {
	case "fails":
		return 3
	case "hangs":
		<-time.After(time.Hour)
	}
	sockets := Sockets{From: i}
	l, err := sockets.Listen("attach", "127.0.0.1:0")
	if err != nil || i.Take("no such file") != nil {
		return 1
	}
	if err := i.Accept(); err != nil {
		return 1
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		fmt.Fprintln(c, "generation", i.Generation())
		if said, err := bufio.NewReader(c).ReadString('\n'); err == nil && said == "end\n" {
			c.Close()
			return 0
		}
		c.Close()
	}
}

func successor(how string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+how)
	cmd.Stderr = os.Stderr
	return cmd
}

// sockets listens as the process before does.
func sockets(t *testing.T) (*Sockets, net.Listener, map[string]*os.File) {
	t.Helper()
	s := &Sockets{}
	l, err := s.Listen("attach", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	files, err := s.Files()
	if err != nil || len(files) != 1 {
		t.Fatalf("Files = %v, %v", files, err)
	}
	t.Cleanup(func() { CloseAll(files) })
	return s, l, files
}

// TestStart hands a socket to a successor: whoever connects is answered by one of
// the two, and by the successor once the process before has closed its own.
func TestStart(t *testing.T) {
	_, l, files := sockets(t)
	next, err := Start(t.Context(), successor("serves"), 6, files, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), CloseAll(files)); err != nil {
		t.Fatal(err)
	}
	for _, say := range []string{"", "end"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		said, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || said != "generation 7\n" {
			t.Errorf("the successor says %q, %v", said, err)
		}
		fmt.Fprintln(c, say)
	}
	if err := <-next.Ended; err != nil || next.PID == os.Getpid() {
		t.Errorf("process %d ended with %v", next.PID, err)
	}
}

// TestStartFails: a successor that is not ready leaves everything as it was.
func TestStartFails(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name, how, want string
		ctx             context.Context
		bound           time.Duration
	}{
		{"it ends", "fails", "exit status 3", t.Context(), time.Minute},
		{"it is slow", "hangs", "deadline", t.Context(), 100 * time.Millisecond},
		{"nobody wants it any more", "hangs", "canceled", over, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, l, files := sockets(t)
			cmd := successor(c.how)
			_, err := Start(c.ctx, cmd, 0, files, c.bound)
			if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Start = %v, want ErrNotReady and %q", err, c.want)
			}
			if cmd.ProcessState == nil {
				t.Error("the successor was left")
			}
			connects(t, l)
		})
	}
	if _, err := Start(t.Context(), exec.Command("/no/such/program"), 0, nil, time.Minute); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start of no program = %v", err)
	}
	if _, err := Start(t.Context(), successor("serves"), 0, map[string]*os.File{readyFile: os.Stdin}, time.Minute); err == nil {
		t.Error("a file took the pipe's name")
	}
}

// connects holds that a listener still accepts, without being held up by what was
// done with its socket.
func connects(t *testing.T, l net.Listener) {
	t.Helper()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("the socket blocks: flags %x, %v", flags, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-accepted; err != nil {
		t.Errorf("Accept = %v", err)
	}
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener = %v", err)
	}
}

func TestReceive(t *testing.T) {
	if i, err := Receive(""); i != nil || err != nil {
		t.Errorf("Receive of nothing = %v, %v", i, err)
	}
	var nobody *Inheritance
	if nobody.Take("x") != nil || nobody.Generation() != 0 || nobody.Accept() != nil {
		t.Error("nobody has handed something over")
	}
	for _, text := range []string{"x", `{"files":{}}`, `{"files":{"ready":2}}`, `{"files":{"attach":0,"ready":3}}`} {
		if i, err := Receive(text); err == nil {
			t.Errorf("Receive(%q) = %v", text, i)
		}
	}
}

// TestAccept closes what nobody took, and does not mind that nobody listens.
func TestAccept(t *testing.T) {
	hear, say, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	i := &Inheritance{ready: say, files: map[string]*os.File{}}
	left, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	i.files["old address"] = other
	hear.Close()
	if err := i.Accept(); err != nil {
		t.Errorf("Accept = %v", err)
	}
	if _, err := left.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a file that nobody took is open: %v", err)
	}
}

func TestSocketsOfClosedListeners(t *testing.T) {
	s, l, _ := sockets(t)
	l.Close()
	if files, err := s.Files(); err == nil {
		t.Errorf("Files = %v", files)
	}
	if _, err := s.Listen("attach", "nowhere"); err == nil {
		t.Error("listens nowhere")
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(`{"generation":1,"files":{"ready":3}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "files") {
			t.Skip("it could name this process's own files")
		}
		if i, err := Receive(text); err == nil && i != nil {
			t.Errorf("Receive(%q) has nobody to tell", text)
		}
	})
}
