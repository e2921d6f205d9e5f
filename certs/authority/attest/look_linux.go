package attest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxProcFile is far above /proc/PID/status and /proc/PID/cgroup.
const maxProcFile = 64 << 10

// supported says whether selectors of a kind can be attested here. All but user
// and group are read in /proc, which is safe only where the socket gives a
// descriptor of the process: since Linux 6.5.
func supported(k Kind) error {
	if k <= GID {
		return nil
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
	}()
	pidfd, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err != nil {
		return fmt.Errorf("%s cannot be attested by this kernel, only by Linux since 6.5 (SO_PEERPIDFD): %w", k, err)
	}
	return unix.Close(pidfd)
}

// credentials are SO_PEERCRED: those of the process that called connect(2), then.
func (p *Peer) credentials(fd int) error {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	p.uid, p.gid, p.pid = c.Uid, c.Gid, c.Pid
	return nil
}

// look is one look at a peer. It opens what it needs when it needs it.
type look struct {
	peer  *Peer
	found Process
	pidfd int // of the process that connected, whatever has its id now
	dir   int // /proc/PID of that process
	ready bool
	known [SHA256 + 1]bool
}

// open opens the process's directory. If the process is alive afterwards, the
// directory is its own: an id is given to another only when its process is gone.
// The directory stays that of the process, even if its id is given away later.
func (l *look) open() (err error) {
	if l.ready {
		return nil
	}
	if l.peer.pid == 0 {
		return errors.New("it is in a PID namespace that cannot be seen from here")
	}
	err = control(l.peer.conn, func(fd int) (err error) {
		l.pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		return err
	})
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("open process: %w", err)
	}
	l.dir, err = unix.Open("/proc/"+strconv.Itoa(int(l.peer.pid)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		err = cmp.Or(l.alive(), fmt.Errorf("open process in /proc: %w: is it hidden (ProtectProc=, hidepid=)?", err))
		_ = unix.Close(l.pidfd)
		return err
	}
	l.ready = true
	return l.alive()
}

func (l *look) close() {
	if l.ready {
		_ = unix.Close(l.dir)
		_ = unix.Close(l.pidfd)
	}
}

// alive asks by poll, which needs no permission over the process: a descriptor of
// one becomes readable when it ends (pidfd_open(2)).
func (l *look) alive() error {
	fds := []unix.PollFd{{Fd: int32(l.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("ask whether process is alive: %w", err)
		case n != 0:
			return ErrGone
		}
		return nil
	}
}

// confirm says that all that was read was of one living process and program.
func (l *look) confirm() error {
	if !l.ready {
		return nil
	}
	if was := l.found.program; was != (fileID{}) {
		now, err := l.programID()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrGone, err)
		}
		if !now.same(was) {
			return ErrGone
		}
	}
	return l.alive()
}

// once runs f for a kind the first time.
func (l *look) once(k Kind, f func() error) error {
	if l.known[k] {
		return nil
	}
	if err := l.open(); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	l.known[k] = true
	return nil
}

func (l *look) groups() error {
	return l.once(SupplementaryGID, func() (err error) {
		text, err := l.read("status")
		if err == nil {
			l.found.Groups, err = parseGroups(text)
		}
		return err
	})
}

func (l *look) cgroup() error {
	return l.once(Cgroup, func() (err error) {
		text, err := l.read("cgroup")
		if err == nil {
			l.found.Cgroup, err = parseCgroup(text)
		}
		return err
	})
}

// program finds the program's path and remembers which file it is.
func (l *look) program() error {
	return l.once(Path, func() (err error) {
		if l.found.program, err = l.programID(); err != nil {
			return err
		}
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(l.dir, "exe", buf)
		if err != nil {
			return fmt.Errorf("read name of program: %w", err)
		}
		l.found.Path = string(buf[:n])
		return nil
	})
}

func (l *look) digest() error {
	if err := l.program(); err != nil {
		return err
	}
	return l.once(SHA256, func() error {
		fd, err := unix.Openat(l.dir, "exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open program: %w", err)
		}
		file := os.NewFile(uintptr(fd), "exe")
		defer file.Close()
		id := func() (fileID, error) {
			var st unix.Stat_t
			err := unix.Fstat(fd, &st)
			return idOf(&st), err
		}
		opened, err := id()
		if err != nil {
			return fmt.Errorf("look at program: %w", err)
		}
		if !opened.same(l.found.program) {
			return ErrGone
		}
		l.found.SHA256, err = l.peer.a.digests.of(opened, file, id)
		return err
	})
}

// programID looks at the program's file through the kernel's own link, which leads
// to what runs even if another file has its name now.
func (l *look) programID() (fileID, error) {
	var st unix.Stat_t
	err := unix.Fstatat(l.dir, "exe", &st, 0)
	if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
		return fileID{}, fmt.Errorf("look at program: %w: of other users' processes this needs CAP_SYS_PTRACE", err)
	}
	if err != nil {
		return fileID{}, fmt.Errorf("look at program: %w", err)
	}
	return idOf(&st), nil
}

func idOf(st *unix.Stat_t) fileID {
	return fileID{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()} //nolint:unconvert // Dev is narrower elsewhere
}

func (l *look) read(name string) (string, error) {
	fd, err := unix.Openat(l.dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open /proc/%d/%s: %w", l.peer.pid, name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	buf := make([]byte, maxProcFile)
	n := 0
	for n < len(buf) {
		m, err := file.Read(buf[n:])
		if m == 0 || err != nil {
			break // a process that ended in between is noticed by alive
		}
		n += m
	}
	if n == len(buf) {
		return "", fmt.Errorf("/proc/%d/%s is longer than %d bytes", l.peer.pid, name, n)
	}
	return string(buf[:n]), nil
}

// parseGroups finds the supplementary groups in /proc/PID/status.
func parseGroups(status string) ([]uint32, error) {
	for line := range strings.Lines(status) {
		list, ok := strings.CutPrefix(line, "Groups:")
		if !ok {
			continue
		}
		groups := []uint32{}
		for field := range strings.FieldsSeq(list) {
			n, err := strconv.ParseUint(field, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("read groups: %w", err)
			}
			groups = append(groups, uint32(n))
		}
		return groups, nil
	}
	return nil, errors.New("read groups: /proc says nothing of them")
}

// parseCgroup finds the path in the unified hierarchy in /proc/PID/cgroup: the
// line 0::PATH (cgroups(7)).
func parseCgroup(text string) (string, error) {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", errors.New("read cgroup: it is in none of the unified hierarchy (cgroup v2)")
}
