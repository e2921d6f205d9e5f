// Package tunneltest holds carriers of tunnels to their contract: one suite that
// each of them must pass, in virtual time.
package tunneltest

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Maker makes the two ends of a tunnel inside of a synctest bubble, and cleans
// up behind them when the test ends. Packets may take time, and be lost.
type Maker func(t *testing.T, l carrier.Limits) (dialler, acceptor tunnel.Tunnel)

// Conformance runs the suite.
func Conformance(t *testing.T, pair Maker) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, pair Maker)
	}{
		{"carries both ways", carriesBothWays},
		{"half close", halfClose},
		{"finish", finish},
		{"on done", onDone},
		{"done waits for the reader", doneWaitsForTheReader},
		{"reset", reset},
		{"reset that nobody waits for", resetUnseen},
		{"reset of a code that there is not", resetOfUnknownCode},
		{"reset after the end", resetAfterTheEnd},
		{"break off", breakOff},
		{"break off while this end writes", breakOffTells},
		{"break off at once", breakOffAtOnce},
		{"break off what nobody reads", breakOffUnread},
		{"break off without credit", breakOffWithoutCredit},
		{"break off and close", breakOffAndClose},
		{"break off and drain", breakOffAndDrain},
		{"break off a write that waits", breakOffInterrupts},
		{"stream that nobody reads", unreadStream},
		{"write that is interrupted", interruptedWrite},
		{"limit of streams", streamLimit},
		{"contexts", contexts},
		{"drain", drain},
		{"drain is bounded", drainIsBounded},
		{"drain loses no stream on its way", drainLosesNothing},
		{"close after a drain loses nothing", closeAfterDrain},
		{"retire", retire},
		{"close", closes},
		{"close at both ends", closesAtBothEnds},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.test(t, pair) })
		})
	}
	t.Run("streams are like pipes", func(t *testing.T) { streamsAreLikePipes(t, pair) })
}

// Header is a crossing's header with an ID to tell it by.
func Header(id string) *crossingv1.Header { return &crossingv1.Header{Id: id} }

// Open opens a stream.
func Open(t testing.TB, c tunnel.Tunnel, id string) tunnel.Stream {
	t.Helper()
	s, err := c.Open(t.Context(), Header(id))
	if err != nil {
		t.Fatalf("Open(%s): %v", id, err)
	}
	return s
}

// Accept takes the next stream.
func Accept(t testing.TB, c tunnel.Tunnel) tunnel.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := c.Accept(ctx)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return s
}

// Streams opens a stream and gives both ends of it.
func Streams(t testing.TB, from, to tunnel.Tunnel) (near, far tunnel.Stream) {
	t.Helper()
	near = Open(t, from, "x")
	return near, Accept(t, to)
}

// Write writes a text.
func Write(t testing.TB, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Fatalf("Write(%q) = %d, %v", text, n, err)
	}
}

// WantRead reads a text.
func WantRead(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("Read = %q, %v, want %q", got, err, want)
	}
}

// WantEOF reads the end.
func WantEOF(t testing.TB, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("Read = %d, %v, want the end", n, err)
	}
}

// WantReset holds an error to be a reset.
func WantReset(t testing.TB, err error, code tunnel.ResetCode, remote bool) {
	t.Helper()
	var reset *tunnel.ResetError
	if !errors.As(err, &reset) || reset.Code != code || reset.Remote != remote {
		t.Fatalf("error is %v, want a reset with code %q, remote %v", err, code, remote)
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v is not net.ErrClosed", err)
	}
}

// Pass lets virtual time go by.
func Pass(d time.Duration) { <-time.After(d) }

// settle lets what is on its way arrive.
func settle() { Pass(5 * time.Second) }

// IsDone says whether the channel is closed.
func IsDone(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
