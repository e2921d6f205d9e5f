package mux

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

const kib = 1 << 10

func small() Settings {
	return Settings{StreamWindow: 64 * kib, TunnelWindow: 128 * kib, MaxStreams: 2}
}

// frame is a frame as received.
type frame struct {
	h       Header
	payload []byte
}

func (c *Conn[U]) receiveBytes(b []byte) (Event[U], error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Event[U]{}, err
	}
	return c.Receive(h, b[HeaderLen:])
}

func TestReceiveFaults(t *testing.T) {
	data := func(id uint32, n int) []byte { return AppendData(nil, id, make([]byte, n), false) }
	fin := func(id uint32) []byte { return AppendData(nil, id, nil, true) }
	open := func(id uint32) []byte { return AppendOpen(nil, id, nil) }
	tests := []struct {
		name   string
		frames [][]byte // to an acceptor that has opened streams 2 and 4
		want   Reason
	}{
		{"data on a stream never opened", [][]byte{data(1, 1)}, UnknownStream},
		{"data on a stream of ours never opened", [][]byte{data(6, 1)}, UnknownStream},
		{"reset of a stream never opened", [][]byte{AppendReset(nil, 9, 1)}, UnknownStream},
		{"credit for a stream never opened", [][]byte{AppendWindow(nil, 9, 1)}, UnknownStream},
		{"a stream left out", [][]byte{open(3)}, UnknownStream},
		{"the other end's parity", [][]byte{open(6)}, BadParity},
		{"a stream twice", [][]byte{open(1), open(1)}, StreamReuse},
		{"an earlier stream", [][]byte{open(1), open(3), open(1)}, StreamReuse},
		{"a stream that is over again", [][]byte{open(1), AppendReset(nil, 1, 1), open(1)}, StreamReuse},
		{"beyond the stream's window", [][]byte{open(1), data(1, 64*kib-1), data(1, 2)}, WindowExceeded},
		{"beyond the tunnel's window", [][]byte{
			open(1), open(3), data(1, 60*kib), data(3, 60*kib), data(2, 8*kib), data(4, 1),
		}, WindowExceeded},
		{"beyond the tunnel's window on a stream that is over", [][]byte{
			open(1), open(3), data(1, 60*kib), data(3, 60*kib), AppendReset(nil, 2, 1), data(2, 8*kib+1),
		}, WindowExceeded},
		{"data after fin", [][]byte{open(1), fin(1), data(1, 1)}, AfterEnd},
		{"fin after fin", [][]byte{open(1), fin(1), fin(1)}, AfterEnd},
		{"no credit", [][]byte{AppendWindow(nil, 2, 0)}, BadCredit},
		{"no credit for the tunnel", [][]byte{AppendWindow(nil, 0, 0)}, BadCredit},
		{"credit above a window's limit", [][]byte{AppendWindow(nil, 2, 1<<31)}, BadCredit},
		{"credit that adds up above it", [][]byte{AppendWindow(nil, 2, MaxWindow)}, BadCredit},
		{"tunnel's credit that adds up above it", [][]byte{AppendWindow(nil, 0, MaxWindow)}, BadCredit},
		{"goaway of a stream never opened", [][]byte{AppendGoAway(nil, 6, Draining)}, BadGoAway},
		{"goaway of its own stream", [][]byte{open(1), AppendGoAway(nil, 1, Draining)}, BadGoAway},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := NewConn[int](Acceptor, small(), small())
			for range 2 {
				if _, err := c.Open(); err != nil {
					t.Fatal(err)
				}
			}
			last := len(tt.frames) - 1
			for _, b := range tt.frames[:last] {
				if _, err := c.receiveBytes(b); err != nil {
					t.Fatalf("before the fault: %v", err)
				}
			}
			_, err := c.receiveBytes(tt.frames[last])
			var fault *FaultError
			if !errors.As(err, &fault) || fault.Reason != tt.want {
				t.Errorf("Receive: %v, want fault %q", err, tt.want)
			}
		})
	}
}

func TestFramesForStreamsThatAreOverAreIgnored(t *testing.T) {
	c := NewConn[int](Dialler, small(), small())
	s, _ := c.Open()
	c.Reset(s)
	for _, b := range [][]byte{
		AppendData(nil, 1, make([]byte, 10*kib), false),
		AppendData(nil, 1, nil, true),
		AppendReset(nil, 1, 1),
		AppendWindow(nil, 1, 1),
	} {
		if e, err := c.receiveBytes(b); err != nil || e.Kind != Nothing {
			t.Errorf("%x: %+v, %v, want nothing", b[:HeaderLen], e, err)
		}
	}
	// Their data still counts, or a peer could send without end; and it is
	// granted again, or each late frame would narrow the tunnel for good.
	granted := uint32(0)
	for range 100 {
		e, err := c.receiveBytes(AppendData(nil, 1, make([]byte, 30*kib), false))
		if err != nil {
			t.Fatal(err)
		}
		granted += e.Grant
	}
	if granted < 2900*kib {
		t.Errorf("granted %d bytes for 3010 KiB", granted)
	}
}

