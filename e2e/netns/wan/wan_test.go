//go:build linux

package wan

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// path makes one, or skips.
func path(t *testing.T, c Config) *Path {
	t.Helper()
	p, err := New(c)
	if errors.Is(err, ErrNeeds) && os.Getenv("SALLYPORT_REQUIRE_ALL") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// echo serves at the far end.
func echo(t *testing.T, p *Path) string {
	t.Helper()
	l, err := p.Far.Listen("tcp", Far+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// TestDelay: a byte takes the path's round trip, and no less.
func TestDelay(t *testing.T) {
	p := path(t, Config{Delay: 20 * time.Millisecond})
	c, err := p.Near.DialContext(t.Context(), "tcp", echo(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	best := time.Hour
	for range 5 {
		began := time.Now()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	if best < 40*time.Millisecond {
		t.Errorf("a round trip took %s, want at least 40 ms", best)
	}
	t.Logf("best round trip %s", best)
}

// TestLoss: TCP gets everything across whole, though packets are lost.
func TestLoss(t *testing.T) {
	p := path(t, Config{Delay: time.Millisecond, Loss: 0.02, Rate: 200e6, Seed: 1})
	c, err := p.Near.DialContext(t.Context(), "tcp", echo(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := make([]byte, 2<<20)
	rand.Read(sent)
	got := sha256.New()
	var sending sync.WaitGroup
	sending.Go(func() { c.Write(sent) })
	if _, err := io.CopyN(got, c, int64(len(sent))); err != nil {
		t.Fatal(err)
	}
	sending.Wait()
	want := sha256.Sum256(sent)
	if s := p.Stats(); !bytes.Equal(got.Sum(nil), want[:]) || s.Lost == 0 || s.Delivered < 1000 {
		t.Errorf("equal %t, %+v", bytes.Equal(got.Sum(nil), want[:]), s)
	}
}

// TestCut: nothing passes a path that is cut, and what waits passes after it.
func TestCut(t *testing.T) {
	p := path(t, Config{})
	c, err := p.Near.DialContext(t.Context(), "tcp", echo(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.Cut(true)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes and %v over a path that is cut", n, err)
	}
	p.Cut(false)
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// TestApart: a namespace sees its own loopback and the path; what is elsewhere
// it does not see, and neither do processes in it.
func TestApart(t *testing.T) {
	p := path(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err := p.Near.DialContext(t.Context(), "tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("a namespace reached this machine's loopback")
	}
	if _, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Errorf("this process no longer reaches its own: %v", err)
	}
	var out strings.Builder
	cmd := exec.Command("ip", "-o", "address", "show", "dev", "wan0")
	cmd.Stdout = &out
	if err := p.Far.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), Far) {
		t.Errorf("the far end has %q, %v", out.String(), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if c, err := p.Near.DialContext(ctx, "tcp", Far+":1"); err == nil {
		c.Close()
		t.Error("somebody listens at port 1")
	}
}

// TestRate is about the queue alone, in virtual time: packets leave at the rate,
// wait no longer than the queue is, and are otherwise dropped.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, size = 8e6, 1000 // a packet each millisecond
		d := newDirection(Config{Delay: 10 * time.Millisecond, Rate: rate, Queue: 5 * time.Millisecond},
			mathrand.New(mathrand.NewPCG(1, 1)), new(atomic.Bool))
		began := time.Now()
		for range 20 {
			d.admit(&packet{bytes: make([]byte, size, mtu)}, began)
		}
		if got, want := len(d.travelling), 6; got != want || d.overflowed.Load() != 14 {
			t.Errorf("%d packets on their way and %d dropped, want %d and 14", got, d.overflowed.Load(), want)
		}
		close(d.travelling)
		d.write(io.Discard)
		if took, want := time.Since(began), 16*time.Millisecond; took != want {
			t.Errorf("the last packet came after %s, want %s", took, want)
		}
	})
}

// TestLossShare: the share of lost packets is what was asked for, and the same
// for the same seed.
func TestLossShare(t *testing.T) {
	lost := func(seed uint64) uint64 {
		d := newDirection(Config{Loss: 0.01}, mathrand.New(mathrand.NewPCG(seed, 0)), new(atomic.Bool))
		for range 50_000 {
			if d.admit(&packet{bytes: make([]byte, 100)}, time.Now()) {
				<-d.travelling
			}
		}
		return d.lost.Load()
	}
	once := lost(7)
	if share := float64(once) / 50_000; math.Abs(share-0.01) > 0.003 {
		t.Errorf("%.4f of the packets were lost, want 0.01", share)
	}
	if again := lost(7); again != once {
		t.Errorf("the same seed lost %d and %d", once, again)
	}
}
