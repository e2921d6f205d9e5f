//go:build linux

package relay_test

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

// awaitParked waits until no relay has a goroutine that reads.
func awaitParked(t *testing.T) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for enough := time.After(30 * time.Second); ; {
		var all bytes.Buffer
		pprof.Lookup("goroutine").WriteTo(&all, 1)
		if !bytes.Contains(all.Bytes(), []byte("tcptunnel.(*relay)")) {
			return
		}
		select {
		case <-ticker.C:
		case <-enough:
			t.Fatalf("relays still have goroutines:\n%s", all.Bytes())
		}
	}
}

// parked relays a stream, lets some bytes through, and waits until it is idle.
func parked(t *testing.T, near, far tunnel.Tunnel) *crossing {
	t.Helper()
	c := cross(t, near, far, ways["own"])
	says := func(from io.Writer, to io.Reader, text string) {
		io.WriteString(from, text)
		wantText(t, to, text)
	}
	says(c.caller, c.destination, "question")
	says(c.destination, c.caller, "answer")
	awaitParked(t)
	return c
}

func wantText(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

// wantSoFar holds what a relay that goes on has carried. What it has handed on may be
// heard of just before it is counted.
func wantSoFar(t *testing.T, n *tunnel.Count, sent, received uint64) {
	t.Helper()
	for began := time.Now(); n.Received.Load() < received && time.Since(began) < 10*time.Second; {
		runtime.Gosched()
	}
	if n.Sent.Load() != sent || n.Received.Load() != received {
		t.Errorf("it has sent %d bytes and received %d, want %d and %d", n.Sent.Load(), n.Received.Load(), sent, received)
	}
}

func wantEnd(t *testing.T, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d, %v, want the end", n, err)
	}
}

// TestIdleOnesGoOn: a relay that was idle carries what comes, again and again,
// and each direction ends by itself.
func TestIdleOnesGoOn(t *testing.T) {
	near, far := tunnels(t)
	c := parked(t, near, far)
	for range 2 {
		io.WriteString(c.caller, "more")
		wantText(t, c.destination, "more")
		awaitParked(t)
		io.WriteString(c.destination, "and more")
		wantText(t, c.caller, "and more")
		awaitParked(t)
	}
	wantSoFar(t, &c.out, 16, 22)
	wantSoFar(t, &c.in, 22, 16)
	c.caller.CloseWrite()
	wantEnd(t, c.destination)
	awaitParked(t)
	io.WriteString(c.destination, "last")
	wantText(t, c.caller, "last")
	c.destination.CloseWrite()
	wantEnd(t, c.caller)
	if out, want := <-c.egress, (outcome{Sent: 16, Received: 26}); out != want {
		t.Errorf("egress %+v, want %+v", out, want)
	}
	if in, want := <-c.ingress, (outcome{Sent: 26, Received: 16}); in != want {
		t.Errorf("ingress %+v, want %+v", in, want)
	}
}

// TestIdleOnesAreCutOff: what breaks a relay that is idle breaks it at once.
func TestIdleOnesAreCutOff(t *testing.T) {
	for name, half := range map[string]bool{"": false, ", half closed": true} {
		t.Run("reset"+name, func(t *testing.T) {
			near, far := tunnels(t)
			c := parked(t, near, far)
			if half {
				closeHalf(t, c.caller, c.destination)
			}
			c.near.Reset(tunnel.Stopped)
			wantReset(t, (<-c.egress).Stream, tunnel.Stopped)
			wantReset(t, (<-c.ingress).Stream, tunnel.Stopped)
			wantBroken(t, c.caller)
			if !half {
				wantBroken(t, c.destination)
			}
		})
		t.Run("the tunnel closes"+name, func(t *testing.T) {
			near, far := tunnels(t)
			c := parked(t, near, far)
			if half {
				closeHalf(t, c.destination, c.caller)
			}
			far.Close()
			wantReset(t, (<-c.egress).Stream, tunnel.TunnelClosed)
			wantReset(t, (<-c.ingress).Stream, tunnel.TunnelClosed)
			wantBroken(t, c.destination)
			if !half {
				wantBroken(t, c.caller)
			}
		})
		t.Run("a program breaks off"+name, func(t *testing.T) {
			near, far := tunnels(t)
			c := parked(t, near, far)
			if half {
				closeHalf(t, c.destination, c.caller)
			}
			c.caller.SetLinger(0)
			c.caller.Close()
			wantBroken(t, c.destination)
			if out := <-c.egress; out.Local == nil || out.Stream != nil {
				t.Errorf("egress %+v, want the local side's fault", out)
			}
			wantReset(t, (<-c.ingress).Stream, tunnel.CallerGone)
		})
	}
}

