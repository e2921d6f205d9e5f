package tunnel

import (
	"testing"
	"time"
)

func TestPathTurnsLossyAndBack(t *testing.T) {
	type look struct {
		after time.Duration // since the last one
		loss  float64
		want  string // the carrier for interactive traffic
	}
	tests := []struct {
		name  string
		looks []look
	}{
		{"never lossy", []look{{0, 0, TCP}, {time.Second, 0.0029, TCP}, {time.Hour, 0.0029, TCP}}},
		{"at once when loss is seen", []look{{0, 0, TCP}, {time.Second, 0.003, QUIC}}},
		{"back after it was quiet for a while", []look{
			{0, 0.01, QUIC}, {time.Second, 0, QUIC}, {29 * time.Second, 0, QUIC}, {time.Second, 0, TCP},
		}},
		{"not back while some is lost", []look{
			{0, 0.01, QUIC}, {time.Second, 0, QUIC}, {29 * time.Second, 0.002, QUIC}, {time.Second, 0, QUIC}, {time.Minute, 0, TCP},
		}},
		{"lossy again", []look{{0, 0.01, QUIC}, {time.Second, 0, QUIC}, {time.Minute, 0, TCP}, {time.Second, 0.01, QUIC}, {time.Second, 0, QUIC}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p path
			now := time.Now()
			for i, l := range tt.looks {
				now = now.Add(l.after)
				p.saw(l.loss, now)
				if got := p.prefers(Interactive); got != l.want {
					t.Errorf("look %d: interactive traffic prefers %s, want %s", i, got, l.want)
				}
				if got := p.prefers(Bulk); got != TCP {
					t.Errorf("look %d: bulk prefers %s", i, got)
				}
			}
		})
	}
}

func TestRank(t *testing.T) {
	const ms = time.Millisecond
	lossy := path{lossy: true}
	tests := []struct {
		name          string
		path          path
		first, second Info
	}{
		{
			"the one that answers",
			path{},
			Info{Carrier: QUIC, Streams: 99, RoundTrip: 99 * ms},
			Info{Carrier: TCP, Silent: 401 * ms},
		},
		{
			"a long round trip excuses silence",
			path{},
			Info{Carrier: TCP, RoundTrip: 200 * ms, Silent: 800 * ms},
			Info{Carrier: QUIC, RoundTrip: 200 * ms},
		},
		{"TCP, which costs least", path{}, Info{Carrier: TCP, Streams: 99, RoundTrip: 9 * ms}, Info{Carrier: QUIC}},
		{"QUIC, where packets are lost", lossy, Info{Carrier: QUIC, Streams: 99, RoundTrip: 9 * ms}, Info{Carrier: TCP}},
		{"TCP for bulk all the same", lossy, Info{Carrier: TCP, Class: Bulk, Streams: 9}, Info{Carrier: QUIC, Class: Bulk}},
		{"fewer streams", path{}, Info{Carrier: TCP, Streams: 2}, Info{Carrier: TCP, Streams: 3}},
		{
			"the nearer one, if not much busier",
			path{},
			Info{Carrier: TCP, Streams: 3, RoundTrip: 10 * ms},
			Info{Carrier: TCP, RoundTrip: 50 * ms},
		},
		{
			"the shorter round trip below a millisecond",
			path{},
			Info{Carrier: TCP, RoundTrip: 1},
			Info{Carrier: TCP, RoundTrip: 9},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tt.path.rank(&tt.first, 0), tt.path.rank(&tt.second, 0)
			if !a.less(b) || b.less(a) {
				t.Errorf("%+v does not stand before %+v", a, b)
			}
		})
	}
}

func TestChoiceNames(t *testing.T) {
	for c, want := range map[Choice]string{Usual: "usual", Lossy: "lossy", Failover: "failover", 0: "none"} {
		if got := c.String(); got != want {
			t.Errorf("Choice(%d) = %q, want %q", c, got, want)
		}
	}
	if Interactive.String() != "interactive" || Bulk.String() != "bulk" {
		t.Errorf("classes are %q and %q", Interactive, Bulk)
	}
}
