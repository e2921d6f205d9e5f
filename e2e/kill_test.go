package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// caller makes calls until it is told to stop, and keeps the id of each
// crossing that it had an answer for.
type caller struct {
	mu       sync.Mutex // guards answered
	answered map[string]int
}

func (c *caller) note(id string, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered[id] = status
}

func (c *caller) count(status int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, s := range c.answered {
		if s == status {
			n++
		}
	}
	return n
}

func (c *caller) run(ctx context.Context, client *http.Client) {
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, meshtest.ChatURL, strings.NewReader(meshtest.ChatBody))
		if err != nil {
			return
		}
		resp, err := client.Do(req)
		if err != nil {
			continue // no answer: the gateway is being restarted
		}
		if id := resp.Header.Get("sallyport-crossing"); id != "" {
			c.note(id, resp.StatusCode)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// TestKill kills each gateway of a pair under load, more than once, and finds
// a record for every crossing that a client had an answer for.
func TestKill(t *testing.T) {
	m, gateways := startGateways(t, nil)
	load, stop := context.WithCancel(m.Context)
	defer stop()
	c := &caller{answered: map[string]int{}}
	var callers sync.WaitGroup
	for range 8 {
		client := m.As(t, "orchestrator")
		callers.Go(func() { c.run(load, client) })
	}
	deadline := time.Now().Add(time.Minute)
	for _, name := range []string{"onprem-1", "azure-1", "onprem-1", "azure-1"} {
		awaitMore(t, c, 50, deadline)
		gateways[name].kill()
		gateways[name].start()
	}
	awaitMore(t, c, 50, deadline)
	stop()
	callers.Wait()
	t.Logf("%d crossings answered, %d of them 200", len(c.answered), c.count(http.StatusOK))
	awaitRecords(t, m, c, deadline.Add(time.Minute))
}

// awaitMore waits for n more calls that succeed.
func awaitMore(t *testing.T, c *caller, n int, deadline time.Time) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for want := c.count(http.StatusOK) + n; c.count(http.StatusOK) < want; <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls succeeded, want %d", c.count(http.StatusOK), want)
		}
	}
}

// awaitRecords waits until every answered crossing has its record: both halves
// and an end where the answer came through, at least one half elsewhere.
func awaitRecords(t *testing.T, m *meshtest.Mesh, c *caller, deadline time.Time) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		records := map[string]*crossingv1.Record{}
		for _, r := range m.Crossings(t, &controlv1.ListCrossingsRequest{}) {
			records[r.GetId()] = r
		}
		missing := unrecorded(c.answered, records)
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d answered crossings have no whole record, such as %s: %v",
				len(missing), len(c.answered), missing[0], records[missing[0]])
		}
		<-ticker.C
	}
}

func unrecorded(answered map[string]int, records map[string]*crossingv1.Record) []string {
	var missing []string
	for id, status := range answered {
		r := records[id]
		whole := r != nil && r.GetState() != crossingv1.Record_OPEN
		if status == http.StatusOK {
			whole = whole && r.GetTransition().GetOwner() != "" && r.GetEgress() != nil && r.GetIngress() != nil
		}
		if !whole {
			missing = append(missing, id)
		}
	}
	return missing
}
