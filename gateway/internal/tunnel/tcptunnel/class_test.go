package tcptunnel

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

func TestClassIsSaidInTheHandshake(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.demo", "azure.demo")
	for _, class := range []tunnel.Class{tunnel.Interactive, tunnel.Bulk} {
		far := carrier.Config{Source: mesh["azure.demo"].Source(gatewayPath), Authorize: anyPeer}
		l := listen(t, far)
		d := NewDialer(carrier.Config{Source: mesh["aws.demo"].Source(gatewayPath), Authorize: anyPeer})
		dialled, err := d.Dial(t.Context(), l.Addr().String(), far.Source.ID(), class)
		if err != nil {
			t.Fatal(err)
		}
		defer dialled.Close()
		accepted, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		if a, b := dialled.Info().Class, accepted.Info().Class; a != class || b != class {
			t.Errorf("classes %s and %s, want %s", a, b, class)
		}
	}
}

func TestAnotherClassThanWasAskedForIsAFault(t *testing.T) {
	near, far := net.Pipe()
	own := settings(carrier.Limits{}.WithDefaults())
	go func() {
		io.ReadFull(far, make([]byte, mux.PrefaceLen))
		other := own
		other.Class = mux.ClassBulk
		far.Write(mux.AppendPreface(nil, other))
	}()
	_, err := exchangePrefaces(near, mux.Dialler, own)
	var fault *mux.FaultError
	if !errors.As(err, &fault) || fault.Reason != mux.BadPreface {
		t.Errorf("exchange of prefaces: %v, want fault %d", err, mux.BadPreface)
	}
}

// TestAStreamThatCarriesMuchTurnsItsConnection: at both ends, in either
// direction, and only if it is much in a short time.
func TestAStreamThatCarriesMuchTurnsItsConnection(t *testing.T) {
	tests := []struct {
		name        string
		there, back int           // bytes, ten times
		pause       time.Duration // between
		want        tunnel.Class
	}{
		{"there", carrier.TurnsBulkBytes / 10, 6, 0, tunnel.Bulk},
		{"back", 0, carrier.TurnsBulkBytes/10 + 1, 0, tunnel.Bulk},
		{"both ways together", carrier.TurnsBulkBytes / 20, carrier.TurnsBulkBytes/20 + 2, 0, tunnel.Bulk},
		{"a little less", carrier.TurnsBulkBytes / 10, 0, 0, tunnel.Interactive},
		{"slowly", carrier.TurnsBulkBytes / 10, 6, 2 * time.Second, tunnel.Interactive},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := pair(t, carrier.Limits{})
				near, far := streams(t, a, b)
				for range 10 {
					move(t, near, far, tt.there)
					move(t, far, near, tt.back)
					pass(tt.pause)
				}
				if x, y := a.Info().Class, b.Info().Class; x != tt.want || y != tt.want {
					t.Errorf("classes %s and %s, want %s", x, y, tt.want)
				}
				near.Reset(tunnel.CallerGone)
				synctest.Wait()
				if x, y := a.Info().Class, b.Info().Class; x != tunnel.Interactive || y != tunnel.Interactive {
					t.Errorf("classes %s and %s once no stream is open", x, y)
				}
			})
		})
	}
}

func move(t *testing.T, from, to *stream, n int) {
	t.Helper()
	var writing sync.WaitGroup
	writing.Go(func() { from.Write(make([]byte, n)) })
	if _, err := io.ReadFull(to, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	writing.Wait() // a stream has one writer at a time
}

// TestInteractiveFramesGoFirst: while a connection carries both, what a bulk
// stream has to say waits for what others say.
func TestInteractiveFramesGoFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, nc := half(t, carrier.Limits{})
		bulk, calm := open(t, c, "bulk"), open(t, c, "calm")
		c.mu.Lock()
		bulk.bulk = true
		c.mu.Unlock()
		go bulk.Write(make([]byte, 4<<20))
		pass(time.Second)
		go calm.Write([]byte("token"))
		pass(time.Second)
		before := 0
		for {
			head := make([]byte, mux.HeaderLen)
			if _, err := io.ReadFull(nc, head); err != nil {
				t.Fatal(err)
			}
			h, err := mux.ParseHeader(head)
			if err != nil {
				t.Fatal(err)
			}
			io.CopyN(io.Discard, nc, int64(h.Length))
			if h.Type == mux.Data && h.Stream == calm.state.ID() {
				break
			}
			before += mux.HeaderLen + h.Length
		}
		if limit := 2*bulkLimit + 100; before > limit {
			t.Errorf("%d bytes went before a token, want at most %d", before, limit)
		}
	})
}