func TestStreamLimits(t *testing.T) {
	c := NewConn[int](Dialler, small(), small())
	var open []*Stream[int]
	for range 2 {
		s, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	if _, err := c.Open(); !errors.Is(err, ErrStreamLimit) {
		t.Errorf("Open beyond the limit: %v, want ErrStreamLimit", err)
	}
	c.Reset(open[0])
	if s, err := c.Open(); err != nil || s.ID() != 5 {
		t.Errorf("Open below the limit again: %v, want stream 5", err)
	}
	for id := uint32(2); id <= 8; id += 2 {
		e, err := c.receiveBytes(AppendOpen(nil, id, nil))
		want := Opened
		if id > 4 {
			want = Refused
		}
		if err != nil || e.Kind != want || e.ID != id {
			t.Errorf("OPEN %d: %+v, %v, want kind %d", id, e, err, want)
		}
	}
	c.next = 1<<32 - 1
	c.Reset(open[1])
	if _, err := c.Open(); !errors.Is(err, ErrExhausted) {
		t.Errorf("Open after the last number: %v, want ErrExhausted", err)
	}
}

// end is a Conn and what it has put on the wire that the other end has not
// read yet.
type end struct {
	*Conn[int]
	wire   []frame
	opened []*Stream[int] // all that it knows, of both ends
	unread map[*Stream[int]]int
	sent   map[uint32]int
	got    map[uint32]int
}

func newEnd(role Role, own, peer Settings) *end {
	return &end{
		Conn: NewConn[int](role, own, peer), unread: map[*Stream[int]]int{},
		sent: map[uint32]int{}, got: map[uint32]int{},
	}
}

func (e *end) put(b []byte) {
	h, err := ParseHeader(b)
	if err != nil {
		panic(err)
	}
	e.wire = append(e.wire, frame{h, b[HeaderLen:]})
}

func (e *end) grant(stream, credit uint32) {
	if credit > 0 {
		e.put(AppendWindow(nil, stream, credit))
	}
}

// step does one random thing.
func (e *end) step(t *rapid.T) {
	if len(e.opened) == 0 || rapid.IntRange(0, 9).Draw(t, "open") == 0 {
		if s, err := e.Open(); err == nil {
			e.opened = append(e.opened, s)
			e.put(AppendOpen(nil, s.ID(), nil))
		}
		return
	}
	i := rapid.IntRange(0, len(e.opened)-1).Draw(t, "stream")
	s := e.opened[i]
	if s.Finished() && e.unread[s] == 0 {
		e.opened = slices.Delete(e.opened, i, i+1)
		delete(e.unread, s)
		e.Reuse(s)
		return
	}
	switch rapid.IntRange(0, 11).Draw(t, "do") {
	case 0:
		if e.Reset(s) {
			e.put(AppendReset(nil, s.ID(), 1))
			e.grant(0, e.Grant())
			delete(e.unread, s)
		}
	case 1:
		if e.End(s) {
			e.put(AppendData(nil, s.ID(), nil, true))
			e.grant(0, e.Grant())
		}
	case 2, 3, 4, 5:
		n := rapid.IntRange(0, e.unread[s]).Draw(t, "consume")
		e.unread[s] -= n
		own, all := e.Consumed(s, n)
		e.grant(s.ID(), own)
		e.grant(0, all)
	default:
		n := min(e.Credit(s), rapid.IntRange(1, MaxPayload).Draw(t, "send"))
		if n == 0 {
			return
		}
		e.Sent(s, n)
		e.sent[s.ID()] += n
		e.put(AppendData(nil, s.ID(), make([]byte, n), false))
	}
}

// read takes one frame of the other end.
func (e *end) read(t *rapid.T, from *end) {
	if len(from.wire) == 0 {
		return
	}
	f := from.wire[0]
	from.wire = from.wire[1:]
	ev, err := e.Receive(f.h, f.payload)
	if err != nil {
		t.Fatalf("two ends that keep the rules fell out: %v", err)
	}
	e.grant(0, ev.Grant)
	switch ev.Kind {
	case Opened:
		e.opened = append(e.opened, ev.Stream)
	case Refused:
		e.put(AppendReset(nil, ev.ID, 5))
	case Arrived:
		e.unread[ev.Stream] += len(ev.Payload)
		e.got[ev.ID] += len(ev.Payload)
	case WasReset:
		if s := ev.Stream; !s.Received() && rapid.Bool().Draw(t, "discard") {
			e.grant(0, e.Discard(s))
			delete(e.unread, s)
		}
	}
}

// TestResetLeavesWhatCame: what a stream received before its reset takes room in the
// tunnel's window until it is read or dropped, and no longer.
func TestResetLeavesWhatCame(t *testing.T) {
	limits := Settings{StreamWindow: MinWindow, TunnelWindow: MinWindow, MaxStreams: 3}
	c := NewConn[int](Acceptor, limits, limits)
	receive := func(frame []byte) Event[int] {
		t.Helper()
		e, err := c.receiveBytes(frame)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	s := receive(AppendOpen(nil, 1, nil)).Stream
	receive(AppendData(nil, 1, make([]byte, MinWindow-1), false))
	if e := receive(AppendReset(nil, 1, 3)); e.Kind != WasReset || e.Grant != 0 || !s.Finished() || c.Len() != 0 {
		t.Fatalf("reset is %+v, %d streams are open", e, c.Len())
	}
	if e := receive(AppendData(nil, 1, []byte{0}, false)); e.Kind != Nothing { // its own credit goes back
		t.Errorf("data after the reset is %+v", e)
	}
	if own, all := c.Consumed(s, MinWindow/2); own != 0 || all != MinWindow/2+1 {
		t.Errorf("reading grants %d and %d bytes", own, all)
	}
	if all := c.Discard(s); all != 0 || c.window.consumed != MinWindow/2-1 {
		t.Errorf("dropping grants %d bytes, and leaves %d", all, c.window.consumed)
	}
	if c.Discard(s); c.window.credit+c.window.consumed != c.window.size {
		t.Errorf("%d bytes of the window are left of %d", c.window.credit+c.window.consumed, c.window.size)
	}
}

// TestConnProperties: two ends that keep to the rules never find a fault in
// each other, hold no more than their windows, and once all has been read and
// ended, all of the tunnel's credit is back.
func TestConnProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Settings{StreamWindow: MinWindow, TunnelWindow: 2*MinWindow + 1, MaxStreams: 3}
		a, b := newEnd(Dialler, limits, limits), newEnd(Acceptor, limits, limits)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "who") {
			case 0:
				a.step(t)
			case 1:
				b.step(t)
			case 2:
				a.read(t, b)
			case 3:
				b.read(t, a)
			}
			checkWindows(t, a)
			checkWindows(t, b)
		}
		settle(t, a, b)
		for _, e := range []*end{a, b} {
			if e.Len() != 0 || e.Conn.opened != 0 || e.accepted != 0 {
				t.Fatalf("%d streams are open in the end (%d ours, %d theirs)", e.Len(), e.Conn.opened, e.accepted)
			}
		}
		checkCredit(t, a, b)
		checkCredit(t, b, a)
	})
}

