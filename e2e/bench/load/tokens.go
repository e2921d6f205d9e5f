package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// sentField stands in each event before the time at which it was sent.
const sentField = `"sent":`

// monotonic is in nanoseconds, the same in all processes of a machine.
func monotonic() (int64, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano(), err
}

// Tokens reads so many event streams of so many events each, which the backend
// sends one by one at a pace, as a model does its tokens. What is counted is an
// event, and what is timed is its way: from just before it is sent until it is
// read. The streams begin evenly within one pace.
func Tokens(ctx context.Context, t Target, streams, each int, every time.Duration) (Result, error) {
	b := Bound{Time: time.Duration(each)*every + patience}
	r, err := drive(ctx, b, streams, func(ctx context.Context, r *running, number int) error {
		first := time.Now().Add(every * time.Duration(number) / time.Duration(streams))
		(&pacer{next: first}).wait(ctx)
		return r.listen(ctx, t, number, each, every)
	})
	if err == nil && r.Requests != streams*each {
		err = fmt.Errorf("load: %d events of %d came within %s", r.Requests, streams*each, b.Time)
	}
	return r, err
}

// listen reads one event stream.
func (r *running) listen(ctx context.Context, t Target, number, each int, every time.Duration) error {
	c, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.Write(t.request(fmt.Sprintf("/events/%d/%s", each, every), "Accept: text/event-stream")); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		return fmt.Errorf("answered %s with %q", resp.Status, resp.Header.Get("Content-Type"))
	}
	return r.events(number, each, bufio.NewReader(resp.Body))
}

// events notes how long each took.
func (r *running) events(number, each int, body *bufio.Reader) error {
	got := 0
	for {
		line, err := body.ReadSlice('\n')
		if errors.Is(err, io.EOF) && got == each {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %d of %d events: %w", got, each, err)
		}
		_, rest, found := bytes.Cut(line, []byte(sentField))
		if !found {
			continue // the line between two events
		}
		now, err := monotonic()
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(rest, []byte("}"))
		sent, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil {
			return err
		}
		got++
		r.bytes.Add(int64(len(line)))
		r.latencies[number] = append(r.latencies[number], time.Duration(now-sent))
	}
}

// events sends what Tokens asks for, each event as a chunk of its own.
func events(conn net.Conn, count int, every time.Duration) error {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}
	p := pacer{every: every, next: time.Now()}
	var event, chunk []byte
	for range count {
		p.wait(context.Background())
		now, err := monotonic()
		if err != nil {
			return err
		}
		event = fmt.Appendf(event[:0], `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","model":"bench",`+
			`"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}],`+sentField+"%d}\n\n", now)
		chunk = fmt.Appendf(chunk[:0], "%x\r\n%s\r\n", len(event), event)
		if _, err := conn.Write(chunk); err != nil {
			return err
		}
	}
	_, err := io.WriteString(conn, "0\r\n\r\n")
	return err
}
