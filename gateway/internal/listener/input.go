package listener

import (
	"bufio"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// renewals is how often a deadline is set anew in the time that it gives. It is a
// timer, and to set it for each request costs more than it tells.
const renewals = 16

// input is the connection as a reader, with a byte that the watch took.
type input struct {
	nc     net.Conn
	raw    syscall.RawConn // of a connection without TLS; nil if there is none
	first  [1]byte
	have   bool
	fd     uintptr // to be read at once, while direct
	direct bool
	within time.Duration // bounds what is read from the next Read on; 0 to leave it
	until  time.Time     // when reading fails
}

func (in *input) Read(p []byte) (int, error) {
	if in.have && len(p) > 0 {
		in.have = false
		p[0] = in.first[0]
		return 1, nil
	}
	if in.direct {
		return in.readNow(p)
	}
	if in.within > 0 {
		in.bound(time.Now().Add(in.within), 0)
		in.within = 0
	}
	return in.nc.Read(p)
}

// bound makes reading fail at t, or earlier by slack.
func (in *input) bound(t time.Time, slack time.Duration) {
	if early := t.Sub(in.until); early < 0 || early > slack {
		in.until = t
		_ = in.nc.SetReadDeadline(t)
	}
}

// unbound lets reading wait for as long as it takes.
func (in *input) unbound() {
	in.until = time.Time{}
	_ = in.nc.SetReadDeadline(time.Time{})
}

// now fills br with what can be read without waiting; with nothing, the error is
// EAGAIN.
func (in *input) now(fd uintptr, br *bufio.Reader) error {
	in.fd, in.direct = fd, true
	_, err := br.Peek(1)
	in.direct = false
	return err
}

func (in *input) readNow(p []byte) (int, error) {
	for {
		n, err := readNow(in.fd, p)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// await awaits the next byte without a buffer.
func (in *input) await() error {
	n, err := in.nc.Read(in.first[:])
	if in.have = n == 1; in.have {
		return nil
	}
	return err
}
