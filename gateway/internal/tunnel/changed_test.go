package tunnel

import (
	"testing"
	"testing/synctest"
)

// TestChanged: whoever waits learns that a tunnel came, and that it went.
func TestChanged(t *testing.T) {
	inBubble(t, leaveOpen, func(t *testing.T, p *running) {
		p.SetPeers([]Peer{peerAt("azure", "")})
		f := newFake(gatewayID("azure"))
		for _, c := range []struct {
			what   string
			change func()
			want   int // tunnels
		}{
			{"a tunnel came", func() { p.Add(f) }, 1},
			{"it went", func() { f.Close() }, 0},
		} {
			changed := p.Changed()
			synctest.Wait()
			select {
			case <-changed:
				t.Fatalf("changed before %s", c.what)
			default:
			}
			c.change()
			<-changed
			if n := len(p.Tunnels()); n != c.want {
				t.Errorf("%s: %d tunnels, want %d", c.what, n, c.want)
			}
		}
	})
}
