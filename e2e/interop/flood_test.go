//go:build linux

package interop

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/e2e/rawh2"
)

const (
	floodTime = 700 * time.Millisecond
	// endlessTime is what a gateway has, on a slow machine, to end what must not go on.
	endlessTime = 10 * floodTime
	flooders    = 4 // connections of each flood at a time
	// mostGrowth is how much memory a flood may cost a gateway: that of its limits,
	// times connections, and what the collector has not come to.
	mostGrowth = 160 << 20
)

// flood writes what it can until the gateway hangs up or its time is over.
type flood struct {
	name string
	// step writes one more piece; n counts from 0 on each connection.
	step func(c *rawh2.Conn, n uint32) error
	// endless says that no honest caller does it for long, so that a gateway must
	// end the connection (RFC 9113 10.5).
	endless bool

	connections, steps atomic.Int64 // that it came to
	ended              atomic.Int64 // connections that the gateway ended, or said it would
	over               func()       // ends the flood
}

// floods are what a caller with an SVID can do to its own gateway's HTTP/2, each
// known by a CVE of its own.
func floods(authority string) []*flood {
	get := func(more ...string) []string {
		return append([]string{":method", "GET", ":scheme", "https", ":authority", authority, ":path", "/large"}, more...)
	}
	return []*flood{
		{name: "rapid reset", endless: true, step: func(c *rawh2.Conn, n uint32) error {
			if err := c.Headers(2*n+1, true, get()...); err != nil {
				return err
			}
			return c.Frame(func(f *http2.Framer) error { return f.WriteRSTStream(2*n+1, http2.ErrCodeCancel) })
		}},
		{name: "resets by the gateway's own hand", endless: true, step: func(c *rawh2.Conn, n uint32) error { // "MadeYouReset"
			if err := c.Headers(2*n+1, true, get()...); err != nil {
				return err
			}
			return c.Frame(func(f *http2.Framer) error {
				return f.WriteRawFrame(http2.FrameWindowUpdate, 0, 2*n+1, make([]byte, 4))
			})
		}},
		{name: "CONTINUATION without end", endless: true, step: func(c *rawh2.Conn, n uint32) error {
			block := c.Block("x-"+strconv.Itoa(int(n)), strings.Repeat("a", 8<<10))
			return c.Frame(func(f *http2.Framer) error {
				if n == 0 {
					return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
				}
				return f.WriteContinuation(1, false, block)
			})
		}},
		{name: "empty CONTINUATION without end", endless: true, step: func(c *rawh2.Conn, n uint32) error {
			return c.Frame(func(f *http2.Framer) error {
				if n == 0 {
					return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
				}
				return f.WriteContinuation(1, false, nil)
			})
		}},
		{name: "HPACK bomb", step: func(c *rawh2.Conn, n uint32) error {
			// 62 is the newest entry of the dynamic table (RFC 7541 2.3.3): each byte
			// that follows stands for all of its 4,000.
			block := c.Block(get("x", strings.Repeat("a", 3900))...)
			block = append(block, slices.Repeat([]byte{0x80 | 62}, 12<<10)...)
			return c.Frame(func(f *http2.Framer) error {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*n + 1, BlockFragment: block, EndStream: true, EndHeaders: true})
			})
		}},
		{name: "pings", step: func(c *rawh2.Conn, _ uint32) error {
			return c.Frame(func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) })
		}},
		{name: "settings", step: func(c *rawh2.Conn, n uint32) error {
			return c.Frame(func(f *http2.Framer) error {
				return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: n % 65536})
			})
		}},
		{name: "empty DATA", step: func(c *rawh2.Conn, n uint32) error {
			if n == 0 {
				return c.Headers(1, false, append(get()[2:], ":method", "POST")...)
			}
			return c.Data(1, false, nil)
		}},
		{name: "answers that nobody reads", step: func(c *rawh2.Conn, n uint32) error {
			if n == 0 {
				if err := c.Frame(func(f *http2.Framer) error {
					return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
				}); err != nil {
					return err
				}
			}
			if n < 250 {
				return c.Headers(2*n+1, true, get()...)
			}
			return c.Frame(func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) })
		}},
	}
}

