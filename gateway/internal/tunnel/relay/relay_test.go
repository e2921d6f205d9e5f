package relay_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/relay"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tcptunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// tunnels is a tunnel over TCP and mTLS, both ends.
func tunnels(t testing.TB) (near, far tunnel.Tunnel) {
	t.Helper()
	mesh := certstest.Mesh(t, "near.test", "far.test")
	anyone := func(spiffeid.ID) error { return nil }
	source := mesh["far.test"].Source("/sallyport/gateway/far-1")
	l, err := tcptunnel.Listen("127.0.0.1:0", carrier.Config{Source: source, Authorize: anyone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := tcptunnel.NewDialer(carrier.Config{Source: mesh["near.test"].Source("/sallyport/gateway/near-1"), Authorize: anyone})
	near, err = d.Dial(t.Context(), l.Addr().String(), source.ID(), tunnel.Interactive)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	far, err = l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, far
}

// copied is a connection that no stream relays by itself.
type copied struct{ *net.TCPConn }

// crossing is a stream with a program at both ends.
type crossing struct {
	caller, destination *net.TCPConn
	local               *net.TCPConn // the caller's, at its gateway
	near, far           tunnel.Stream
	egress, ingress     chan outcome
	out, in             tunnel.Count // so far, at the two gateways
}

// outcome is how a relay has ended, and what it has carried.
type outcome struct {
	tunnel.Relayed
	Sent, Received uint64
}

// cross relays one. own says at which ends the stream's own relay is used.
func cross(t testing.TB, near, far tunnel.Tunnel, own [2]bool) *crossing {
	t.Helper()
	c := &crossing{egress: make(chan outcome, 1), ingress: make(chan outcome, 1)}
	var err error
	if c.near, err = near.Open(t.Context(), &crossingv1.Header{Id: "x"}); err != nil {
		t.Fatal(err)
	}
	if c.far, err = far.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	var a, b *net.TCPConn
	c.caller, a = tunneltest.TCPPair(t)
	c.destination, b = tunneltest.TCPPair(t)
	c.local = a
	join := func(s tunnel.Stream, tcp *net.TCPConn, own bool, code tunnel.ResetCode, n *tunnel.Count, end chan<- outcome) {
		local := net.Conn(tcp)
		if !own {
			local = copied{tcp}
		}
		relay.Join(s, local, code, n, func(r tunnel.Relayed) {
			if r.Local != nil || r.Stream != nil {
				tcp.SetLinger(0)
			}
			tcp.Close()
			end <- outcome{r, n.Sent.Load(), n.Received.Load()}
		})
	}
	join(c.near, a, own[0], tunnel.CallerGone, &c.out, c.egress)
	join(c.far, b, own[1], tunnel.DestinationGone, &c.in, c.ingress)
	return c
}

// ways are the relays that stand at the two ends.
var ways = map[string][2]bool{"own": {true, true}, "copied": {false, false}, "own to copied": {true, false}, "copied to own": {false, true}}

// says is what a program does on its side: it writes in pieces of these sizes,
// ends its direction, and reads to the end with a buffer of that size.
type says struct {
	pieces []int
	buffer int
	seed   uint64
}

func draw(t *rapid.T, name string) says {
	return says{
		pieces: rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 5000), rapid.IntRange(1, 700<<10)), 0, 6).Draw(t, name+" pieces"),
		buffer: rapid.SampledFrom([]int{512, 4 << 10, 64 << 10, 1 << 20}).Draw(t, name+" buffer"),
		seed:   rapid.Uint64().Draw(t, name+" seed"),
	}
}

func (s says) content() []byte {
	n := 0
	for _, p := range s.pieces {
		n += p
	}
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(s.seed), byte(s.seed >> 8)}).Read(b)
	return b
}

// do plays the program and gives what it read.
func (s says) do(c *net.TCPConn) (got []byte, err error) {
	var wg sync.WaitGroup
	wg.Go(func() {
		left := s.content()
		for _, p := range s.pieces {
			c.Write(left[:p])
			left = left[p:]
		}
		c.CloseWrite()
	})
	var b bytes.Buffer
	_, err = io.CopyBuffer(&b, struct{ io.Reader }{c}, make([]byte, s.buffer))
	wg.Wait()
	return b.Bytes(), err
}

// TestProgramsSeeOneConnection: whatever both programs write, in whatever pieces
// and however slowly they read, each gets all of it, in order, and then the end;
// and both gateways count the same bytes.
func TestProgramsSeeOneConnection(t *testing.T) {
	for name, own := range ways {
		t.Run(name, func(t *testing.T) {
			near, far := tunnels(t)
			rapid.Check(t, func(rt *rapid.T) {
				c := cross(t, near, far, own)
				a, b := draw(rt, "caller"), draw(rt, "destination")
				var wg sync.WaitGroup
				check := func(own, other says, conn *net.TCPConn) {
					got, err := own.do(conn)
					if err != nil || !bytes.Equal(got, other.content()) {
						rt.Errorf("%d bytes, %v, want %d", len(got), err, len(other.content()))
					}
				}
				wg.Go(func() { check(a, b, c.caller) })
				wg.Go(func() { check(b, a, c.destination) })
				wg.Wait()
				out, in := <-c.egress, <-c.ingress
				there, back := uint64(len(a.content())), uint64(len(b.content()))
				if want := (outcome{Sent: there, Received: back}); out != want {
					rt.Errorf("egress %+v, want %+v", out, want)
				}
				if want := (outcome{Sent: back, Received: there}); in != want {
					rt.Errorf("ingress %+v, want %+v", in, want)
				}
			})
		})
	}
}

