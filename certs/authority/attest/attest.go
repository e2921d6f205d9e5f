// Package attest finds out who is at the other end of a Unix socket, from the
// kernel alone: its user and group, and, where Linux lets it look, its
// supplementary groups, program and cgroup. It does not decide what anybody may
// have for that.
//
// One invariant: what it says of a process was read of that very process, which
// was alive, and ran that very program, before and after: a process id that was
// given to another in between is noticed.
//
// It is as good as the border between two users. Whoever can make a process of a
// user do what he wants (a debugger, an exec with the socket still open) gets what
// that process would get, whatever its path and digest are: they hold an honest
// user's programs apart, and users hold everybody apart.
package attest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// ErrGone says that a peer is not the process any more that it was.
var ErrGone = errors.New("process is gone, or runs another program")

// Attestor attests peers. It remembers digests of programs.
type Attestor struct{ digests digests }

// New makes an Attestor.
func New() *Attestor { return &Attestor{} }

// Peer is the process that connected. Its user and group are those that it had
// then.
type Peer struct {
	a    *Attestor
	conn *net.UnixConn
	uid  uint32
	gid  uint32
	pid  int32 // 0 where the system does not tell
}

// Of asks the kernel who connected.
func (a *Attestor) Of(conn *net.UnixConn) (*Peer, error) {
	p := &Peer{a: a, conn: conn}
	if err := control(conn, p.credentials); err != nil {
		return nil, fmt.Errorf("attest peer: %w", err)
	}
	return p, nil
}

// UID is the peer's user.
func (p *Peer) UID() uint32 { return p.uid }

// control runs f with the socket's descriptor.
func control(conn *net.UnixConn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Process is what was found out about a peer. What nobody asked for is empty.
type Process struct {
	PID      int32
	UID, GID uint32
	// Groups are supplementary.
	Groups []uint32
	// Path is that of the program's file, with " (deleted)" behind it if the file
	// is not there any more.
	Path string
	// SHA256 is the program's digest in hex.
	SHA256 string
	// Cgroup is the path in the unified hierarchy (v2).
	Cgroup string

	program fileID
}

// Facts are what was found out, in the form of selectors.
func (p *Process) Facts() []string {
	facts := []string{Selector{kind: UID, number: p.UID}.String()}
	if p.PID != 0 {
		facts = append(facts, Selector{kind: GID, number: p.GID}.String())
	}
	for _, g := range p.Groups {
		facts = append(facts, Selector{kind: SupplementaryGID, number: g}.String())
	}
	for kind, text := range map[Kind]string{Cgroup: p.Cgroup, Path: p.Path, SHA256: p.SHA256} {
		if text != "" {
			facts = append(facts, Selector{kind: kind, text: text}.String())
		}
	}
	slices.Sort(facts)
	return facts
}

// Attest says which lists of selectors the peer satisfies, by their index, and what
// was found out for that. It looks no further than it must: a program is not
// hashed for a user who does not match. An error says why a list could not be
// judged; such a list is not satisfied, others may be. ErrGone satisfies none.
func (p *Peer) Attest(lists []Selectors) (satisfied []int, found Process, err error) {
	l := &look{peer: p, found: Process{PID: p.pid, UID: p.uid, GID: p.gid}}
	defer l.close()
	var faults []error
	for i := range lists {
		ok, err := l.satisfies(&lists[i])
		if err != nil {
			faults = append(faults, err)
		} else if ok {
			satisfied = append(satisfied, i)
		}
	}
	err = errors.Join(append(faults, l.confirm())...)
	if errors.Is(err, ErrGone) {
		satisfied = nil
	}
	return satisfied, l.found, err
}

// Still fails with ErrGone if the peer is not the process any more that was
// attested, or runs another program since. Where only its user and group were
// looked at it always holds: they are those of the connection.
func (p *Peer) Still(was *Process) error {
	if was.program == (fileID{}) {
		return nil
	}
	l := &look{peer: p, found: Process{program: was.program}}
	defer l.close()
	if err := l.open(); err != nil {
		return err
	}
	return l.confirm()
}

func (l *look) satisfies(s *Selectors) (bool, error) {
	if len(s.UIDs) > 0 && !slices.Contains(s.UIDs, l.found.UID) {
		return false, nil
	}
	for _, one := range s.All { // the cheap ones first
		ok, err := l.has(one)
		if err != nil {
			return false, fmt.Errorf("attest %s of process %d: %w", one.kind, l.found.PID, err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

func (l *look) has(s Selector) (bool, error) {
	switch s.kind {
	case UID:
		return l.found.UID == s.number, nil
	case GID:
		return l.found.GID == s.number, nil
	case SupplementaryGID:
		err := l.groups()
		return slices.Contains(l.found.Groups, s.number), err
	case Cgroup:
		err := l.cgroup()
		return within(l.found.Cgroup, s.text), err
	case Path:
		err := l.program()
		return l.found.Path == s.text, err
	case SHA256:
		err := l.digest()
		return l.found.SHA256 == s.text, err
	}
	return false, fmt.Errorf("unknown selector %q", s)
}

// within says that a cgroup is that one or below it.
func within(cgroup, of string) bool {
	rest, ok := strings.CutPrefix(cgroup, strings.TrimSuffix(of, "/"))
	return ok && (rest == "" || rest[0] == '/')
}
