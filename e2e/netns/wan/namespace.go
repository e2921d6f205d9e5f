//go:build linux

package wan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNeeds is wrapped by what this machine must have and has not.
var ErrNeeds = errors.New("needs")

// Check says what is missing for namespaces and paths, if anything is.
func Check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w root", ErrNeeds)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("%w /dev/net/tun", ErrNeeds)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("%w iproute2", ErrNeeds)
	}
	return nil
}

// Namespace is a network namespace. Sockets stay in the namespace in which they
// were made, and so do processes.
type Namespace struct {
	file *os.File // holds the namespace
}

// NewNamespace makes a namespace with its loopback device up.
func NewNamespace() (*Namespace, error) {
	n := new(Namespace)
	err := away(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		n.file, err = os.Open(current)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	if err := n.IP("link", "set", "lo", "up"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// current is the network namespace of the thread that asks.
const current = "/proc/thread-self/ns/net"

// away runs f in a thread of its own, which f may move to another namespace.
// The thread goes back afterwards; if it cannot, it ends, so that nothing else
// ever runs in the wrong namespace.
func away(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(current)
		if err != nil {
			result <- err
			return
		}
		defer home.Close()
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// Close lets go of the namespace. What still runs or is open in it stays.
func (n *Namespace) Close() { n.file.Close() }

// Do runs f in the namespace and waits for it. Only what f does itself happens
// there, not what goroutines do that it starts.
func (n *Namespace) Do(f func() error) error {
	return away(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// Start starts a command in the namespace.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// IP runs ip(8) in the namespace.
func (n *Namespace) IP(args ...string) error {
	return n.run("ip", args...)
}

func (n *Namespace) run(name string, args ...string) error {
	var out strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(cmd); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// Listen listens in the namespace, at a literal address.
func (n *Namespace) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// DialContext connects from the namespace, to a literal IP address.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}
