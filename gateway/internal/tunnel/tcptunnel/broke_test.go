package tcptunnel

import (
	"io"
	"net"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// TestBrokenProtocolIsTold: a peer that breaks the protocol after a good
// handshake is counted, whether its frame is wrong or cut off.
func TestBrokenProtocolIsTold(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
	}{
		{"garbage", []byte("GET / HTTP/1.1\r\n\r\n")},
		{"cut off", []byte{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				var told error
				l := carrier.Limits{}.WithDefaults()
				x := newConn(a, mux.Acceptor, settings(l), tunnel.Info{Peer: peerID("aws")}, l,
					carrier.Guard{Broke: func(fault error) { told = fault }}, zap.NewNop())
				defer x.Close()
				go io.Copy(io.Discard, b)
				synctest.Wait() // its first PING is out: a write that fails would end the tunnel first
				if _, err := b.Write(c.bytes); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				b.Close()
				synctest.Wait()
				if told == nil {
					t.Error("told of nothing")
				}
			})
		})
	}
}
