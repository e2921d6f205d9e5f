package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNothingIsLeft holds that a test's programs and namespaces end with it, even
// those that do not listen to SIGTERM and those that it never waited for.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	var n *Network
	var p *Process
	var stray *exec.Cmd
	t.Run("a test", func(t *testing.T) {
		n = New(t)
		h := n.Host("one")
		h.Connect(n.Router(), netip.MustParsePrefix("10.8.0.10/24"))
		p = h.Start(t, "sleep", "root", "sleep", "1000")
		stray = h.Command(t.Context(), "root", "sh", "-c", "trap '' TERM; sleep 1000")
		stray.Cancel = func() error { return nil }
		if err := stray.Start(); err != nil {
			t.Fatal(err)
		}
		Await(t, 10*time.Second, "the programs", func() error {
			pids, err := exec.Command("ip", "netns", "pids", h.Namespace()).Output()
			if len(strings.Fields(string(pids))) < 2 {
				return errors.Join(err, errors.New("they do not run yet"))
			}
			return err
		})
	})
	if n == nil {
		t.SkipNow() // the test above says why
	}
	<-p.Exited
	if err := stray.Wait(); err == nil {
		t.Error("a program that was never waited for ended by itself")
	}
	names, err := exec.Command("ip", "netns", "list").Output()
	if err != nil || strings.Contains(string(names), n.name) {
		t.Errorf("namespaces are left: %s, %v", names, err)
	}
	if _, err := os.Stat(n.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", n.dir, err)
	}
}

// TestSweep holds that the next run removes what a killed one has left.
func TestSweep(t *testing.T) {
	t.Parallel()
	Require(t)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%s%d-1-gone", prefix, dead.Process.Pid)
	ip(t, "netns", "add", name)
	program := exec.Command("ip", "netns", "exec", name, "sleep", "1000")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	Await(t, 10*time.Second, "the program", func() error {
		pids, err := exec.Command("ip", "netns", "pids", name).Output()
		if len(pids) == 0 {
			return errors.Join(err, errors.New("it does not run yet"))
		}
		return err
	})
	sweep(t)
	program.Wait() // how it ended is in its state
	if status, ok := program.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("the program ended with %s", program.ProcessState)
	}
	if names, err := exec.Command("ip", "netns", "list").Output(); err != nil || strings.Contains(string(names), name) {
		t.Errorf("%s is left, %v", name, err)
	}
}

// TestFaults holds that a fault stops what it names, nothing else, and heals.
func TestFaults(t *testing.T) {
	t.Parallel()
	n := New(t)
	a, b := n.Host("a"), n.Host("b")
	a.Connect(n.Router(), netip.MustParsePrefix("10.8.1.10/24"))
	first := b.Connect(n.Router(), netip.MustParsePrefix("10.8.2.10/24"))
	second := b.Connect(n.Router(), netip.MustParsePrefix("10.8.3.10/24"))
	holds := func(what, addr string, port int, want bool) {
		t.Helper()
		if got := reaches(t, a, addr, port); got != want {
			t.Errorf("%s: %s:%d is reached: %t, want %t", what, addr, port, got, want)
		}
	}
	holds("at first", "10.8.2.10", 7, true)
	port := n.Block("tcp", 7)
	holds("port blocked", "10.8.2.10", 7, false)
	holds("another port blocked", "10.8.2.10", 8, true)
	port.Heal()
	holds("port not blocked any more", "10.8.2.10", 7, true)
	path := n.Cut(a, b)
	holds("path cut", "10.8.2.10", 7, false)
	holds("path cut", "10.8.1.1", 7, true)
	path.Heal()
	first.Down()
	holds("link down", "10.8.2.10", 7, false)
	first.Up()
	holds("link up", "10.8.2.10", 7, true)
	first.MoveRoute(second)
	holds("route moved", "10.8.2.10", 7, true)
	first.MoveAddress(second)
	holds("address moved", "10.8.2.10", 7, false)
	holds("address moved", "10.8.3.10", 7, true)
}

// reaches says whether a host is asked for a port and refuses, since nobody
// listens there, or is not heard of at all.
func reaches(t *testing.T, from *Host, addr string, port int) bool {
	t.Helper()
	script := fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", addr, port)
	out, err := from.Command(t.Context(), "root", "timeout", "0.8", "bash", "-c", script).CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case ok && exit.ExitCode() == 124: // of timeout(1)
		return false
	case ok && strings.Contains(string(out), "refused"):
		return true
	}
	t.Fatalf("ask %s:%d: %v: %s", addr, port, err, out)
	return false
}
