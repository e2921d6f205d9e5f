package tunneltest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
)

func carriesBothWays(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	if got := far.Header().GetId(); got != "x" {
		t.Errorf("header arrived with ID %q, want x", got)
	}
	Write(t, near, "question")
	WantRead(t, far, "question")
	Write(t, far, "answer")
	WantRead(t, near, "answer")
	back, forth := Streams(t, b, a)
	Write(t, back, "the acceptor opens too")
	WantRead(t, forth, "the acceptor opens too")
	if n, m := a.Info().Streams, b.Info().Streams; n != 2 || m != 2 {
		t.Errorf("%d and %d streams are open, want 2", n, m)
	}
}

func halfClose(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	Write(t, near, "all of it")
	for range 2 { // a second CloseWrite does nothing
		if err := near.CloseWrite(); err != nil {
			t.Fatalf("CloseWrite: %v", err)
		}
	}
	if _, err := near.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after CloseWrite: %v, want net.ErrClosed", err)
	}
	WantRead(t, far, "all of it")
	WantEOF(t, far)
	WantEOF(t, far)
	Write(t, far, "the other direction goes on")
	WantRead(t, near, "the other direction goes on")
	if IsDone(near.Done()) || IsDone(far.Done()) {
		t.Error("Done is closed with one direction open")
	}
	far.CloseWrite() //nolint:errcheck // the reader tells
	WantEOF(t, near)
	if !IsDone(near.Done()) || !IsDone(far.Done()) {
		t.Error("Done is open after both directions have ended")
	}
	near.Reset(tunnel.CallerGone) // nothing any more
	WantEOF(t, near)
	settle()
	if n, m := a.Info().Streams, b.Info().Streams; n != 0 || m != 0 {
		t.Errorf("%d and %d streams are open, want none", n, m)
	}
}

// finish: the last bytes and the end together, more than a window of them too.
func finish(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	if n, err := tunnel.Finish(near, []byte("question")); n != 8 || err != nil {
		t.Fatalf("Finish = %d, %v", n, err)
	}
	if _, err := tunnel.Finish(near, []byte("more")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Finish after Finish: %v, want net.ErrClosed", err)
	}
	if err := near.CloseWrite(); err != nil {
		t.Errorf("CloseWrite after Finish: %v", err)
	}
	WantRead(t, far, "question")
	WantEOF(t, far)
	long := bytes.Repeat([]byte("answer "), 200_000)
	wrote := make(chan error, 1)
	go func() {
		_, err := tunnel.Finish(far, long)
		wrote <- err
	}()
	got, err := io.ReadAll(near)
	if err != nil || !bytes.Equal(got, long) {
		t.Errorf("read %d bytes, %v, want %d", len(got), err, len(long))
	}
	if err := <-wrote; err != nil {
		t.Errorf("Finish: %v", err)
	}
	if !IsDone(near.Done()) || !IsDone(far.Done()) {
		t.Error("Done is open after both directions have ended")
	}
}

// waiter tells its name.
type waiter struct {
	told chan string
	name string
}

// StreamDone implements tunnel.Waiter.
func (w waiter) StreamDone() { w.told <- w.name }

// onDone: whoever asked is told once that a stream is done, however late he asked.
func onDone(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	told := make(chan string, 8)
	watch := tunnel.OnDone(far, waiter{told, "nobody any more"})
	if _, notifies := far.(tunnel.Notifier); watch.Stop() != notifies {
		t.Errorf("Stop before the end: %t", !notifies)
	}
	watch = tunnel.OnDone(far, waiter{told, "far"})
	synctest.Wait()
	near.Reset(tunnel.CallerGone)
	if got := <-told; got != "far" {
		t.Errorf("told %s", got)
	}
	for range 2 {
		if watch.Stop() {
			t.Error("Stop after the end says that nobody was told")
		}
	}
	tunnel.OnDone(near, waiter{told, "late"})
	if got := <-told; got != "late" {
		t.Errorf("told %s", got)
	}
	synctest.Wait()
	if len(told) > 0 {
		t.Errorf("told %s as well", <-told)
	}
}

func doneWaitsForTheReader(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	Write(t, near, "unread")
	near.CloseWrite() //nolint:errcheck // the reader tells
	far.CloseWrite()  //nolint:errcheck // nobody reads
	settle()
	if IsDone(far.Done()) {
		t.Error("Done is closed before the last bytes were read")
	}
	a.Close() // whatever becomes of the tunnel, they have arrived
	settle()
	WantRead(t, far, "unread")
	WantEOF(t, far)
	if !IsDone(far.Done()) {
		t.Error("Done is open after the end was read")
	}
}

