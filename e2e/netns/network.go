package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// prefix begins the name of every namespace, PREFIX PID - NETWORK - HOST, and of
// every temporary directory, PREFIX PID - ANYTHING.
const prefix = "spns"

// networks counts the networks of this process, for their names.
var networks atomic.Int32

// Network is a router with hosts around it, for one test, which fails if what it
// asks of the network cannot be done.
type Network struct {
	t      testing.TB
	name   string // begins the names of its namespaces
	dir    string // has a directory for each host, the roots of what it sees
	bin    string
	router *Host
	cuts   atomic.Int32 // names of what was cut

	mu    sync.Mutex // guards hosts
	hosts map[string]*Host
}

// New makes a network with nothing but its router. It is gone when the test ends.
func New(t testing.TB) *Network {
	t.Helper()
	Require(t)
	sweep(t)
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", prefix, os.Getpid())) // short, for the paths of sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	n := &Network{
		t: t, dir: dir, bin: bin, hosts: map[string]*Host{},
		name: fmt.Sprintf("%s%d-%d-", prefix, os.Getpid(), networks.Add(1)),
	}
	n.router = n.Host("router")
	n.router.forward()
	return n
}

// Host makes a host that is connected to nothing.
func (n *Network) Host(name string) *Host {
	n.t.Helper()
	h := &Host{Name: name, net: n, ns: n.name + name, root: filepath.Join(n.dir, name), links: map[string]*Link{}}
	if err := h.makeRoot(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if err := remove(h.ns); err != nil {
			n.t.Error(err)
		}
	})
	ip(n.t, "netns", "add", h.ns)
	h.ip("link", "set", "lo", "up")
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[name] = h
	return h
}

// At is the host of that name.
func (n *Network) At(name string) *Host {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		n.t.Fatalf("there is no host %q", name)
	}
	return h
}

// Install puts a program of the machine where every host has its programs.
func (n *Network) Install(program string) {
	n.t.Helper()
	at := filepath.Join(n.bin, filepath.Base(program))
	err := os.Link(program, at)
	if errors.Is(err, syscall.EXDEV) {
		err = exec.Command("cp", program, at).Run()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		n.t.Fatalf("install %s: %v", program, err)
	}
}

// Router is what all paths lead through.
func (n *Network) Router() *Host { return n.router }

// remove ends what runs in a namespace and deletes it, if it is there.
func remove(ns string) error {
	pids, err := exec.Command("ip", "netns", "pids", ns).Output()
	if err != nil {
		return nil //nolint:nilerr // it was never made
	}
	for _, pid := range strings.Fields(string(pids)) {
		if n, err := strconv.Atoi(pid); err == nil {
			syscall.Kill(n, syscall.SIGKILL) //nolint:errcheck // it may have ended by itself
		}
	}
	if out, err := exec.Command("ip", "netns", "delete", ns).CombinedOutput(); err != nil {
		return fmt.Errorf("delete namespace %s: %w: %s", ns, err, out)
	}
	return nil
}

// sweep removes what test processes left that were killed. Another test process
// may do so at the same time: what it cannot remove is not its fault.
func sweep(t testing.TB) {
	for _, dir := range []string{"/run/netns", os.TempDir(), "/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !orphaned(e.Name()) {
				continue
			}
			if err := remove(e.Name()); err != nil {
				t.Log(err)
			}
			switch dir {
			case "/run/netns":
			case os.TempDir():
				os.RemoveAll(filepath.Join(dir, e.Name()))
			default:
				os.Remove(filepath.Join(dir, e.Name())) // a cgroup, with nothing in it any more
			}
		}
	}
}

// orphaned says that a name is of a test process that is no more.
func orphaned(name string) bool {
	rest, ours := strings.CutPrefix(name, prefix)
	owner, _, named := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(owner)
	return ours && named && err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// ip runs the command of that name on the machine itself.
func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// nameFile is the table of the deployment's hosts, below the repository's root.
const nameFile = "deploy/hosts/names"

// named is a line of it.
type named struct {
	addr netip.Addr
	name string // the short one
}

// readNames reads a table in the form of /etc/hosts.
func readNames(path string) ([]named, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []named
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s: %q is not ADDRESS NAME SHORT", path, line)
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, named{addr, fields[2]})
	}
	return all, nil
}
