package load

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
)

// answerer is the backend's end of a link.
type answerer struct{ *link }

// smallBody is what smallPath is answered with.
var smallBody = []byte(strings.Repeat("x", smallSize))

// serveH2 answers calls until the connection ends.
func serveH2(conn net.Conn, br *bufio.Reader) error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(br, preface); err != nil || string(preface) != http2.ClientPreface {
		return errors.Join(errors.New("no preface"), err)
	}
	a := answerer{newLink(conn, br)}
	if err := a.greet(); err != nil {
		return err
	}
	return a.serve(a)
}

func (a answerer) opened(id uint32) *lane { return a.add(id) }

func (a answerer) field(s *lane, name, value string) {
	if name == ":path" {
		s.asked.path = value
	}
}

func (a answerer) headed(s *lane, ended bool) error {
	if s.asked.path == streamPath && !s.asked.headed {
		s.asked.headed = true
		if err := a.sendHead(s.id, false, ":status", "200", "content-type", "application/grpc"); err != nil {
			return err
		}
	}
	return a.data(s, nil, ended)
}

func (a answerer) data(s *lane, p []byte, ended bool) error {
	if s.asked.path == streamPath {
		e := goesOn
		if ended {
			e = endsInTrailers
		}
		return a.send(s, p, e)
	}
	if ended {
		return a.answer(s)
	}
	return nil
}

// answer answers what was asked whole.
func (a answerer) answer(s *lane) error {
	switch s.asked.path {
	case smallPath:
		if err := a.sendHead(s.id, false, ":status", "200", "content-length", strconv.Itoa(smallSize)); err != nil {
			return err
		}
		return a.send(s, smallBody, endsInData)
	case unaryPath:
		if err := a.sendHead(s.id, false, ":status", "200", "content-type", "application/grpc"); err != nil {
			return err
		}
		return a.send(s, message, endsInTrailers)
	}
	delete(a.lanes, s.id)
	return a.sendHead(s.id, true, ":status", "404")
}

func (a answerer) reset(*lane, http2.ErrCode) error { return nil }

func (a answerer) leaves(http2.ErrCode) error { return nil } // what is there goes on
