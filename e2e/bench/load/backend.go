package load

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// smallSize is the size of the small body.
const smallSize = 128

// zeros are what large bodies are made of.
var zeros = make([]byte, scratch)

// Serve answers requests until the listener is closed: /small with the small
// body, /bytes/N with N bytes, /events/N/PACE with N events at a pace; and, over
// HTTP/2 with prior knowledge, /small and the calls of gRPC. It is the backend
// behind every pair.
func Serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go serve(conn)
	}
}

func serve(conn net.Conn) {
	defer conn.Close()
	br := bufio.NewReaderSize(conn, 2<<10)
	const notHTTP1 = "PRI " // what HTTP/2 begins with (RFC 9113 3.4)
	start, err := br.Peek(len(notHTTP1))
	if err != nil {
		return
	}
	if string(start) == notHTTP1 {
		serveH2(conn, bufio.NewReaderSize(br, 64<<10)) //nolint:errcheck // the caller sees what it did not get
		return
	}
	small := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", smallSize, smallBody)
	for {
		w, err := request(br)
		if err != nil {
			return
		}
		switch {
		case w.events > 0:
			err = events(conn, w.events, w.pace)
		case w.size == smallSize:
			_, err = conn.Write(small)
		default:
			err = large(conn, w.size)
		}
		if err != nil || w.last {
			return
		}
	}
}

// wanted is what a request asks for.
type wanted struct {
	size   int64 // of the body
	events int   // instead of that
	pace   time.Duration
	last   bool // the connection's last
}

// request reads a request's head.
func request(br *bufio.Reader) (wanted, error) {
	w := wanted{size: smallSize}
	line, err := br.ReadSlice('\n')
	if err != nil {
		return w, err
	}
	if err := w.readPath(string(line)); err != nil {
		return w, err
	}
	for {
		if line, err = br.ReadSlice('\n'); err != nil {
			return w, err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return w, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("connection")) && bytes.EqualFold(bytes.TrimSpace(value), []byte("close")) {
			w.last = true
		}
	}
}

// readPath reads what is asked for out of a request's first line.
func (w *wanted) readPath(line string) (err error) {
	_, path, _ := strings.Cut(line, " /")
	path, _, _ = strings.Cut(path, " ")
	what, rest, _ := strings.Cut(path, "/")
	switch what {
	case "bytes":
		w.size, err = strconv.ParseInt(rest, 10, 64)
	case "events":
		count, pace, _ := strings.Cut(rest, "/")
		if w.events, err = strconv.Atoi(count); err == nil {
			w.pace, err = time.ParseDuration(pace)
		}
	}
	return err
}

func large(conn net.Conn, size int64) error {
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size); err != nil {
		return err
	}
	for size > 0 {
		n, err := conn.Write(zeros[:min(size, scratch)])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
