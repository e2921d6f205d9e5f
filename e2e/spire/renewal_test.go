//go:build linux

package spire

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/netns"
)

// calls are what keeps a load up.
var calls = []struct{ from, method, url string }{
	{"orchestrator", http.MethodPost, "http://llm.azure.mesh:8000/v1/chat/completions"},
	{"orchestrator", http.MethodPost, "http://retriever.aws.mesh:8000/search"},
	{"llm", http.MethodGet, "http://retriever.aws.mesh:8000/search"},
	{"llm", http.MethodPost, "http://orchestrator.onprem.mesh:8000/tasks/7"},
}

// every caller makes a call each pace.
const pace = 50 * time.Millisecond

// load is a constant one.
type load struct {
	mu      sync.Mutex // guards what follows
	total   int
	failed  []string
	callers map[string]map[string]bool // the SVIDs that callers were seen with
}

// start begins calls that go on until ctx ends. wait returns after the last.
func (l *load) start(ctx context.Context, t *testing.T, m *mesh) (wait func()) {
	t.Helper()
	l.callers = map[string]map[string]bool{}
	var callers sync.WaitGroup
	for _, c := range calls {
		client := m.As(t, c.from)
		callers.Go(func() {
			ticker := time.NewTicker(pace)
			defer ticker.Stop()
			for ctx.Err() == nil {
				a, err := netns.Call(context.WithoutCancel(ctx), client, c.method, c.url, strings.NewReader("hello"))
				l.count(c.from, a, err)
				select {
				case <-ticker.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return callers.Wait
}

// hash is a certificate's in x-forwarded-client-cert.
var hash = regexp.MustCompile(`Hash=([0-9a-f]+)`)

func (l *load) count(from string, a *netns.Answer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if err != nil || a.Status != http.StatusOK {
		l.failed = append(l.failed, fmt.Sprintf("%s: %+v, %v", from, a, err))
		return
	}
	if l.callers[from] == nil {
		l.callers[from] = map[string]bool{}
	}
	if found := hash.FindStringSubmatch(a.Caller); found != nil {
		l.callers[from][found[1]] = true
	}
}

// testRenewal keeps a load up until every SVID that it began with has expired, and
// has an agent restarted meanwhile. No call may fail.
func (m *mesh) testRenewal(t *testing.T) {
	before := m.renewals(t)
	ctx, cancel := context.WithTimeout(t.Context(), lifetime*5/4)
	defer cancel()
	var l load
	wait := l.start(ctx, t, m)
	<-time.After(lifetime / 4)
	m.domains["azure"].agent.Stop()
	m.domains["azure"].startAgent(t)
	wait()
	t.Logf("failed %d of %d", len(l.failed), l.total)
	for i, why := range l.failed {
		if i == 5 {
			break
		}
		t.Errorf("failed: %s", why)
	}
	for _, from := range []string{"orchestrator", "llm"} {
		n := len(l.callers[from])
		t.Logf("%s called with %d SVIDs", from, n)
		if n < 2 {
			t.Errorf("the SVID of %s was not renewed", from)
		}
	}
	for host, n := range m.renewals(t) {
		t.Logf("the gateway of %s got %d SVIDs", host, n-before[host])
		if n == before[host] {
			t.Errorf("the SVID of %s's gateway was not renewed", host)
		}
	}
	if want := int(lifetime / pace); l.total < want {
		t.Errorf("%d calls are no load, want %d", l.total, want)
	}
}

// received is how a gateway says that it got an SVID; it says so too where only
// bundles are new.
var received = regexp.MustCompile(`"svid received".*"not_after":"([^"]+)"`)

// renewals are how many SVIDs each gateway has had.
func (m *mesh) renewals(t *testing.T) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, host := range []string{"onprem", "aws", "azure"} {
		text, err := os.ReadFile(m.At(host).Path("log/sallyport-gateway"))
		if err != nil {
			t.Fatal(err)
		}
		expiries := map[string]bool{}
		for _, found := range received.FindAllSubmatch(text, -1) {
			expiries[string(found[1])] = true
		}
		count[host] = len(expiries)
	}
	return count
}
