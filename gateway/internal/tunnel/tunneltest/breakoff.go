package tunneltest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// breakOffRounds is how often a stream is written and reset at once. A reset that
// overtakes data does so more often than not.
const breakOffRounds = 1000

// breakOff: an answer that is broken off arrives as far as it was written, and
// then the reset: whoever opened the stream, whether or not he has said all, and
// whether he reads at once or when all has come.
func breakOff(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	for i := range breakOffRounds {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		near, far := Streams(t, from, to)
		Write(t, near, "question")
		if i%4 < 2 {
			near.CloseWrite() //nolint:errcheck // the reader tells
		}
		WantRead(t, far, "question")
		var want string
		for n := range 10 {
			event := fmt.Sprintf("data: event %d of round %d %s\n\n", n, i, bytes.Repeat([]byte("."), i%7*n*20))
			Write(t, far, event)
			want += event
		}
		read := make(chan error, 1)
		go func() { _, err := far.Read(make([]byte, 1)); read <- err }()
		far.Reset(tunnel.DestinationGone)
		if i%4 >= 2 {
			WantReset(t, <-read, tunnel.DestinationGone, false)
		}
		if i%16 == 0 {
			settle()
		}
		got, err := io.ReadAll(near)
		if string(got) != want {
			t.Fatalf("round %d: %d bytes arrived of %d, %v", i, len(got), len(want), err)
		}
		WantReset(t, err, tunnel.DestinationGone, true)
		near.Reset(tunnel.CallerGone)
		_, err = near.Read(make([]byte, 1))
		WantReset(t, err, tunnel.DestinationGone, true)
	}
	settle()
	if n, m := a.Info().Streams, b.Info().Streams; n != 0 || m != 0 {
		t.Errorf("%d and %d streams are open, want none", n, m)
	}
}

// breakOffTells: who still writes, or waits for the stream's end, need not read what
// is left to learn of a reset.
func breakOffTells(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	Write(t, near, "part of a question")
	near.Reset(tunnel.CallerGone)
	<-far.Done()
	_, err := far.Write([]byte("answer"))
	WantReset(t, err, tunnel.CallerGone, true)
	WantRead(t, far, "part of a question")
	_, err = far.Read(make([]byte, 1))
	WantReset(t, err, tunnel.CallerGone, true)
}

// breakOffAtOnce: what a gateway does not stand by any more is not passed on.
func breakOffAtOnce(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	Write(t, far, "answer")
	settle()
	code := tunnel.Denied(crossingv1.Reason_NO_TRANSITION)
	far.Reset(code)
	<-near.Done()
	settle()
	_, err := near.Read(make([]byte, 1))
	WantReset(t, err, code, true)
}

// breakOffUnread: what was left unread of streams that were reset holds the tunnel's
// window no longer than until this end lets go of it.
func breakOffUnread(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 256 << 10})
	data := make([]byte, 60<<10)
	for range 20 {
		near, far := Streams(t, a, b)
		if _, err := far.Write(data); err != nil {
			t.Fatal(err)
		}
		far.Reset(tunnel.DestinationGone)
		settle()
		near.Reset(tunnel.CallerGone)
		_, err := near.Read(make([]byte, 1))
		WantReset(t, err, tunnel.DestinationGone, true)
	}
	near, far := Streams(t, a, b)
	go tunnel.Finish(far, bytes.Repeat(data, 10)) //nolint:errcheck // the reader tells
	got, err := io.ReadAll(near)
	if err != nil || len(got) != 10*len(data) {
		t.Errorf("afterwards %d bytes arrived, %v", len(got), err)
	}
}

// breakOffWithoutCredit: a reset of a stream that has used up its credit, or more
// than that, ends the stream and nothing else. As much as there was credit for may
// still be read if somebody does so soon; later it need not be there.
func breakOffWithoutCredit(t *testing.T, pair Maker) {
	for _, early := range []bool{true, false} {
		a, b := pair(t, carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 96 << 10})
		for range 8 {
			near, far := Streams(t, a, b)
			sent := content(1, 1<<20)
			wrote := make(chan error, 1)
			go func() {
				for rest := sent; ; rest = rest[1000:] {
					if _, err := far.Write(rest[:1000]); err != nil {
						wrote <- err
						return
					}
				}
			}()
			settle()
			far.Reset(tunnel.DestinationGone)
			WantReset(t, <-wrote, tunnel.DestinationGone, false)
			if !early {
				settle()
			}
			got, err := io.ReadAll(near)
			WantReset(t, err, tunnel.DestinationGone, true)
			if !bytes.HasPrefix(sent, got) || early && len(got) < 60<<10 {
				t.Errorf("%d bytes arrived, as they were sent: %t", len(got), bytes.HasPrefix(sent, got))
			}
		}
		near, far := Streams(t, a, b)
		Write(t, far, "the tunnel goes on")
		WantRead(t, near, "the tunnel goes on")
	}
}

// breakOffAndClose: what was written before a reset arrives also if the tunnel is
// closed right after it.
func breakOffAndClose(t *testing.T, pair Maker) {
	for _, ended := range []bool{false, true} {
		a, b := pair(t, carrier.Limits{})
		near, far := Streams(t, a, b)
		Write(t, near, "question")
		if ended {
			near.CloseWrite() //nolint:errcheck // the reader tells
		}
		WantRead(t, far, "question")
		Write(t, far, "answer")
		far.Reset(tunnel.Stopped)
		b.Close()
		<-near.Done()
		<-a.Done()
		settle()
		WantRead(t, near, "answer")
		_, err := near.Read(make([]byte, 1))
		WantReset(t, err, tunnel.Stopped, true)
	}
}

// breakOffAndDrain: a stream that was reset holds up a drain no longer than until its
// rest was read.
func breakOffAndDrain(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	Write(t, far, "answer")
	far.Reset(tunnel.DestinationGone)
	drained := make(chan error, 2)
	go func() { drained <- a.Drain(t.Context()) }()
	go func() { drained <- b.Drain(t.Context()) }()
	settle()
	WantRead(t, near, "answer")
	_, err := near.Read(make([]byte, 1))
	WantReset(t, err, tunnel.DestinationGone, true)
	for range 2 {
		select {
		case err := <-drained:
			if err != nil {
				t.Errorf("Drain: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Drain still waits")
		}
	}
}

// breakOffInterrupts: a write that waits ends with the reset that was asked for here,
// whatever else is asked of it meanwhile.
func breakOffInterrupts(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 64 << 10})
	near, far := Streams(t, a, b)
	wrote := make(chan error, 1)
	go func() { _, err := far.Write(make([]byte, 1<<20)); wrote <- err }()
	settle()
	far.Reset(tunnel.DestinationGone)
	far.(tunnel.Interruptible).Interrupt()
	if err := <-wrote; errors.Is(err, tunnel.ErrInterrupted) {
		t.Errorf("Write: %v, want the reset", err)
	}
	far.(tunnel.Interruptible).Resume()
	if n, err := io.Copy(io.Discard, near); n < 60<<10 {
		t.Errorf("%d bytes arrived, %v", n, err)
	}
}
