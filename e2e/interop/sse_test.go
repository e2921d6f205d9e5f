//go:build linux

package interop

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

const (
	ssePace   = 20 * time.Millisecond
	sseEvents = 75
	// sseLate is the most by which three of five events may be late. One that waits
	// for the one after it is late by all of the pace.
	sseLate = ssePace / 2
)

// paced sends an event on each tick, and in it when.
func paced(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	ticker := time.NewTicker(ssePace)
	defer ticker.Stop()
	for range sseEvents {
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
		if _, err := fmt.Fprintf(w, "data: %d\n\n", time.Now().UnixNano()); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}

// TestServerSentEvents has a destination send an event each 20 ms, and holds that
// each comes through as it is sent. It says how much later that is than without
// a mesh.
func TestServerSentEvents(t *testing.T) {
	at := serveAt(t, "events", "http", &http.Server{Handler: http.HandlerFunc(paced)})
	m := meshWith(t, nil, at)
	for _, c := range []struct {
		name    string
		client  *http.Client
		url     string
		streams int
	}{
		{"without a mesh", &http.Client{Transport: &http.Transport{}}, "http://" + at.addr() + "/", 1},
		{"HTTP/1.1", asOrchestrator(t, m, "http/1.1"), "https://" + at.host() + "/", 1},
		{"HTTP/2", asOrchestrator(t, m, "h2"), "https://" + at.host() + "/", 1},
		{"HTTP/2, many at once", asOrchestrator(t, m, "h2"), "https://" + at.host() + "/", 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var group sync.WaitGroup
			var mu sync.Mutex // guards delays
			var delays []time.Duration
			for range c.streams {
				group.Go(func() {
					d, err := listenTo(m.Context, c.client, c.url)
					if err != nil || len(d) != sseEvents {
						t.Errorf("%d events, want %d; %v", len(d), sseEvents, err)
					}
					mu.Lock()
					defer mu.Unlock()
					delays = append(delays, d...)
				})
			}
			group.Wait()
			if len(delays) == 0 {
				return
			}
			slices.Sort(delays)
			p50, p99 := delays[len(delays)/2], delays[len(delays)*99/100]
			t.Logf("%d events: delay p50 %v, p99 %v", len(delays), p50, p99)
			// Where each other event waits for the next one, every second is late.
			if p60 := delays[len(delays)*60/100]; p60 > sseLate {
				t.Errorf("two of five events are late by more than %v: they are held back", p60)
			}
		})
	}
}

// listenTo reads a stream of events, and gives how late each came.
func listenTo(ctx context.Context, client *http.Client, url string) ([]time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var delays []time.Duration
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			sent, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return delays, err
			}
			delays = append(delays, time.Since(time.Unix(0, sent)))
		}
	}
	return delays, lines.Err()
}

// asOrchestrator is a client that attaches by mTLS and speaks one version.
func asOrchestrator(t testing.TB, m *meshtest.Mesh, protocol string) *http.Client {
	t.Helper()
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	config := certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), protocol)
	addr := m.Started(t, "onprem-1").GetAttach()
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
		},
		ForceAttemptHTTP2: protocol == "h2",
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