// TestWhoBreaksOffIsTold: the other program is never shown a good end.
func TestWhoBreaksOffIsTold(t *testing.T) {
	for name, own := range ways {
		t.Run(name, func(t *testing.T) {
			near, far := tunnels(t)
			t.Run("caller", func(t *testing.T) {
				c := cross(t, near, far, own)
				c.caller.Write([]byte("half"))
				io.ReadFull(c.destination, make([]byte, 4))
				c.caller.SetLinger(0)
				c.caller.Close()
				wantBroken(t, c.destination)
				out, in := <-c.egress, <-c.ingress
				if out.Local == nil || out.Stream != nil {
					t.Errorf("egress %+v, want the local side's fault", out)
				}
				wantReset(t, in.Stream, tunnel.CallerGone)
			})
			t.Run("destination", func(t *testing.T) {
				c := cross(t, near, far, own)
				c.destination.Write([]byte("half"))
				io.ReadFull(c.caller, make([]byte, 4))
				c.caller.CloseWrite() // half closed already
				io.Copy(io.Discard, c.destination)
				c.destination.SetLinger(0)
				c.destination.Close()
				wantBroken(t, c.caller)
				out, in := <-c.egress, <-c.ingress
				if in.Local == nil || in.Stream != nil {
					t.Errorf("ingress %+v, want the local side's fault", in)
				}
				wantReset(t, out.Stream, tunnel.DestinationGone)
			})
			t.Run("gateway", func(t *testing.T) {
				c := cross(t, near, far, own)
				c.far.Reset(tunnel.Stopped)
				wantBroken(t, c.caller)
				wantBroken(t, c.destination)
				out, in := <-c.egress, <-c.ingress
				wantReset(t, out.Stream, tunnel.Stopped)
				wantReset(t, in.Stream, tunnel.Stopped)
			})
			t.Run("one that does not read", func(t *testing.T) {
				c := cross(t, near, far, own)
				fill(t, c.destination)
				c.far.Reset(tunnel.Stopped)
				wantBroken(t, c.destination)
				wantReset(t, (<-c.egress).Stream, tunnel.Stopped)
				wantReset(t, (<-c.ingress).Stream, tunnel.Stopped)
			})
		})
	}
}

// fill writes until nothing more is taken, and gives how much was.
func fill(t *testing.T, c *net.TCPConn) int64 {
	t.Helper()
	var total int64
	for {
		c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := c.Write(make([]byte, 64<<10))
		total += int64(n)
		if os.IsTimeout(err) {
			c.SetWriteDeadline(time.Time{})
			return total
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func wantBroken(t *testing.T, c *net.TCPConn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, c); err == nil || os.IsTimeout(err) {
		t.Errorf("the program read to an end with %v, want a broken connection", err)
	}
}

func wantReset(t *testing.T, err error, code tunnel.ResetCode) {
	t.Helper()
	var reset *tunnel.ResetError
	if !errors.As(err, &reset) || reset.Code != code {
		t.Errorf("stream ended with %v, want a reset with code %q", err, code)
	}
}

// TestOneThatDoesNotReadHoldsUpNobody: others go on beside it, and it gets all
// in the end.
func TestOneThatDoesNotReadHoldsUpNobody(t *testing.T) {
	near, far := tunnels(t)
	stuck := cross(t, near, far, ways["own"])
	const size = 32 << 20
	taken := fill(t, stuck.destination)
	go func() {
		io.CopyN(stuck.destination, zeros{}, size)
		stuck.destination.CloseWrite()
	}()
	for range 3 {
		c := cross(t, near, far, ways["own"])
		go func() {
			io.CopyN(c.destination, zeros{}, size)
			c.destination.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, c.caller); n != size || err != nil {
			t.Fatalf("beside it: %d bytes, %v", n, err)
		}
		c.caller.Close()
		if r := <-c.egress; r.Received != size || r.Stream != nil {
			t.Errorf("egress %+v", r)
		}
	}
	if n, err := io.Copy(io.Discard, stuck.caller); n != taken+size || err != nil {
		t.Errorf("it got %d bytes, %v", n, err)
	}
}

// TestALargeObjectTakesNoMemory pushes gigabytes through and looks at the heap.
func TestALargeObjectTakesNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("pushes 4 GiB through a tunnel: needs time")
	}
	near, far := tunnels(t)
	const size = 4 << 30
	c := cross(t, near, far, ways["own"])
	go func() {
		io.CopyN(c.destination, zeros{}, size)
		c.destination.CloseWrite()
	}()
	var most uint64
	buf := make([]byte, 256<<10)
	for total, next := 0, 0; total < size; {
		n, err := c.caller.Read(buf)
		if err != nil {
			t.Fatalf("after %d bytes: %v", total, err)
		}
		if total += n; total > next {
			next += 256 << 20
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
	}
	c.caller.CloseWrite()
	if r := <-c.egress; r.Received != size {
		t.Errorf("egress %+v", r)
	}
	if limit := uint64(64 << 20); most > limit {
		t.Errorf("the heap grew to %d MiB, want at most %d", most>>20, limit>>20)
	}
}
