//go:build !race

package listener

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// TestQuickExchangesAllocateTheirHeads: in HTTP/1.1 nothing else is made for an exchange
// whose answer comes soon.
func TestQuickExchangesAllocateTheirHeads(t *testing.T) {
	head, body := &l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-length", Value: "2"}}}, []byte("ok")
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		req.OnGone(nil)
		if writeAnswer(resp, head, body) != nil {
			t.Error("not answered")
		}
	})
	const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
	buf := make([]byte, len(answer))
	for name, c := range map[string]net.Conn{"TLS": f.dial(), "a loopback": f.dialLoopback()} {
		ask := []byte("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + f.jwt() + "\r\n\r\n")
		n := testing.AllocsPerRun(200, func() {
			if _, err := c.Write(ask); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil || string(buf) != answer {
				t.Fatalf("%q, %v", buf, err)
			}
		})
		// Reading a TLS record costs each end one.
		if most := map[string]float64{"TLS": 3, "a loopback": 1}[name]; n > most {
			t.Errorf("over %s: %v allocations for an exchange, want at most %v", name, n, most)
		}
	}
}