func reset(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 64 << 10})
	near, far := Streams(t, a, b)
	read, stuck := make(chan error), make(chan error)
	go func() { _, err := near.Read(make([]byte, 1)); read <- err }()
	go func() { _, err := near.Write(make([]byte, 1<<20)); stuck <- err }()
	settle()
	far.Reset(tunnel.DestinationGone)
	WantReset(t, <-read, tunnel.DestinationGone, true)
	WantReset(t, <-stuck, tunnel.DestinationGone, true)
	WantReset(t, near.CloseWrite(), tunnel.DestinationGone, true)
	_, err := far.Read(make([]byte, 1))
	WantReset(t, err, tunnel.DestinationGone, false)
	_, err = far.Write(make([]byte, 1))
	WantReset(t, err, tunnel.DestinationGone, false)
	if !IsDone(near.Done()) || !IsDone(far.Done()) {
		t.Error("Done is open after a reset")
	}
	near, far = Streams(t, a, b) // the tunnel goes on
	Write(t, near, "next")
	WantRead(t, far, "next")
	settle()
	if n, m := a.Info().Streams, b.Info().Streams; n != 1 || m != 1 {
		t.Errorf("%d and %d streams are open, want 1", n, m)
	}
}

// resetUnseen: Done tells of a reset even to an end that neither reads nor writes.
func resetUnseen(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	for _, ended := range []bool{false, true} {
		near, far := Streams(t, a, b)
		Write(t, near, "question")
		if ended {
			near.CloseWrite() //nolint:errcheck // the reader tells
		}
		WantRead(t, far, "question")
		far.Reset(tunnel.DestinationGone)
		<-near.Done()
		_, err := near.Read(make([]byte, 1))
		WantReset(t, err, tunnel.DestinationGone, true)
	}
}

func resetOfUnknownCode(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	near.Reset(tunnel.ResetCode(77))
	_, err := far.Read(make([]byte, 1))
	WantReset(t, err, tunnel.ResetCode(77), true)
}

func resetAfterTheEnd(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{})
	near, far := Streams(t, a, b)
	Write(t, far, "whole answer")
	far.CloseWrite()          //nolint:errcheck // the reader tells
	far.Reset(tunnel.Refused) // what the caller still sends is not wanted
	settle()
	WantRead(t, near, "whole answer")
	WantEOF(t, near)
	_, err := near.Write([]byte("more"))
	WantReset(t, err, tunnel.Refused, true)
}

func unreadStream(t *testing.T, pair Maker) {
	limits := carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 40 << 20}
	a, b := pair(t, limits)
	stuckNear, stuckFar := Streams(t, a, b)
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	wrote := make(chan error)
	go func() { _, err := stuckNear.Write(data); wrote <- err }()
	settle()
	near, far := Streams(t, a, b)
	go func() {
		near.Write(data)  //nolint:errcheck // the reader tells
		near.CloseWrite() //nolint:errcheck // the reader tells
	}()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("beside a stuck stream: %d bytes, %v, want %d", len(got), err, len(data))
	}
	if IsDone(stuckNear.Done()) {
		t.Fatal("the stuck stream has ended")
	}
	got = make([]byte, len(data))
	if _, err := io.ReadFull(stuckFar, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("stuck stream, read at last: %v", err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("Write: %v", err)
	}
}

// interruptedWrite: a write that waits can be called back, and what it has
// written arrives, and what is written after it.
func interruptedWrite(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{StreamWindow: 64 << 10, TunnelWindow: 64 << 10})
	near, far := Streams(t, a, b)
	stream := near.(tunnel.Interruptible)
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	wrote := make(chan int)
	write := func() {
		n, err := near.Write(data)
		if n == len(data) || !errors.Is(err, tunnel.ErrInterrupted) {
			t.Errorf("Write = %d, %v, want less than %d and ErrInterrupted", n, err, len(data))
		}
		wrote <- n
	}
	go write()
	settle()
	stream.Interrupt()
	n := <-wrote
	go write()
	n2 := <-wrote
	stream.Resume()
	go func() {
		near.Write([]byte("end")) //nolint:errcheck // the reader tells
		near.CloseWrite()         //nolint:errcheck // the reader tells
	}()
	got, err := io.ReadAll(far)
	want := string(data[:n]) + string(data[:n2]) + "end"
	if n == 0 || err != nil || string(got) != want {
		t.Errorf("%d bytes arrived, %v, want %d and %d and the end", len(got), err, n, n2)
	}
}

func streamLimit(t *testing.T, pair Maker) {
	a, b := pair(t, carrier.Limits{Streams: 2})
	for _, ends := range [][2]tunnel.Tunnel{{a, b}, {b, a}} {
		first, far := Streams(t, ends[0], ends[1])
		Streams(t, ends[0], ends[1])
		if _, err := ends[0].Open(t.Context(), Header("one too many")); err == nil || errors.Is(err, tunnel.ErrDraining) {
			t.Errorf("Open above the limit: %v, want another error", err)
		}
		first.Reset(tunnel.CallerGone)
		<-far.Done()
		settle()
		Streams(t, ends[0], ends[1])
	}
}

func contexts(t *testing.T, pair Maker) {
	a, _ := pair(t, carrier.Limits{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := a.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Accept: %v, want the context's error", err)
	}
	if _, err := a.Open(ctx, Header("late")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: %v, want the context's error", err)
	}
}
