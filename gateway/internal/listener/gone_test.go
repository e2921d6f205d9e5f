package listener

import (
	"bufio"
	"context"
	"io"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// TestOnGone: of those who want to hear of the caller's leaving, the last one does,
// once, and it is known who never will.
func TestOnGone(t *testing.T) {
	for version := 1; version <= 2; version++ {
		entered, over := make(chan struct{}), make(chan struct{})
		f := start(t, func(_ context.Context, req *Request, _ Response) {
			defer close(over)
			never := func() { t.Error("who was replaced is told") }
			if req.OnGone(never) || !req.OnGone(never) || !req.OnGone(nil) || req.OnGone(nil) {
				t.Errorf("HTTP/%d: OnGone does not know who was there", version)
			}
			gone := make(chan struct{})
			req.OnGone(func() { close(gone) })
			close(entered)
			<-gone
			late := false
			if req.OnGone(func() { late = true }) || !late || req.OnGone(nil) {
				t.Errorf("HTTP/%d: who asks when the caller has left is told at once: %t", version, late)
			}
		})
		ctx, leave := context.WithCancel(t.Context())
		go func() { <-entered; leave() }()
		if _, err := f.client(version).Do(newRequest(t, "GET", nil).WithContext(ctx)); err == nil {
			t.Errorf("HTTP/%d: an answer came", version)
		}
		select {
		case <-over:
		case <-time.After(patience):
			t.Errorf("HTTP/%d: the handler did not hear that the caller is gone", version)
		}
	}
}

// TestSlowAnswers: a connection that was watched for its caller's leaving is used again,
// with what came while it was, and so is one whose watch was just about to begin.
func TestSlowAnswers(t *testing.T) {
	wait := make(chan time.Duration, 1)
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		req.OnGone(func() { t.Error("the caller is there") })
		<-time.After(<-wait)
		_ = writeAnswer(resp, &l7.ResponseHead{Status: 200}, []byte(req.Head.Path))
		req.OnGone(nil)
	})
	c := f.dialLoopback()
	br := bufio.NewReader(c)
	get := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + f.jwt() + "\r\n\r\n"
	}
	want := func(path string) {
		t.Helper()
		r := receive(t, br, "GET")
		if body, err := io.ReadAll(r.Body); string(body) != path || err != nil {
			t.Fatalf("answer %q, %v, want %q", body, err, path)
		}
	}
	for _, d := range []time.Duration{2 * quick, 0, quick, quick - time.Millisecond, quick + time.Millisecond, 0} {
		wait <- d
		if _, err := io.WriteString(c, get("/a")); err != nil {
			t.Fatal(err)
		}
		want("/a")
	}
	wait <- 4 * quick
	if _, err := io.WriteString(c, get("/b")); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * quick) // it is watched now
	if _, err := io.WriteString(c, get("/c")); err != nil {
		t.Fatal(err)
	}
	want("/b")
	wait <- 0
	want("/c")
}