// TestFloods floods a gateway by HTTP/2, and holds that its memory stays bounded
// and that others are served.
func TestFloods(t *testing.T) {
	at, _ := serve(t, "echo", "http")
	m := meshWith(t, func(cfg *localmesh.Config) { cfg.External = []string{"onprem-1"} }, at)
	g := launchGateway(t, m)
	awaitCrossing(t, m, at)
	before := g.memory(t)
	for _, f := range floods(at.host()) {
		t.Run(f.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(m.Context, endlessTime)
			defer cancel()
			f.over = cancel
			defer time.AfterFunc(floodTime, f.enough).Stop()
			var group sync.WaitGroup
			for range flooders {
				group.Go(func() { f.run(ctx, t, m) })
			}
			most := 0
			group.Go(func() { most = g.most(ctx, t) })
			calls, slowest := callOn(ctx, t, m, at)
			group.Wait()
			t.Logf("%d steps over %d connections, of which the gateway ended %d; memory grew by %d MiB; %d other calls, the slowest %v",
				f.steps.Load(), f.connections.Load(), f.ended.Load(), (most-before)>>20, calls, slowest)
			if f.connections.Load() == 0 || f.steps.Load() < flooders {
				t.Error("there was no flood")
			}
			if f.endless && f.ended.Load() == 0 {
				t.Error("the gateway lets it go on")
			}
			if most-before > mostGrowth {
				t.Errorf("the gateway's memory grew by %d MiB, at most %d may be", (most-before)>>20, mostGrowth>>20)
			}
			if calls == 0 {
				t.Error("no other caller was served meanwhile")
			}
		})
	}
	awaitCrossing(t, m, at)
}

// enough ends a flood, unless the gateway has yet to do so.
func (f *flood) enough() {
	if !f.endless || f.ended.Load() > 0 {
		f.over()
		return
	}
	time.AfterFunc(floodTime, f.enough)
}

// run floods from one connection after the other.
func (f *flood) run(ctx context.Context, t *testing.T, m *meshtest.Mesh) {
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Error(err)
		return
	}
	dialer := tls.Dialer{Config: certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "h2")}
	for ctx.Err() == nil {
		nc, err := dialer.DialContext(ctx, "tcp", m.Started(t, "onprem-1").GetAttach())
		if err != nil {
			continue // the gateway need not take it
		}
		f.once(ctx, nc)
	}
}

// once floods one connection until the gateway hangs up.
func (f *flood) once(ctx context.Context, nc net.Conn) {
	defer nc.(*tls.Conn).NetConn().Close() // a good end would wait for who does not read
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })()
	c, err := rawh2.New(nc)
	if err != nil {
		return
	}
	f.connections.Add(1)
	go f.watch(nc)
	for n := uint32(0); ctx.Err() == nil && n < 1<<29; n++ {
		if f.step(c, n) != nil {
			return
		}
		f.steps.Add(1)
	}
}

// watch reads all that comes, so that nothing waits for us, until the gateway ends
// the connection or says that it will.
func (f *flood) watch(nc net.Conn) {
	framer := http2.NewFramer(io.Discard, nc)
	for {
		frame, err := framer.ReadFrame()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed): // by us
			return
		case err != nil:
			f.ended.Add(1)
			return
		}
		if _, ok := frame.(*http2.GoAwayFrame); ok {
			f.ended.Add(1)
			io.Copy(io.Discard, nc)
			return
		}
	}
}

// callOn makes good calls, one after the other, until a flood is over.
func callOn(ctx context.Context, t *testing.T, m *meshtest.Mesh, at place) (calls int, slowest time.Duration) {
	client := asOrchestrator(t, m, "h2")
	for ctx.Err() == nil {
		began := time.Now()
		if status := ask(m.Context, t, client, at); status != http.StatusOK {
			t.Errorf("a good call was answered with status %d", status)
			return calls, slowest
		}
		calls++
		slowest = max(slowest, time.Since(began))
	}
	return calls, slowest
}

func ask(ctx context.Context, t *testing.T, client *http.Client, at place) int {
	ctx, cancel := context.WithTimeout(ctx, meshtest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+at.host()+"/good", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Logf("a good call: %v", err)
		return 0
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Logf("a good call: status %d, %s, %v", resp.StatusCode, body, err)
	}
	return resp.StatusCode
}

// awaitCrossing waits until a good call is answered.
func awaitCrossing(t *testing.T, m *meshtest.Mesh, at place) {
	t.Helper()
	client := asOrchestrator(t, m, "h2")
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); ask(m.Context, t, client, at) != http.StatusOK; <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatal("no call is answered")
		}
	}
}

// gatewayProcess is a gateway in a process of its own.
type gatewayProcess struct{ *process }

// launchGateway runs the real command as onprem-1.
func launchGateway(t *testing.T, m *meshtest.Mesh) gatewayProcess {
	t.Helper()
	bin := meshtest.Binary(t, "sallyport-gateway")
	return gatewayProcess{launch(t, m.Started(t, "onprem-1").GetAttach(), bin, "run", "--bootstrap", m.Bootstrap("onprem-1"))}
}

// memory is what the process has of the machine's, in bytes.
func (g gatewayProcess) memory(t testing.TB) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", g.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// most is the most memory that it has until the context ends.
func (g gatewayProcess) most(ctx context.Context, t testing.TB) (most int) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		most = max(most, g.memory(t))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return most
		}
	}
}
