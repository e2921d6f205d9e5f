package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
)

// TestRetire: a listener that retires accepts nobody more, answers on the
// connections that it has, and has their callers leave with it.
func TestRetire(t *testing.T) {
	f := start(t, ok)
	idle := f.dial()
	br := bufio.NewReader(idle)
	const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	if r := send(t, idle, br, get, "GET"); r.Close {
		t.Error("the connection ends although nobody wants it to")
	}
	f.Retire()
	f.Retire() // once is enough
	f.closed(f.Addr())
	if r := send(t, idle, br, get, "GET"); r.StatusCode != 200 || !r.Close {
		t.Errorf("answer %d, close %t, want 200 and the connection's end", r.StatusCode, r.Close)
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("after the last answer: %v, want its end in order", err)
	}
	<-f.served()
	f.stop()
}

// closed waits until nobody accepts at an address.
func (f *fixture) closed(addr net.Addr) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			return
		}
		c.Close()
		if time.Now().After(deadline) {
			f.t.Fatal("it still accepts")
		}
	}
}

// TestRetireHTTP2: an exchange that is open ends as it should, and the next one of
// the same client makes another connection.
func TestRetireHTTP2(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	f := start(t, func(ctx context.Context, req *Request, resp Response) {
		close(entered)
		<-leave
		ok(ctx, req, resp)
	})
	client, answer := f.client(2), make(chan error, 1)
	get := func() error {
		r, err := client.Get("https://llm.azure.mesh/")
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		return err
	}
	go func() { answer <- get() }()
	<-entered
	f.Retire()
	f.each(func(c *conn) {
		for deadline := time.Now().Add(patience); !c.leaves(time.Now()); <-time.After(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the connection is not retired")
			}
		}
	})
	close(leave)
	if err := <-answer; err != nil {
		t.Errorf("the open exchange ended with %v", err)
	}
	if err := get(); err == nil {
		t.Error("another exchange found the connection still open")
	}
	<-f.served()
}

// TestLeavesBeforeExpiry: a connection ends in order before its SVID does, also one that
// nobody uses, so early that what is begun on it has time.
func TestLeavesBeforeExpiry(t *testing.T) {
	now := time.Now()
	leaf := &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(100 * time.Second)}
	c := &conn{chain: []*x509.Certificate{leaf}, ages: certs.RetireAt(leaf.NotAfter, now)}
	if c.leaves(now) || !c.leaves(now.Add(90*time.Second)) {
		t.Error("leaves at once, or not in time")
	}
	for name, test := range map[string]struct {
		now, deadline    time.Time
		earliest, latest time.Duration // from now
	}{
		"nobody uses it":              {now, now.Add(time.Hour), 75 * time.Second, 85 * time.Second},
		"somebody did a moment ago":   {now.Add(80 * time.Second), now.Add(time.Hour), 100 * time.Second, 100 * time.Second},
		"it waits for a shorter time": {now, now.Add(time.Second), time.Second, time.Second},
	} {
		if at := c.untilAged(test.now, test.deadline).Sub(now); at < test.earliest || at > test.latest {
			t.Errorf("%s: it waits for a request for %s, want %s to %s", name, at, test.earliest, test.latest)
		}
	}
	anonymous := &conn{}
	if anonymous.leaves(now) || anonymous.retireInTime()() || !anonymous.untilAged(now, now).Equal(now) {
		t.Error("a caller without an SVID has a time to leave")
	}
}

// TestAgedAsARequestComes: what a caller has sent while the connection's time ran out is
// answered, with and without TLS.
func TestAgedAsARequestComes(t *testing.T) {
	f := bind(t, ok)
	now := time.Now()
	for name, secure := range map[string]bool{"TLS": true, "cleartext": false} {
		for _, sends := range []bool{true, false} {
			near, far := tcpPair(t)
			c := &conn{l: f.Listener, raw: far, nc: far, ages: now.Add(-time.Minute)}
			if secure {
				client, server := tls.Client(near, f.clientTLS("onprem.test", "/orchestrator")), tls.Server(far, f.tlsConfig)
				go func() { _ = client.Handshake() }() // what fails, the other end says
				if err := server.Handshake(); err != nil {
					t.Fatal(err)
				}
				near, c.nc = client, server
			}
			c.chain = []*x509.Certificate{{NotAfter: now.Add(time.Second - time.Minute)}}
			if sends {
				if _, err := io.WriteString(near, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				for !pending(far) {
					<-time.After(time.Millisecond)
				}
			}
			if is := newH1(c).next(); is != sends {
				t.Errorf("%s: a request was sent: %t, it was taken: %t", name, sends, is)
			}
		}
	}
}

// tcpPair is both ends of a connection.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// TestRetireInTime: HTTP/2 is told when the time comes.
func TestRetireInTime(t *testing.T) {
	told := make(chan struct{})
	c := &conn{ages: time.Now()}
	c.setGoaway(func() { close(told) })
	stop := c.retireInTime()
	defer stop()
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("nobody was told to leave")
	}
	if !c.leaves(time.Now()) {
		t.Error("the connection is not retired")
	}
}

// TestListen: the sockets are bound as the configuration says.
func TestListen(t *testing.T) {
	uses := map[string]string{}
	f := start(t, ok, toDB, func(c *Config) {
		c.Listen = func(use, address string) (net.Listener, error) {
			uses[use] = address
			return net.Listen("tcp", address)
		}
	})
	if uses[Name] != "127.0.0.1:0" || uses[LoopbackName] != "127.0.0.1:0" || uses[PortName] != "127.0.0.1:0" {
		t.Errorf("bound %v", uses)
	}
	if r, err := f.client(1).Get("https://llm.azure.mesh/"); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("GET = %v, %v", r, err)
	}
}
