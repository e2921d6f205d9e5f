package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Sockets are the listening sockets of a process: those that it was handed, and
// those that it bound itself. The zero value hands on what it binds.
type Sockets struct {
	// From is where they are looked for first; nil for nowhere.
	From *Inheritance

	mu   sync.Mutex // guards open
	open map[string]*net.TCPListener
}

// Listen gives a TCP socket that listens at HOST:PORT: the one that was handed
// over for the same use and address, as written, or a new one.
func (s *Sockets) Listen(use, address string) (net.Listener, error) {
	name := use + " " + address
	l, err := s.listen(name, address)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listen at %s: it is %T", address, l), l.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]*net.TCPListener{}
	}
	s.open[name] = tcp
	return l, nil
}

func (s *Sockets) listen(name, address string) (net.Listener, error) {
	inherited := s.From.Take(name)
	if inherited == nil {
		return new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	}
	l, err := net.FileListener(inherited)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take over the socket at %s: %w", address, err), inherited.Close())
	}
	return l, inherited.Close()
}

// Files gives the sockets to a successor, by name. They are the caller's, and
// must be closed. It fails if one was closed.
func (s *Sockets) Files() (map[string]*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := map[string]*os.File{}
	for name, l := range s.open {
		f, err := duplicate(l, name)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("hand over the socket at %s: %w", l.Addr(), err), CloseAll(files))
		}
		files[name] = f
	}
	return files, nil
}

// duplicate gives another descriptor of a socket. That of TCPListener.File would
// block once a process was started with it, and so would the socket itself, which
// the two share: Close would wait for one more connection.
func duplicate(l *net.TCPListener, name string) (*os.File, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var copied int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		copied, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return os.NewFile(uintptr(copied), name), nil
}

// CloseAll closes files.
func CloseAll(files map[string]*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