func checkWindows(t *rapid.T, e *end) {
	total := 0
	for s, n := range e.unread {
		if n > MinWindow {
			t.Fatalf("stream %d holds %d bytes", s.ID(), n)
		}
		total += n
	}
	if total > 2*MinWindow+1 {
		t.Fatalf("tunnel holds %d bytes", total)
	}
	if e.send < 0 || e.window.credit < 0 {
		t.Fatalf("credit is negative: %d, %d", e.send, e.window.credit)
	}
}

// settle ends all streams and lets both ends read all frames.
func settle(t *rapid.T, a, b *end) {
	for len(a.wire)+len(b.wire) > 0 {
		a.read(t, b)
		b.read(t, a)
	}
	for _, e := range []*end{a, b} {
		for _, s := range e.opened {
			if e.Reset(s) {
				e.put(AppendReset(nil, s.ID(), 1))
			} else {
				e.grant(0, e.Discard(s))
			}
		}
		e.grant(0, e.Grant())
	}
	for len(a.wire)+len(b.wire) > 0 {
		a.read(t, b)
		b.read(t, a)
	}
}

// checkCredit: what the sender may send, and what the receiver lets it send, is
// the same, and with what was consumed and not granted yet it is the window.
func checkCredit(t *rapid.T, sender, receiver *end) {
	if sender.send != receiver.window.credit {
		t.Fatalf("sender has credit for %d bytes, receiver expects %d", sender.send, receiver.window.credit)
	}
	if all := receiver.window.credit + receiver.window.consumed; all != receiver.window.size {
		t.Fatalf("%d bytes of the window are left of %d", all, receiver.window.size)
	}
	for id, n := range receiver.got {
		if n > sender.sent[id] {
			t.Fatalf("stream %d: %d bytes arrived of %d", id, n, sender.sent[id])
		}
	}
}

