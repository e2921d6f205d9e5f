package quictunnel

import (
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/tunneltest"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

// FuzzPeer: whatever a peer sends on the control stream and on one of a
// crossing, the tunnel serves or ends, without panic, and every stream it gave
// out ends with it.
func FuzzPeer(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{})
	f.Add(mux.AppendPing(nil, mux.Probe{Clock: time.Unix(9, 9)}), []byte{0, 3, 10, 1, 'x', 'h', 'i'})
	f.Add(mux.AppendPong(nil, mux.Probe{Opaque: 1}), []byte{0x40, 1})
	f.Add(mux.AppendGoAway(nil, 1, mux.Draining), []byte{0, 0})
	f.Add(mux.AppendGoAway(nil, 1, mux.Closed), []byte{0, 0, 1})
	f.Fuzz(func(t *testing.T, control, crossing []byte) {
		synctest.Test(t, func(t *testing.T) {
			c, peer, _ := play(t, carrier.Limits{Streams: 4, TunnelWindow: 64 << 10})
			peer.open(t, crossing).Close()
			peer.control.Write(control)
			go func() {
				tunneltest.Pass(time.Second)
				peer.qc.CloseWithError(0, "")
			}()
			for {
				s, err := c.Accept(t.Context())
				if err != nil {
					break
				}
				go io.Copy(s, s)
				defer func() {
					s.Reset(tunnel.Stopped)
					<-s.Done()
				}()
			}
			<-c.Done()
		})
	})
}

// FuzzWire: what parses is what was written.
func FuzzWire(f *testing.F) {
	f.Add(appendPreface(nil, tunnel.Bulk, 7))
	f.Add([]byte{0, 3, 10, 1, 'x'})
	f.Add(mux.AppendGoAway(nil, 1, mux.Draining))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, g, err := parsePreface(b); err == nil && string(appendPreface(nil, c, g)) != string(b) {
			t.Errorf("preface %x is class %s", b, c)
		}
		r := &reader{b}
		if fr, err := readControl(r); err == nil && fr.kind == mux.GoAway {
			if got := mux.AppendGoAway(nil, fr.count, fr.cause); string(got) != string(b[:len(got)]) {
				t.Errorf("%x was read as %x", b, got)
			}
		}
		r = &reader{b}
		if _, err := readOpening(r, 0); err == nil && len(b)-len(r.left) != lengthLen+int(binary.BigEndian.Uint16(b)) {
			t.Errorf("opening %x took %d bytes", b, len(b)-len(r.left))
		}
	})
}

type reader struct{ left []byte }

func (r *reader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}
