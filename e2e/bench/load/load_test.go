package load

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// backend serves on loopback until the test ends.
func backend(t *testing.T) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go Serve(l)
	return Target{Address: l.Addr().String()}
}

func TestKinds(t *testing.T) {
	target := backend(t)
	for _, c := range []struct {
		name     string
		run      func() (Result, error)
		requests int
		bytes    int64
	}{
		{"keep-alive", func() (Result, error) { return KeepAlive(t.Context(), target, 4, Bound{Count: 100}) }, 100, 100 * smallSize},
		{"fresh", func() (Result, error) { return Fresh(t.Context(), target, 4, Bound{Count: 20}) }, 20, 20 * smallSize},
		{"paced", func() (Result, error) { return Paced(t.Context(), target, 2, time.Millisecond, Bound{Count: 10}) }, 10, 10 * smallSize},
		{"download", func() (Result, error) { return Download(t.Context(), target, 2, 1<<20, Bound{Count: 4}) }, 4, 4 << 20},
		{"posted", func() (Result, error) {
			posted := target
			posted.Method = "POST"
			return Download(t.Context(), posted, 1, 1<<20, Bound{Count: 1})
		}, 1, 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := c.run()
			if err != nil || r.Requests != c.requests || r.Bytes != c.bytes || r.P50 <= 0 || r.P99 < r.P50 {
				t.Errorf("%+v, %v; want %d requests and %d bytes", r, err, c.requests, c.bytes)
			}
		})
	}
}

func TestAbortAndHold(t *testing.T) {
	target := backend(t)
	if r, err := Abort(t.Context(), target, 2, Bound{Count: 6}); err != nil || r.Requests != 6 {
		t.Errorf("abort: %+v, %v", r, err)
	}
	h, err := Hold(t.Context(), target, 40)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if r, err := h.KeepAlive(t.Context(), Bound{Count: 100}); err != nil || r.Requests != 100 {
		t.Errorf("over what is held: %+v, %v", r, err)
	}
}

// TestBounds: a run ends in time, what was cut off counts, and the end of a
// run is no error.
func TestBounds(t *testing.T) {
	target := backend(t)
	r, err := Download(t.Context(), target, 1, 1<<40, Bound{Time: 50 * time.Millisecond})
	if err != nil || r.Requests != 0 || r.Bytes == 0 || r.Took > 5*time.Second {
		t.Errorf("cut off: %+v, %v", r, err)
	}
	if _, err := KeepAlive(t.Context(), target, 1, Bound{}); err == nil {
		t.Error("a run without a bound was begun")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := KeepAlive(ended, target, 1, Bound{Count: 1}); err == nil {
		t.Errorf("no answer was no error: %+v", r)
	}
}

// TestFaults: what goes wrong is said.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, answer, want string
	}{
		{"refused", "HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"},
		{"cut off", "HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\nxyz", "read 3 of 128 bytes"},
		{"no length", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "invalid syntax"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if _, err := conn.Read(make([]byte, 1<<10)); err == nil {
					conn.Write([]byte(c.answer))
				}
			}()
			target := Target{Address: l.Addr().String(), Connect: "backend.bench:80", Token: "t"}
			if strings.HasPrefix(c.name, "cut") {
				target.Connect = ""
			}
			_, err = KeepAlive(t.Context(), target, 1, Bound{Count: 1})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := Hold(t.Context(), Target{Address: "192.0.2.1:80"}, 1); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("a target elsewhere: %v", err)
	}
}
