//go:build linux

package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// answer is one of a destination, of which it is in doubt where it ends.
type answer struct {
	name, method, raw string
	want              outcome
	body              string // of one that passes
	closes            bool   // the destination hangs up after it
}

const (
	ok = "HTTP/1.1 200 OK\r\n"
	// evil stands behind an answer: whoever takes it for the next one is lost.
	evil = ok + "Content-Length: 4\r\n\r\nevil"
	good = ok + "Content-Length: 4\r\n\r\ngood"
)

var answers = []answer{
	{name: "whole", raw: ok + "Content-Length: 5\r\n\r\nhello", want: passed, body: "hello"},
	{name: "chunked", raw: ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", want: passed, body: "hello"},
	{name: "until the end", raw: ok + "\r\nhello", want: passed, body: "hello", closes: true},
	{name: "answer that nobody asked for", raw: ok + "Content-Length: 5\r\n\r\nhello" + evil, want: passed, body: "hello"},
	{name: "both lengths", raw: ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + evil, want: either},
	{name: "two lengths", raw: ok + "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello" + evil},
	{name: "list of lengths", raw: ok + "Content-Length: 0, 5\r\n\r\nhello" + evil},
	{name: "negative length", raw: ok + "Content-Length: -5\r\n\r\nhello" + evil},
	{name: "length with a sign", raw: ok + "Content-Length: +5\r\n\r\nhello" + evil},
	{name: "length of more than 63 bits", raw: ok + "Content-Length: 18446744073709551621\r\n\r\nhello" + evil},
	{name: "unknown coding", raw: ok + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + evil},
	{name: "coding behind another", raw: ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + evil},
	{name: "NUL in a value", raw: ok + "X: a\x00b\r\nContent-Length: 0\r\n\r\n" + evil},
	{name: "carriage return in a value", raw: ok + "X: a\rContent-Length: 5\r\nContent-Length: 0\r\n\r\n" + evil},
	{name: "space before the colon", raw: ok + "Content-Length : 5\r\n\r\nhello" + evil},
	{name: "field without a colon", raw: ok + "Content-Length 5\r\n\r\nhello" + evil},
	{name: "folded field", raw: ok + "X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", want: either, body: "hello"},
	{name: "status of two digits", raw: "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n" + evil},
	{name: "status of four digits", raw: "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n" + evil},
	{name: "status with a sign", raw: "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n" + evil},
	{name: "another protocol", raw: "SSH-2.0-OpenSSH\r\n\r\n" + evil},
	{name: "upgrade that nobody asked for", raw: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + evil},
	{name: "some answers before the answer", raw: "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok + "Content-Length: 5\r\n\r\nhello", want: passed, body: "hello"},
	{name: "answers before the answer without end", raw: strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("a", 1000)+"\r\n\r\n", 2000) + good},
	{name: "oversized head", raw: ok + "X: " + strings.Repeat("a", 200<<10) + "\r\nContent-Length: 0\r\n\r\n" + evil},
	{name: "body of 204", raw: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n" + evil, want: either},
	{name: "body of 304", raw: "HTTP/1.1 304 Not Modified\r\n\r\n" + evil, want: either},
	{name: "body of an answer to HEAD", method: "HEAD", raw: ok + "Content-Length: 5\r\n\r\n" + evil, want: either},
	{name: "chunk size that is none", raw: ok + "Transfer-Encoding: chunked\r\n\r\ng\r\nhello\r\n0\r\n\r\n" + evil},
	{name: "chunk size of more than 64 bits", raw: ok + "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n" + evil},
	{name: "chunk that is longer than it says", raw: ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello world\r\n0\r\n\r\n" + evil},
	{name: "body that is cut off", raw: ok + "Content-Length: 50\r\n\r\nhello", closes: true},
	{name: "chunk that is cut off", raw: ok + "Transfer-Encoding: chunked\r\n\r\n50\r\nhello", closes: true},
	{name: "head that is cut off", raw: ok + "Content-Le", closes: true},
	{name: "nothing", closes: true},
	{name: "a gateway's own field", raw: ok + "Sallyport-Crossing: 01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88\r\nContent-Length: 5\r\n\r\nhello", want: passed, body: "hello"},
	{name: "connection that names a gateway's field", raw: ok + "Connection: sallyport-crossing, content-length\r\nContent-Length: 5\r\n\r\nhello", want: either, body: "hello"},
}

// liar is a destination that gives these answers: at /N the one of that number.
func liar(t *testing.T) place {
	t.Helper()
	l, port := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go lie(conn)
		}
	}()
	return place{"liar", "http", port}
}

func lie(conn net.Conn) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		a := answer{raw: good}
		if n, err := strconv.Atoi(req.URL.Path[1:]); err == nil {
			a = answers[n]
		}
		if _, err := io.WriteString(conn, a.raw); err != nil || a.closes {
			return
		}
	}
}

// TestDifferentialAnswers has a destination answer so that one reader sees other
// answers than another: no caller gets what was meant for the one after it, or
// takes for whole what is not.
func TestDifferentialAnswers(t *testing.T) {
	at := liar(t)
	m := meshWith(t, nil, at)
	for _, protocol := range []string{"http/1.1", "h2"} {
		client := asOrchestrator(t, m, protocol)
		for n, a := range answers {
			t.Run(protocol+" "+a.name, func(t *testing.T) {
				method := a.method
				if method == "" {
					method = "GET"
				}
				got := fetch(m.Context, t, client, method, fmt.Sprintf("https://%s/%d", at.host(), n))
				a.judge(t, m, got)
				for range 2 {
					if next := fetch(m.Context, t, client, "GET", "https://"+at.host()+"/good"); next.status != 200 || next.body != "good" {
						t.Errorf("the next answer is %+v", next)
					}
				}
			})
		}
	}
}

// fetched is an answer as a caller has it.
type fetched struct {
	status         int
	body, crossing string
	broken         error // its end did not come
}

func fetch(ctx context.Context, t *testing.T, client *http.Client, method, url string) fetched {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, meshtest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fetched{broken: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return fetched{resp.StatusCode, string(body), resp.Header.Get("Sallyport-Crossing"), err}
}

// judge holds what a caller got of an answer, and its record.
func (a *answer) judge(t *testing.T, m *meshtest.Mesh, got fetched) {
	t.Helper()
	whole := got.status > 0 && got.status < 500 && got.broken == nil
	switch {
	case strings.Contains(got.body, "evil"):
		t.Errorf("the caller has the answer behind it: %+v", got)
	case a.want == refused && whole:
		t.Errorf("the caller takes it for whole: %+v", got)
	case a.want == passed && !whole:
		t.Errorf("the caller got %+v", got)
	case whole && got.body != a.body:
		t.Errorf("the caller got %q, want %q", got.body, a.body)
	}
	if got.crossing == "" {
		if got.status != 0 {
			t.Errorf("an answer without a crossing: %+v", got)
		}
		return
	}
	r := m.Record(t, got.crossing)
	if !r.GetAgree() || whole != (r.GetEgress().GetClose() == crossingv1.Cause_DONE) {
		t.Errorf("the caller got %+v; record: %v", got, r)
	}
}