// closeHalf ends what one program says, and waits until all is idle again.
func closeHalf(t *testing.T, from, to *net.TCPConn) {
	t.Helper()
	from.CloseWrite()
	wantEnd(t, to)
	awaitParked(t)
}

// TestIdleOnesThatDoNotRead: a program that says nothing and reads nothing holds
// up nobody, and what it then says arrives while it still does not read.
func TestIdleOnesThatDoNotRead(t *testing.T) {
	near, far := tunnels(t)
	c := parked(t, near, far)
	taken := fill(t, c.destination)
	io.WriteString(c.caller, "go on")
	wantText(t, c.destination, "go on")
	c.caller.CloseWrite()
	wantEnd(t, c.destination)
	c.destination.CloseWrite()
	if n, err := io.Copy(io.Discard, c.caller); n != taken || err != nil {
		t.Errorf("it got %d bytes, %v, want %d", n, err, taken)
	}
	if out := <-c.egress; out.Local != nil || out.Stream != nil {
		t.Errorf("egress %+v", out)
	}
	stuck := parked(t, near, far)
	fill(t, stuck.destination)
	stuck.far.Reset(tunnel.Stopped)
	wantReset(t, (<-stuck.egress).Stream, tunnel.Stopped)
	wantReset(t, (<-stuck.ingress).Stream, tunnel.Stopped)
}

// TestOneThatDoesNotReadIsCutOff: not even one whose stream has ended both ways
// is waited for once it is reset.
func TestOneThatDoesNotReadIsCutOff(t *testing.T) {
	near, far := tunnels(t)
	c := cross(t, near, far, ways["own"])
	c.caller.SetReadBuffer(4 << 10)
	c.local.SetWriteBuffer(4 << 10)
	const said = 200 << 10 // more than the connection takes, and less than the stream
	c.destination.Write(make([]byte, said))
	c.destination.CloseWrite()
	c.caller.CloseWrite()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for near.Info().Streams > 0 {
		<-ticker.C
	}
	c.near.Reset(tunnel.Stopped)
	out := <-c.egress
	if out.Received == said {
		t.Fatal("nothing was left to be cut off")
	}
	wantReset(t, out.Stream, tunnel.Stopped)
	<-c.ingress
	wantBroken(t, c.caller)
}

// TestIdleOnesTakeNoGoroutine: not one for each, and all of them go on at once.
func TestIdleOnesTakeNoGoroutine(t *testing.T) {
	const many = 1000
	near, far := tunnels(t)
	before := runtime.NumGoroutine()
	all := make([]*crossing, many)
	for i := range all {
		all[i] = cross(t, near, far, ways["own"])
	}
	awaitParked(t)
	if n := runtime.NumGoroutine() - before; n > many/10 {
		t.Errorf("%d goroutines for %d relays at both ends", n, many)
	}
	var group sync.WaitGroup
	for _, c := range all {
		io.WriteString(c.caller, "question")
		c.caller.CloseWrite()
		group.Go(func() {
			if got, err := io.ReadAll(c.destination); string(got) != "question" || err != nil {
				t.Errorf("the destination read %q, %v", got, err)
			}
			c.destination.CloseWrite()
			if out := <-c.egress; out != (outcome{Sent: 8}) {
				t.Errorf("egress %+v", out)
			}
			<-c.ingress
		})
	}
	group.Wait()
	awaitParked(t)
}
