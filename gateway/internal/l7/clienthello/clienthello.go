// Package clienthello reads how a TLS connection begins: the ClientHello in which
// a client names the server that it wants (RFC 8446 section 4.1.2, RFC 6066
// section 3). It decrypts nothing and answers nothing; whoever reads with it hands
// the bytes on as they were.
//
// One invariant: what is taken for a hello can be read in one way only. Anything
// that two TLS libraries might read differently is refused.
//
// A client that hides its hello within another one (Encrypted Client Hello) names a
// server in the outer one too, and that is the name that counts.
package clienthello

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Max is the most that a hello may take with the headers of its records, in bytes.
const Max = 64 << 10

// Err says that what was read is no ClientHello of TLS. What exactly is wrong
// with it is in the error's text, for people.
var Err = errors.New("no TLS ClientHello")

// The numbers of RFC 8446 that count here.
const (
	recordHeader    = 5
	typeHandshake   = 22 // section 5.1
	maxRecord       = 1 << 14
	handshakeHeader = 4
	typeClientHello = 1 // section 4
	extServerName   = 0 // RFC 6066 section 3
	extPreSharedKey = 41
	hostName        = 0
	maxHost         = 255
)

// Read reads one hello, and nothing after it. It gives the bytes as they came and
// the server name in lower case, "" if the client names none. Err is of what came;
// any other error is the reader's, io.EOF only if nothing came at all.
func Read(r io.Reader) (raw []byte, server string, err error) {
	var message []byte // the records' content
	for {
		fragment, err := readRecord(r, &raw)
		if err != nil {
			return raw, "", err
		}
		message = append(message, fragment...)
		whole, err := complete(message)
		if err != nil {
			return raw, "", err
		}
		if whole {
			server, err = parse(message[handshakeHeader:])
			return raw, server, err
		}
	}
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", Err, fmt.Sprintf(format, args...))
}

// readRecord appends a record to raw and gives its content. The version in its
// header says nothing (RFC 8446 section 5.1), but for its first byte, by which a
// record is told from what is none.
func readRecord(r io.Reader, raw *[]byte) ([]byte, error) {
	header, err := readMore(r, raw, recordHeader)
	if err != nil {
		return nil, err
	}
	n := int(header[3])<<8 | int(header[4])
	switch {
	case header[0] != typeHandshake || header[1] != 3:
		return nil, refuse("the bytes %x do not begin a handshake record", header[:3])
	case n == 0 || n > maxRecord:
		return nil, refuse("a record of %d bytes", n)
	case len(*raw)+n > Max:
		return nil, refuse("more than %d bytes", Max)
	}
	return readMore(r, raw, n)
}

// readMore appends n bytes to raw and gives them.
func readMore(r io.Reader, raw *[]byte, n int) ([]byte, error) {
	had := len(*raw)
	*raw = append(*raw, make([]byte, n)...)
	got, err := io.ReadFull(r, (*raw)[had:])
	*raw = (*raw)[:had+got]
	if had > 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return (*raw)[had:], err
}

// complete says whether all of the handshake message is there. What follows a
// hello is under other keys or is no more than the peer asked for: neither shares
// a record with it (RFC 8446 section 5.1).
func complete(message []byte) (bool, error) {
	if message[0] != typeClientHello {
		return false, refuse("a handshake message of type %d", message[0])
	}
	if len(message) < handshakeHeader {
		return false, nil
	}
	switch n := int(message[1])<<16 | int(message[2])<<8 | int(message[3]); {
	case n > Max:
		return false, refuse("more than %d bytes", Max)
	case len(message)-handshakeHeader > n:
		return false, refuse("something follows in its record")
	default:
		return len(message)-handshakeHeader == n, nil
	}
}

// parse reads a hello's body and gives its server name.
func parse(body []byte) (server string, err error) {
	in := input{rest: body}
	in.take(2 + 32) // version and random
	session := in.vector(1)
	suites := in.vector(2)
	methods := in.vector(1)
	if in.short || len(session) > 32 || len(suites) == 0 || len(suites)%2 != 0 || len(methods) == 0 {
		return "", refuse("its fields are not those of a hello")
	}
	if len(in.rest) == 0 { // before extensions there were none (RFC 5246 section 7.4.1.2)
		return "", nil
	}
	extensions := input{rest: in.vector(2)}
	if in.short || len(in.rest) > 0 {
		return "", refuse("its extensions do not end with it")
	}
	return extensions.server()
}

// server finds the server name among extensions.
func (in *input) server() (name string, err error) {
	var seen [1 << 16 / 64]uint64 // a type stands there once (RFC 8446 section 4.2)
	last := -1
	for len(in.rest) > 0 {
		kind, data := in.number(2), in.vector(2)
		switch {
		case in.short:
			return "", refuse("an extension is cut off")
		case seen[kind/64]&(1<<(kind%64)) != 0:
			return "", refuse("extension %d stands there twice", kind)
		case last == extPreSharedKey:
			return "", refuse("an extension follows the pre-shared key") // section 4.2.11
		}
		seen[kind/64] |= 1 << (kind % 64)
		if last = kind; kind == extServerName {
			if name, err = parseServerName(data); err != nil {
				return "", err
			}
		}
	}
	return name, nil
}

// parseServerName reads a list of one host name. There is no other kind of name,
// and libraries differ in what they make of one.
func parseServerName(data []byte) (string, error) {
	in := input{rest: data}
	list := input{rest: in.vector(2)}
	kind, host := list.number(1), string(list.vector(2))
	switch {
	case in.short || list.short || len(in.rest) > 0 || len(list.rest) > 0 || kind != hostName:
		return "", refuse("its server name is not one host name")
	case !isHost(host):
		return "", refuse("its server name %.64q is no host name", host)
	}
	return strings.ToLower(host), nil
}

// isHost accepts what a DNS host name may be made of, without a dot at its end,
// and no address (RFC 6066 section 3).
func isHost(s string) bool {
	if s == "" || len(s) > maxHost || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	_, err := netip.ParseAddr(s)
	return err != nil
}

// input is what is left to parse. Once something was missing it is short, and all
// that it gives is empty.
type input struct {
	rest  []byte
	short bool
}

func (in *input) take(n int) []byte {
	if in.short || len(in.rest) < n {
		in.short = true
		return nil
	}
	taken := in.rest[:n]
	in.rest = in.rest[n:]
	return taken
}

// number is of so many bytes.
func (in *input) number(size int) int {
	n := 0
	for _, b := range in.take(size) {
		n = n<<8 | int(b)
	}
	return n
}

// vector has its length before it, in so many bytes.
func (in *input) vector(size int) []byte { return in.take(in.number(size)) }
