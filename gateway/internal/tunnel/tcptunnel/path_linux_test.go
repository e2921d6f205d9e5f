package tcptunnel

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestLossIsOfWhatThePeerHadNot: also where the peer says later that it had it.
func TestLossIsOfWhatThePeerHadNot(t *testing.T) {
	var p path
	for _, look := range []struct {
		name             string
		sent, again, had uint32
		want             float64
	}{
		{"too few", 100, 50, 0, 0},
		{"lost", 1000, 100, 0, recent * 0.1},
		{"had already", 2000, 300, 200, 0},
		{"some of each", 3000, 500, 300, recent * 0.1},
		{"had what counted as lost", 4000, 500, 500, 0},
	} {
		info := unix.TCPInfo{Data_segs_out: look.sent, Total_retrans: look.again, Dsack_dups: look.had}
		if got := p.counted(&info, 0); got != look.want {
			t.Errorf("%s: %v, want %v", look.name, got, look.want)
		}
	}
}