// TestWindowsGrowWithThePath: a stream that is held up by its window gets a
// larger one, up to the limit; one whose reader is slow does not.
func TestWindowsGrowWithThePath(t *testing.T) {
	for _, c := range []struct {
		name string
		read time.Duration // between two readings of half a window
		want int64
	}{
		{"the path is long", 90 * time.Millisecond, 16 << 20},
		{"the path is short enough", 110 * time.Millisecond, MinWindow},
		{"the round trip is not known", 0, MinWindow},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := Settings{StreamWindow: MinWindow, TunnelWindow: 64 << 20, MaxStreams: 3}
				a, b := NewConn[int](Dialler, limits, limits), NewConn[int](Acceptor, limits, limits)
				if c.read > 0 {
					b.Tune(50*time.Millisecond, 16<<20)
				}
				out, _ := a.Open()
				e, _ := b.receiveBytes(AppendOpen(nil, out.ID(), nil))
				for range 20 {
					<-time.After(c.read)
					for left := int(e.Stream.window.size / 2); left > 0; {
						n := min(left, MaxPayload, a.Credit(out))
						a.Sent(out, n)
						if _, err := b.receiveBytes(AppendData(nil, out.ID(), make([]byte, n), false)); err != nil {
							t.Fatal(err)
						}
						own, all := b.Consumed(e.Stream, n)
						for id, credit := range map[uint32]uint32{out.ID(): own, 0: all} {
							if credit > 0 {
								if _, err := a.receiveBytes(AppendWindow(nil, id, credit)); err != nil {
									t.Fatal(err)
								}
							}
						}
						left -= n
					}
				}
				if w := e.Stream.window; w.size != c.want || w.credit+w.consumed != w.size || a.Credit(out) != int(w.credit) {
					t.Errorf("window of %d bytes, want %d; %d granted, the sender has %d", w.size, c.want, w.credit, a.Credit(out))
				}
			})
		})
	}
}

// FuzzReceive: whatever arrives, a Conn neither panics nor goes beyond its
// limits.
func FuzzReceive(f *testing.F) {
	for _, v := range vectors(f, "vectors.txt") {
		f.Add(v.bytes)
	}
	var all []byte
	for _, v := range vectors(f, "session.txt")[2:] {
		all = append(all, v.bytes...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewConn[int](Acceptor, small(), small())
		if _, err := c.Open(); err != nil {
			t.Fatal(err)
		}
		for len(b) >= HeaderLen {
			h, err := ParseHeader(b)
			if err != nil || len(b) < HeaderLen+h.Length {
				return
			}
			if _, err := c.Receive(h, b[HeaderLen:HeaderLen+h.Length]); err != nil {
				return
			}
			b = b[HeaderLen+h.Length:]
			if c.Len() > 3 || c.window.credit < 0 || c.send < 0 || c.send > MaxWindow {
				t.Fatalf("beyond the limits: %d streams, credit %d and %d", c.Len(), c.window.credit, c.send)
			}
		}
	})
}

// FuzzPreface: what is accepted is within the limits and is written back as it
// was read.
func FuzzPreface(f *testing.F) {
	for _, v := range vectors(f, "vectors.txt") {
		f.Add(v.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParsePreface(b)
		if err != nil {
			return
		}
		if s.Check() != nil {
			t.Errorf("ParsePreface(%x) = %+v: %v", b, s, s.Check())
		}
		if again := AppendPreface(nil, s); string(again) != string(b) {
			t.Errorf("%x is written back as %x", b, again)
		}
	})
}

// FuzzHeader: what ParseHeader lets pass is read the same after it is written
// again.
func FuzzHeader(f *testing.F) {
	for _, v := range vectors(f, "vectors.txt") {
		f.Add(v.bytes[:HeaderLen])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderLen {
			return
		}
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		again := appendHeader(nil, h.Type, h.Flags, h.Length, h.Stream)
		if string(again) != string(b[:HeaderLen]) {
			t.Errorf("%x is written back as %x", b[:HeaderLen], again)
		}
		if n := int(binary.BigEndian.Uint16(b[2:])); n != h.Length {
			t.Errorf("length %d, want %d", h.Length, n)
		}
	})
}
