package tcptunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
)

// bubble runs the test with virtual time; goroutines that are left fail it.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestStreamCarriesBothWays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, far := streams(t, a, b)
		if got := far.Header().GetId(); got != "x" {
			t.Errorf("header arrived with ID %q, want x", got)
		}
		write(t, near, "question")
		wantRead(t, far, "question")
		write(t, far, "answer")
		wantRead(t, near, "answer")
		back, forth := streams(t, b, a)
		write(t, back, "the acceptor opens too")
		wantRead(t, forth, "the acceptor opens too")
	})
}

func TestStreamHalfClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, far := streams(t, a, b)
		write(t, near, "all of it")
		for range 2 { // a second CloseWrite does nothing
			if err := near.CloseWrite(); err != nil {
				t.Fatalf("CloseWrite: %v", err)
			}
		}
		if _, err := near.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after CloseWrite: %v, want net.ErrClosed", err)
		}
		wantRead(t, far, "all of it")
		wantEOF(t, far)
		wantEOF(t, far)
		write(t, far, "the other direction goes on")
		wantRead(t, near, "the other direction goes on")
		if isDone(near.Done()) || isDone(far.Done()) {
			t.Error("Done is closed with one direction open")
		}
		far.CloseWrite()
		wantEOF(t, near)
		if !isDone(near.Done()) || !isDone(far.Done()) {
			t.Error("Done is open after both directions have ended")
		}
		near.Reset(tunnel.CallerGone) // nothing any more
		wantEOF(t, near)
		synctest.Wait()
		if n, m := a.Info().Streams, b.Info().Streams; n != 0 || m != 0 {
			t.Errorf("%d and %d streams are open, want none", n, m)
		}
	})
}

func TestStreamDoneWaitsForTheReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, far := streams(t, a, b)
		write(t, near, "unread")
		near.CloseWrite()
		far.CloseWrite()
		synctest.Wait()
		if isDone(far.Done()) {
			t.Error("Done is closed before the last bytes were read")
		}
		a.Close() // whatever becomes of the tunnel, they have arrived
		synctest.Wait()
		wantRead(t, far, "unread")
		wantEOF(t, far)
		if !isDone(far.Done()) {
			t.Error("Done is open after the end was read")
		}
	})
}

func TestStreamReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, far := streams(t, a, b)
		read := make(chan error)
		go func() { _, err := near.Read(make([]byte, 1)); read <- err }()
		stuck := make(chan error)
		go func() { _, err := near.Write(make([]byte, 1<<20)); stuck <- err }()
		synctest.Wait()
		far.Reset(tunnel.DestinationGone)
		wantReset(t, <-read, tunnel.DestinationGone, true)
		wantReset(t, <-stuck, tunnel.DestinationGone, true)
		wantReset(t, near.CloseWrite(), tunnel.DestinationGone, true)
		_, err := far.Read(make([]byte, 1))
		wantReset(t, err, tunnel.DestinationGone, false)
		if !isDone(near.Done()) || !isDone(far.Done()) {
			t.Error("Done is open after a reset")
		}
		near, far = streams(t, a, b) // the tunnel goes on
		write(t, near, "next")
		wantRead(t, far, "next")
	})
}

func TestResetAfterTheEndKeepsWhatHasArrived(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, far := streams(t, a, b)
		write(t, far, "whole answer")
		far.CloseWrite()
		far.Reset(tunnel.Refused) // what the caller still sends is not wanted
		synctest.Wait()
		wantRead(t, near, "whole answer")
		wantEOF(t, near)
		_, err := near.Write([]byte("more"))
		wantReset(t, err, tunnel.Refused, true)
	})
}

func TestStreamThatNobodyReadsHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		stuckNear, stuckFar := streams(t, a, b)
		data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
		wrote := make(chan error)
		go func() { _, err := stuckNear.Write(data); wrote <- err }()
		synctest.Wait()
		near, far := streams(t, a, b)
		go func() { near.Write(data); near.CloseWrite() }()
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("beside a stuck stream: %d bytes, %v, want %d", len(got), err, len(data))
		}
		if isDone(stuckNear.Done()) {
			t.Fatal("the stuck stream has ended")
		}
		got = make([]byte, len(data))
		if _, err := io.ReadFull(stuckFar, got); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("stuck stream, read at last: %v", err)
		}
		if err := <-wrote; err != nil {
			t.Errorf("Write: %v", err)
		}
	})
}

func TestUnreadDataIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{StreamWindow: 128 << 10, TunnelWindow: 256 << 10})
		var far []*stream
		for range 4 {
			n, f := streams(t, a, b)
			far = append(far, f)
			go n.Write(make([]byte, 1<<20))
		}
		synctest.Wait()
		total := 0
		for _, f := range far {
			n := f.Buffered()
			if n > 128<<10 {
				t.Errorf("stream holds %d bytes, above its window", n)
			}
			total += n
		}
		if total != 256<<10 {
			t.Errorf("tunnel holds %d bytes, want its window of %d", total, 256<<10)
		}
		// Streams that end unread give the tunnel's window back.
		for _, f := range far {
			f.Reset(tunnel.Refused)
		}
		n, f := streams(t, a, b)
		go func() { n.Write(make([]byte, 1<<20)); n.CloseWrite() }()
		if got, err := io.Copy(io.Discard, f); got != 1<<20 || err != nil {
			t.Errorf("after the resets: %d bytes, %v", got, err)
		}
	})
}

func TestIdleStreamHoldsNoBuffer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		near, far := streams(t, a, b)
		for range 3 {
			write(t, near, "some bytes")
			synctest.Wait()
			wantRead(t, far, "some bytes")
		}
		if far.in.Len() > 0 || near.data != nil {
			t.Error("an idle stream holds a buffer")
		}
	})
}

// TestReleasedStreamIsUsedAgain: as another one, of which nothing is left but what
// its own peer says.
func TestReleasedStreamIsUsedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := pair(t, carrier.Limits{})
		var before *stream
		for _, text := range []string{"one", "two", "three"} {
			near, far := streams(t, a, b)
			if before != nil && near != before {
				t.Errorf("%q is in memory of its own", text)
			}
			before = near
			if near.finished() || far.finished() {
				t.Errorf("%q is done before it began", text)
			}
			write(t, near, text)
			near.CloseWrite()
			wantRead(t, far, text)
			far.Finish([]byte(text + " too"))
			far.Reset(tunnel.DestinationGone) // nothing: both have ended
			far.Release()
			wantRead(t, near, text+" too")
			synctest.Wait()
			near.Release()
		}
	})
}

// TestWhatIsNotOverIsNotReleased: nor what was reset, or is not read to its end.
func TestWhatIsNotOverIsNotReleased(t *testing.T) {
	for name, end := range map[string]func(near, far *stream){
		"open":     func(_, _ *stream) {},
		"half":     func(near, _ *stream) { near.CloseWrite() },
		"reset":    func(near, _ *stream) { near.Reset(tunnel.CallerGone) },
		"by peer":  func(_, far *stream) { far.Reset(tunnel.Refused) },
		"not read": func(near, far *stream) { near.CloseWrite(); far.Finish([]byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := pair(t, carrier.Limits{})
				near, far := streams(t, a, b)
				end(near, far)
				synctest.Wait()
				near.Release()
				if next := open(t, a, "next"); next == near {
					t.Error("it was used again")
				}
			})
		})
	}
}
