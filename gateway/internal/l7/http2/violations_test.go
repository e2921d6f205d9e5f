package http2

import (
	"slices"
	"strings"
	"testing"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// What a client does wrong, and what ends for it: the connection, or a stream.
func TestViolations(t *testing.T) {
	const (
		stream = "RST_STREAM 1 "
		conn   = "GOAWAY 0 last "
	)
	half := func(p *peer) { p.head(1, true, "+") } // what is served waits, so that the stream stays
	open := func(p *peer) { p.head(1, false, "+") }
	for _, tt := range []struct {
		name string
		do   func(p *peer)
		want string // the last frame that comes
	}{
		{"data on stream 0", func(p *peer) { p.raw(kindData, 0, 0, "x") }, conn + "0 PROTOCOL_ERROR"},
		{"data on an idle stream", func(p *peer) { p.data(1, false, "x") }, conn + "0 PROTOCOL_ERROR"},
		{"data on an even stream", func(p *peer) { p.data(2, false, "x") }, conn + "0 PROTOCOL_ERROR"},
		{"data after the end", func(p *peer) { half(p); p.data(1, false, "x") }, stream + "STREAM_CLOSED"},
		{"padding beyond the frame", func(p *peer) { open(p); p.raw(kindData, flagPadded, 1, "\x05x") }, conn + "1 PROTOCOL_ERROR"},
		{"padding without a length", func(p *peer) { open(p); p.raw(kindData, flagPadded, 1, "") }, conn + "1 FRAME_SIZE_ERROR"},
		{"frame too long", func(p *peer) { open(p); p.raw(kindData, 0, 1, strings.Repeat("x", frameSize+1)) }, conn + "1 FRAME_SIZE_ERROR"},
		{"more data than the stream's window", func(p *peer) { open(p); p.data(1, false, "0123456789"); p.data(1, false, "x") }, stream + "FLOW_CONTROL_ERROR"},
		{"content longer than its length", func(p *peer) { p.head(1, false, "+", "content-length=1"); p.data(1, false, "xx") }, stream + "PROTOCOL_ERROR"},
		{"content shorter than its length", func(p *peer) { p.head(1, false, "+", "content-length=2"); p.data(1, true, "x") }, stream + "PROTOCOL_ERROR"},
		{"trailers before the content's length", func(p *peer) { p.head(1, false, "+", "content-length=2"); p.head(1, true, "x=y") }, stream + "PROTOCOL_ERROR"},
		{"a stream without headers", func(p *peer) { p.raw(kindHeaders, flagEndHeaders, 0, "") }, conn + "0 PROTOCOL_ERROR"},
		{"an even stream", func(p *peer) { p.head(2, true, "+") }, conn + "0 PROTOCOL_ERROR"},
		{"a stream again", func(p *peer) { half(p); p.head(1, true, "+") }, stream + "STREAM_CLOSED"},
		{"a stream that was passed over", func(p *peer) { p.head(5, true, "+"); p.head(3, true, "+") }, conn + "5 PROTOCOL_ERROR"},
		{"headers padded beyond the frame", func(p *peer) { p.raw(kindHeaders, flagPadded|flagEndHeaders, 1, "\x02x") }, conn + "0 PROTOCOL_ERROR"},
		{"headers too short for a priority", func(p *peer) { p.raw(kindHeaders, flagPriority|flagEndHeaders, 1, "abcd") }, conn + "0 FRAME_SIZE_ERROR"},
		{"headers that depend on themselves", func(p *peer) { p.raw(kindHeaders, flagPriority|flagEndHeaders, 1, "\x00\x00\x00\x01\x00") }, conn + "0 PROTOCOL_ERROR"},
		{"trailers that do not end", func(p *peer) { open(p); p.head(1, false, "x=y") }, stream + "PROTOCOL_ERROR"},
		{"trailers with a pseudo-header", func(p *peer) { open(p); p.head(1, true, ":path=/") }, stream + "PROTOCOL_ERROR"},
		{"trailers with a length", func(p *peer) { open(p); p.head(1, true, "content-length=0") }, stream + "PROTOCOL_ERROR"},
		{"trailers in upper case", func(p *peer) { open(p); p.head(1, true, "X=y") }, stream + "PROTOCOL_ERROR"},
		{"a block that does not decode", func(p *peer) { p.raw(kindHeaders, flagEndHeaders, 1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") }, conn + "0 COMPRESSION_ERROR"},
		{"a block that is cut off", func(p *peer) { p.raw(kindHeaders, flagEndHeaders, 1, "\x40\x0aabc") }, conn + "0 COMPRESSION_ERROR"},
		{"a table beyond its size", func(p *peer) { p.raw(kindHeaders, flagEndHeaders, 1, "\x3f\xe2\x1f") }, conn + "0 COMPRESSION_ERROR"},
		{"a frame inside a head", func(p *peer) { p.raw(kindHeaders, 0, 1, ""); p.raw(kindPing, 0, 0, "12345678") }, conn + "0 PROTOCOL_ERROR"},
		{"a head inside a head", func(p *peer) { p.raw(kindHeaders, 0, 1, ""); p.raw(kindContinuation, 0, 3, "") }, conn + "0 PROTOCOL_ERROR"},
		{"continuation of nothing", func(p *peer) { p.raw(kindContinuation, flagEndHeaders, 1, "") }, conn + "0 PROTOCOL_ERROR"},
		{"priority of stream 0", func(p *peer) { p.raw(kindPriority, 0, 0, "12345") }, conn + "0 PROTOCOL_ERROR"},
		{"priority of a wrong length", func(p *peer) { p.raw(kindPriority, 0, 1, "1234") }, conn + "0 FRAME_SIZE_ERROR"},
		{"priority of itself", func(p *peer) { p.raw(kindPriority, 0, 1, "\x00\x00\x00\x01\x00") }, conn + "0 PROTOCOL_ERROR"},
		{"reset of stream 0", func(p *peer) { p.raw(kindReset, 0, 0, "1234") }, conn + "0 PROTOCOL_ERROR"},
		{"reset of an idle stream", func(p *peer) { p.raw(kindReset, 0, 1, "1234") }, conn + "0 PROTOCOL_ERROR"},
		{"reset of a wrong length", func(p *peer) { open(p); p.raw(kindReset, 0, 1, "123") }, conn + "1 FRAME_SIZE_ERROR"},
		{"settings of a stream", func(p *peer) { p.raw(kindSettings, 0, 1, "") }, conn + "0 PROTOCOL_ERROR"},
		{"settings of a wrong length", func(p *peer) { p.raw(kindSettings, 0, 0, "12345") }, conn + "0 FRAME_SIZE_ERROR"},
		{"an acknowledgement with content", func(p *peer) { p.raw(kindSettings, flagAck, 0, "123456") }, conn + "0 FRAME_SIZE_ERROR"},
		{"a second acknowledgement", func(p *peer) { p.raw(kindSettings, flagAck, 0, "") }, conn + "0 PROTOCOL_ERROR"},
		{"push neither on nor off", func(p *peer) { p.raw(kindSettings, 0, 0, "\x00\x02\x00\x00\x00\x02") }, conn + "0 PROTOCOL_ERROR"},
		{"a window beyond the largest", func(p *peer) { p.raw(kindSettings, 0, 0, "\x00\x04\x80\x00\x00\x00") }, conn + "0 FLOW_CONTROL_ERROR"},
		{"a frame size below the least", func(p *peer) { p.raw(kindSettings, 0, 0, "\x00\x05\x00\x00\x3f\xff") }, conn + "0 PROTOCOL_ERROR"},
		{"a frame size beyond the largest", func(p *peer) { p.raw(kindSettings, 0, 0, "\x00\x05\x01\x00\x00\x00") }, conn + "0 PROTOCOL_ERROR"},
		{"settings that make a window too large", func(p *peer) {
			open(p)
			p.raw(kindWindow, 0, 1, "\x7f\xff\x00\x00")
			p.raw(kindSettings, 0, 0, "\x00\x04\x00\x02\x00\x00")
		}, conn + "1 FLOW_CONTROL_ERROR"},
		{"a push", func(p *peer) { open(p); p.raw(kindPushPromise, flagEndHeaders, 1, "\x00\x00\x00\x02") }, conn + "1 PROTOCOL_ERROR"},
		{"ping on a stream", func(p *peer) { p.raw(kindPing, 0, 1, "12345678") }, conn + "0 PROTOCOL_ERROR"},
		{"ping of a wrong length", func(p *peer) { p.raw(kindPing, 0, 0, "1234567") }, conn + "0 FRAME_SIZE_ERROR"},
		{"goaway on a stream", func(p *peer) { p.raw(kindGoAway, 0, 1, "12345678") }, conn + "0 PROTOCOL_ERROR"},
		{"goaway of a wrong length", func(p *peer) { p.raw(kindGoAway, 0, 0, "1234567") }, conn + "0 FRAME_SIZE_ERROR"},
		{"window update of a wrong length", func(p *peer) { p.raw(kindWindow, 0, 0, "123") }, conn + "0 FRAME_SIZE_ERROR"},
		{"window update of an idle stream", func(p *peer) { p.raw(kindWindow, 0, 1, "\x00\x00\x00\x01") }, conn + "0 PROTOCOL_ERROR"},
		{"window update of 0", func(p *peer) { p.raw(kindWindow, 0, 0, "\x00\x00\x00\x00") }, conn + "0 PROTOCOL_ERROR"},
		{"window update of 0 on a stream", func(p *peer) { open(p); p.raw(kindWindow, 0, 1, "\x00\x00\x00\x00") }, stream + "PROTOCOL_ERROR"},
		{"window beyond the largest", func(p *peer) { p.raw(kindWindow, 0, 0, "\x7f\xff\xff\xff") }, conn + "0 FLOW_CONTROL_ERROR"},
		{"a stream's window beyond the largest", func(p *peer) { open(p); p.raw(kindWindow, 0, 1, "\x7f\xff\xff\xff") }, stream + "FLOW_CONTROL_ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			against(t, Config{StreamWindow: 10}, untilGone, func(p *peer) {
				tt.do(p)
				got := p.take()
				if len(got) == 0 || got[len(got)-1] != tt.want {
					t.Errorf("got %q, want %q at the end", got, tt.want)
				}
				if ends := strings.HasPrefix(tt.want, conn); p.over() != ends {
					t.Errorf("the connection has ended: %v, want %v", !ends, ends)
				}
				if told := p.told(); len(told) != 1 || !strings.HasPrefix(told[0], crossingv1.Reason_MALFORMED.String()+" HTTP/2: ") {
					t.Errorf("told of %q, want one MALFORMED", told)
				}
			})
		})
	}
}

// untilGone serves nothing, until the caller is gone.
func untilGone(s *Stream) {
	gone := make(chan struct{})
	s.Gone(func() { close(gone) })
	<-gone
}

// What is no violation, though it looks like one.
func TestAllowed(t *testing.T) {
	for name, do := range map[string]func(p *peer){
		"unknown frame":                     func(p *peer) { p.raw(0x42, 0xff, 7, "whatever") },
		"unknown setting":                   func(p *peer) { p.raw(kindSettings, 0, 0, "\x00\x99\x00\x00\x00\x02") },
		"unknown flags":                     func(p *peer) { p.raw(kindPing, 0xfe, 0, "12345678") },
		"reserved bit of a stream":          func(p *peer) { p.raw(kindPriority, 0, 1|1<<31, "\x00\x00\x00\x03\x00") },
		"priority of an idle stream":        func(p *peer) { p.raw(kindPriority, 0, 9, "\x00\x00\x00\x03\x00") },
		"goaway of a client":                func(p *peer) { p.raw(kindGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00") },
		"reset of what has ended":           func(p *peer) { p.head(1, true, "+"); p.take(); p.raw(kindReset, 0, 1, "\x00\x00\x00\x08") },
		"window update of what has ended":   func(p *peer) { p.head(1, true, "+"); p.take(); p.raw(kindWindow, 0, 1, "\x00\x00\x00\x08") },
		"data with nothing but padding":     func(p *peer) { p.head(1, false, "+"); p.raw(kindData, flagPadded, 1, "\x02xx") },
		"streams with numbers between them": func(p *peer) { p.head(7, true, "+"); p.head(11, true, "+") },
		"padded headers with a priority": func(p *peer) {
			block := p.encode("+")
			p.raw(kindHeaders, flagPadded|flagPriority|flagEndHeaders|flagEndStream, 1, "\x03\x00\x00\x00\x00\x10"+string(block)+"xxx")
		},
		"data that was on its way when its stream was reset": func(p *peer) {
			p.head(1, false, "+")
			p.raw(kindWindow, 0, 1, "\x00\x00\x00\x00")
			p.take()
			p.mu.Lock()
			p.faults = nil
			p.mu.Unlock()
			p.data(1, false, "x")
			p.head(1, true, "x=y")
		},
	} {
		t.Run(name, func(t *testing.T) {
			against(t, Config{}, greet, func(p *peer) {
				do(p)
				p.raw(kindPing, 0, 0, "12345678")
				got := p.take()
				if !slices.Contains(got, "PING 0 ACK") || p.over() || len(p.told()) > 0 {
					t.Errorf("got %q, told of %q", got, p.told())
				}
			})
		})
	}
}

// What a server does wrong.
func TestServerViolations(t *testing.T) {
	const (
		stream = "RST_STREAM 1 "
		conn   = "GOAWAY 0 last 0 "
	)
	for _, tt := range []struct {
		name string
		do   func(p *peer)
		want string
	}{
		{"a head of a stream that nobody opened", func(p *peer) { p.head(3, true, ":status=200") }, conn + "PROTOCOL_ERROR"},
		{"an even stream", func(p *peer) { p.head(2, true, ":status=200") }, conn + "PROTOCOL_ERROR"},
		{"data before the head", func(p *peer) { p.data(1, false, "x") }, stream + "PROTOCOL_ERROR"},
		{"no status", func(p *peer) { p.head(1, true, "x=y") }, stream + "PROTOCOL_ERROR"},
		{"a path", func(p *peer) { p.head(1, true, ":status=200", ":path=/") }, stream + "PROTOCOL_ERROR"},
		{"a status that is none", func(p *peer) { p.head(1, true, ":status=2x0") }, stream + "PROTOCOL_ERROR"},
		{"status 099", func(p *peer) { p.head(1, true, ":status=099") }, stream + "PROTOCOL_ERROR"},
		{"switching protocols", func(p *peer) { p.head(1, false, ":status=101") }, stream + "PROTOCOL_ERROR"},
		{"an interim answer that ends", func(p *peer) { p.head(1, true, ":status=103") }, stream + "PROTOCOL_ERROR"},
		{"many interim answers", func(p *peer) {
			for range maxInterim + 1 {
				p.head(1, false, ":status=103")
			}
		}, stream + "PROTOCOL_ERROR"},
		{"a field of the connection", func(p *peer) { p.head(1, true, ":status=200", "keep-alive=1") }, stream + "PROTOCOL_ERROR"},
		{"an answer that is shorter than its length", func(p *peer) { p.head(1, true, ":status=200", "content-length=1") }, stream + "PROTOCOL_ERROR"},
		{"content of a 204", func(p *peer) { p.head(1, false, ":status=204"); p.data(1, true, "x") }, stream + "PROTOCOL_ERROR"},
		{"a push", func(p *peer) { p.raw(kindPushPromise, flagEndHeaders, 1, "\x00\x00\x00\x02") }, conn + "PROTOCOL_ERROR"},
		{"push turned on", func(p *peer) { p.raw(kindSettings, 0, 0, "\x00\x02\x00\x00\x00\x01") }, conn + "PROTOCOL_ERROR"},
		{"more data than the window", func(p *peer) {
			p.head(1, false, ":status=200")
			p.data(1, false, "0123456789")
			p.data(1, false, "x")
		}, stream + "FLOW_CONTROL_ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			againstClient(t, Config{StreamWindow: 10}, func(p *peer) {
				s := p.open("GET", true)
				tt.do(p)
				p.want(tt.want)
				if ends := strings.HasPrefix(tt.want, conn); p.over() != ends {
					t.Errorf("the connection has ended: %v, want %v", !ends, ends)
				}
				if _, err := s.Read(make([]byte, 1)); err == nil {
					t.Error("the answer can be read")
				}
			})
		})
	}
}
