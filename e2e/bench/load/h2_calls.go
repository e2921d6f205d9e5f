package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/net/http2"
)

// Call is what is asked over HTTP/2.
type Call int

const (
	// Get asks for the small body.
	Get Call = iota
	// Unary is a gRPC call with a message of 100 bytes each way.
	Unary
	// PingPong is a gRPC call that stays open: each message of 100 bytes is
	// answered by one, and the next is sent then.
	PingPong
)

// The paths of what the backend answers.
const (
	smallPath  = "/small"
	unaryPath  = "/bench.Echo/Unary"
	streamPath = "/bench.Echo/Stream"
)

// message is 100 bytes behind gRPC's prefix: not compressed, and the length.
var message = append([]byte{0, 0, 0, 0, 100}, make([]byte, 100)...)

// Calls asks over so many HTTP/2 connections, with so many streams in each at a
// time. Of PingPong, what is counted and timed is a message and its answer.
func Calls(ctx context.Context, t Target, conns, streams int, call Call, b Bound) (Result, error) {
	return drive(ctx, b, conns, func(ctx context.Context, r *running, number int) error {
		c, err := t.open(ctx)
		if err != nil {
			return err
		}
		defer c.close()
		m := &caller{ctx: ctx, run: r, number: number, target: t, call: call}
		m.link = newLink(c.Conn, bufio.NewReaderSize(c.Conn, 64<<10))
		return m.converse(c.Conn, streams)
	})
}

// caller is the client's end of a link.
type caller struct {
	*link
	ctx    context.Context
	run    *running
	number int
	target Target
	call   Call
	last   uint32 // stream that was begun
}

// asked is what an end knows of a call.
type asked struct {
	began  time.Time // caller: of what is timed
	got    int       // caller: bytes of the answer
	status string    // caller
	grpc   string    // caller: grpc-status
	detail string    // caller: grpc-message
	path   string    // backend
	headed bool      // backend: what comes now are trailers
}

// errDone says that all calls are over.
var errDone = errors.New("all calls are over")

// converse makes calls until the run is over.
func (m *caller) converse(w io.Writer, streams int) error {
	if _, err := io.WriteString(w, http2.ClientPreface); err != nil {
		return err
	}
	if err := m.greet(); err != nil {
		return err
	}
	for range streams {
		if err := m.begin(); err != nil {
			return err
		}
	}
	if len(m.lanes) == 0 {
		return m.bw.Flush()
	}
	if err := m.serve(m); !errors.Is(err, errDone) {
		return err
	}
	return nil
}

// begin begins one more call, if the run has one.
func (m *caller) begin() error {
	if !m.run.another(m.ctx) {
		return nil
	}
	m.last += 2
	id := m.last - 1 // a client's are odd
	s := m.add(id)
	s.asked.began = time.Now()
	if err := m.sendHead(id, m.call == Get, m.fields()...); err != nil {
		return err
	}
	switch m.call {
	case Unary:
		return m.send(s, message, halfCloses)
	case PingPong:
		return m.send(s, message, goesOn)
	}
	return nil
}

func (m *caller) fields() []string {
	method, path := "POST", unaryPath
	switch m.call {
	case Get:
		method, path = "GET", smallPath
	case PingPong:
		path = streamPath
	}
	fields := []string{":method", method, ":scheme", "http", ":authority", m.target.authority(), ":path", path}
	if m.call != Get {
		fields = append(fields, "content-type", "application/grpc", "te", "trailers")
	}
	if m.target.Token != "" {
		fields = append(fields, "proxy-authorization", "Bearer "+m.target.Token)
	}
	return fields
}

func (m *caller) opened(uint32) *lane { return nil } // it was given up

func (m *caller) field(s *lane, name, value string) {
	switch name {
	case ":status":
		s.asked.status = value
	case "grpc-status":
		s.asked.grpc = value
	case "grpc-message":
		s.asked.detail = value
	}
}

func (m *caller) headed(s *lane, ended bool) error {
	if s.asked.status != "200" {
		return fmt.Errorf("answered %s", s.asked.status)
	}
	if ended {
		return m.over(s)
	}
	return nil
}

func (m *caller) data(s *lane, p []byte, ended bool) error {
	s.asked.got += len(p)
	m.run.bytes.Add(int64(len(p)))
	if ended {
		return m.over(s)
	}
	if m.call == PingPong && s.asked.got == len(message) {
		return m.returned(s)
	}
	return nil
}

// returned sends the next message when the last has come back.
func (m *caller) returned(s *lane) error {
	m.note(s)
	s.asked.got = 0
	if !m.run.another(m.ctx) {
		return m.send(s, nil, halfCloses)
	}
	s.asked.began = time.Now()
	return m.send(s, message, goesOn)
}

// note counts one answer.
func (m *caller) note(s *lane) {
	all := &m.run.latencies[m.number]
	*all = append(*all, time.Since(s.asked.began))
}

// over checks a call that has ended and begins the next.
func (m *caller) over(s *lane) error {
	delete(m.lanes, s.id)
	delete(m.waiting, s.id)
	if m.call != Get && s.asked.grpc != "0" {
		return fmt.Errorf("ended with grpc-status %q: %s", s.asked.grpc, s.asked.detail)
	}
	want := map[Call]int{Get: smallSize, Unary: len(message)}[m.call]
	if s.asked.got != want || len(s.due) > 0 {
		return fmt.Errorf("answered %d bytes, want %d, with %d unsent", s.asked.got, want, len(s.due))
	}
	if m.call != PingPong { // whose end the run wants
		m.note(s)
		if err := m.begin(); err != nil {
			return err
		}
	}
	if len(m.lanes) == 0 {
		return errDone
	}
	return nil
}

func (m *caller) reset(_ *lane, code http2.ErrCode) error {
	return fmt.Errorf("stream reset: %s", code)
}

func (m *caller) leaves(code http2.ErrCode) error {
	return fmt.Errorf("the other end takes no more: %s", code)
}
