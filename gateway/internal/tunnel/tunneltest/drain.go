package tunneltest

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
)

func drain(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	drained := make(chan error, 1)
	go func() { drained <- b.Drain(t.Context()) }()
	settle()
	if !a.Info().Draining || !b.Info().Draining {
		t.Error("an end does not know that the tunnel drains")
	}
	for _, c := range []tunnel.Tunnel{a, b} {
		if _, err := c.Open(t.Context(), Header("late")); !errors.Is(err, tunnel.ErrDraining) {
			t.Errorf("Open: %v, want ErrDraining", err)
		}
	}
	Write(t, near, "goes on")
	near.CloseWrite() //nolint:errcheck // the reader tells
	WantRead(t, far, "goes on")
	settle()
	select {
	case err := <-drained:
		t.Fatalf("Drain returned %v with a stream open", err)
	default:
	}
	far.CloseWrite() //nolint:errcheck // draining tells
	if err := <-drained; err != nil {
		t.Errorf("Drain: %v", err)
	}
	if err := b.Drain(t.Context()); err != nil {
		t.Errorf("Drain again: %v", err)
	}
}

// retire: an end that retires takes no more streams and opens its own still.
func retire(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	r, ok := b.(tunnel.Retirer)
	if !ok {
		return // a carrier need not
	}
	near, far := Streams(t, a, b)
	r.Retire()
	r.Retire() // once is enough
	settle()
	if !a.Info().Draining || b.Info().Draining {
		t.Error("the ends do not know who may open streams")
	}
	if _, err := a.Open(t.Context(), Header("late")); !errors.Is(err, tunnel.ErrDraining) {
		t.Errorf("Open: %v, want ErrDraining", err)
	}
	mine, theirs := Streams(t, b, a)
	for _, s := range []struct{ from, to tunnel.Stream }{{near, far}, {mine, theirs}} {
		Write(t, s.from, "goes on")
		WantRead(t, s.to, "goes on")
		s.from.CloseWrite() //nolint:errcheck // draining tells
		s.to.CloseWrite()   //nolint:errcheck // draining tells
	}
	settle()
	if err := b.Drain(t.Context()); err != nil {
		t.Errorf("Drain: %v", err)
	}
	if _, err := b.Open(t.Context(), Header("last")); !errors.Is(err, tunnel.ErrDraining) {
		t.Errorf("Open after Drain: %v, want ErrDraining", err)
	}
}

func drainIsBounded(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, _ := Streams(t, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := b.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain: %v, want the context's error", err)
	}
	b.Close()
	_, err := near.Read(make([]byte, 1))
	WantReset(t, err, tunnel.TunnelClosed, false)
	<-a.Done()
	if err := a.Drain(t.Context()); err != nil {
		t.Errorf("Drain of a tunnel that has ended: %v", err)
	}
}

func drainLosesNothing(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	settle()
	near := Open(t, a, "on its way")
	Write(t, near, "question")
	near.CloseWrite() //nolint:errcheck // the reader tells
	drained := make(chan error)
	go func() {
		err := b.Drain(t.Context())
		b.Close()
		drained <- err
	}()
	far := Accept(t, b)
	WantRead(t, far, "question")
	Write(t, far, "answer")
	far.CloseWrite() //nolint:errcheck // the reader tells
	if err := <-drained; err != nil {
		t.Errorf("Drain: %v", err)
	}
	WantRead(t, near, "answer")
	WantEOF(t, near)
}

// closeAfterDrain: what a drained tunnel has sent arrives although it is closed
// at once, and can be read whenever.
func closeAfterDrain(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	near.CloseWrite() //nolint:errcheck // the reader tells
	WantEOF(t, far)
	answer := make([]byte, 200<<10)
	go func() {
		far.Write(answer) //nolint:errcheck // the reader tells
		far.CloseWrite()  //nolint:errcheck // the reader tells
		if err := b.Drain(t.Context()); err != nil {
			t.Errorf("Drain: %v", err)
		}
		b.Close()
	}()
	<-b.Done()
	settle()
	got := 0
	for buf := make([]byte, 64<<10); ; {
		n, err := near.Read(buf)
		got += n
		if err != nil {
			break
		}
	}
	if got != len(answer) {
		t.Errorf("%d bytes arrived, want %d", got, len(answer))
	}
}

func closes(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	done, other := Streams(t, b, a)
	Write(t, done, "last words")
	done.CloseWrite() //nolint:errcheck // the reader tells
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	_, err := far.Write([]byte("x"))
	WantReset(t, err, tunnel.TunnelClosed, false)
	_, err = near.Read(make([]byte, 1))
	WantReset(t, err, tunnel.TunnelClosed, false)
	WantRead(t, other, "last words")
	WantEOF(t, other)
	<-a.Done()
	for _, c := range []tunnel.Tunnel{a, b} {
		if _, err := c.Open(t.Context(), Header("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Open of a closed tunnel: %v, want net.ErrClosed", err)
		}
		if _, err := c.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept of a closed tunnel: %v, want net.ErrClosed", err)
		}
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

func closesAtBothEnds(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	Streams(t, a, b)
	begin := time.Now()
	closed := make(chan error)
	go func() { closed <- a.Close() }()
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("closing took %s", d)
	}
}
