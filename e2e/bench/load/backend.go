package load

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// smallSize is the size of the small body.
const smallSize = 128

// zeros are what large bodies are made of.
var zeros = make([]byte, scratch)

// Serve answers requests until the listener is closed: /small with the small
// body, /bytes/N with N bytes. It is the backend behind every pair.
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
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", smallSize, strings.Repeat("x", smallSize))
	for {
		size, last, err := request(br)
		if err != nil {
			return
		}
		if size == smallSize {
			_, err = conn.Write(answer)
		} else {
			err = large(conn, size)
		}
		if err != nil || last {
			return
		}
	}
}

// request reads a request's head: how much it asks for, and whether it is the
// connection's last.
func request(br *bufio.Reader) (size int64, last bool, err error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return 0, false, err
	}
	size = smallSize
	if _, rest, found := bytes.Cut(line, []byte(" /bytes/")); found {
		digits, _, _ := bytes.Cut(rest, []byte(" "))
		if size, err = strconv.ParseInt(string(digits), 10, 64); err != nil {
			return 0, false, err
		}
	}
	for {
		if line, err = br.ReadSlice('\n'); err != nil {
			return 0, false, err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return size, last, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("connection")) && bytes.EqualFold(bytes.TrimSpace(value), []byte("close")) {
			last = true
		}
	}
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
