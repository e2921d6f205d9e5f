package attach

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// TestProve: what the program calls by whatever form gets a proof for that
// destination, which is good, and what it puts there itself stays.
func TestProve(t *testing.T) {
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Sallyport-Proof"))
	})
	verifier := g.domain.Source("/sallyport/gateway/onprem-1")
	proving := g.start(t, func(c *Config) { c.Prove = true })
	silent := g.start(t, nil)
	for _, c := range []struct{ host, path, own, audience string }{
		{"llm.azure.mesh:8000", "/v1", "", "sallyport:proof:llm.azure.mesh"},
		{"LLM.Azure.mesh", "/v1", "", "sallyport:proof:llm.azure.mesh"},
		{"127.0.0.1:1", "/db.azure.mesh:5432/v1?x=1", "", "sallyport:proof:db.azure.mesh"},
		{"127.0.0.1:1", "/db.azure.mesh", "", "sallyport:proof:db.azure.mesh"},
		{"llm.azure.mesh", "/v1", "my own", ""},
		{"127.0.0.1:1", "/v1", "", ""},
		{"example.com", "/", "", ""},
		{"a.llm.azure.mesh", "/", "", ""},
		{"127.0.0.1:1", "/l%6Cm.azure.mesh/v1", "", ""},
	} {
		for _, a := range []*Attach{proving, silent} {
			r, err := http.NewRequest(http.MethodGet, "http://"+a.Addr().String()+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Host = c.host; c.own != "" {
				r.Header.Set("Sallyport-Proof", c.own)
			}
			got := answered(t, r)
			switch {
			case a == silent || c.audience == "":
				if got != c.own {
					t.Errorf("%s%s: proof %q, want %q", c.host, c.path, got, c.own)
				}
			default:
				if svid, err := verifier.ValidateFreshJWT(got, c.audience, time.Minute, time.Now()); err != nil || svid.ID != g.source.ID() {
					t.Errorf("%s%s: %v, %v", c.host, c.path, svid, err)
				}
			}
		}
	}
}

// answered is the body of the answer to a request.
func answered(t *testing.T, r *http.Request) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text := make([]byte, 16<<10)
	n, _ := answer.Body.Read(text)
	return string(text[:n])
}

// TestProveConnect: a byte stream has its proof beside the CONNECT.
func TestProveConnect(t *testing.T) {
	came := make(chan string, 1)
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(w http.ResponseWriter, r *http.Request) {
		came <- r.Header.Get("Sallyport-Proof")
		w.WriteHeader(http.StatusForbidden)
	})
	a := g.start(t, func(c *Config) { c.Prove = true })
	conn, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "CONNECT db.azure.mesh:5432 HTTP/1.1\r\nHost: db.azure.mesh:5432\r\n\r\n")
	verifier := g.domain.Source("/sallyport/gateway/onprem-1")
	if _, err := verifier.ValidateFreshJWT(<-came, "sallyport:proof:db.azure.mesh", time.Minute, time.Now()); err != nil {
		t.Error(err)
	}
}

// minted is a source whose tokens say when they were made and how many there were.
type minted struct {
	mu    sync.Mutex
	count int
	fail  error
	age   time.Duration // of a token that is given
	life  time.Duration
	hold  chan struct{} // not nil: each waits for it
}

func (m *minted) mint(_ context.Context, _ string) (string, time.Time, error) {
	m.mu.Lock()
	hold := m.hold
	m.mu.Unlock()
	if hold != nil {
		<-hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return "", time.Time{}, m.fail
	}
	m.count++
	made := time.Now().Add(-m.age)
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"iat":` + strconv.FormatInt(made.Unix(), 10) + `}`))
	return "e30." + claims + "." + strconv.Itoa(m.count), made.Add(m.life), nil
}

// proofsOf are proofs from a source that mints so, in a bubble.
func proofsOf(t *testing.T, m *minted) *proofs {
	t.Helper()
	svid, err := certstest.Mesh(t, "onprem.test")["onprem.test"].Source("/ai/orchestrator").GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	return &proofs{source: certs.NewStaticSource(svid, x509bundle.NewSet(), jwtbundle.NewSet(), m.mint)}
}

// TestProofsAreRenewed: each is used for half of the time that it counts, whatever
// its issuer gives it, and one that an agent had made before for less.
func TestProofsAreRenewed(t *testing.T) {
	for _, c := range []struct {
		age, life time.Duration
		good      time.Duration // after which it is replaced
	}{
		{0, time.Hour, 150 * time.Second},
		{0, 2 * time.Minute, time.Minute},
		{time.Minute, time.Hour, 90 * time.Second},
		{4 * time.Minute, time.Hour, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := &minted{age: c.age, life: c.life}
			p := proofsOf(t, m)
			for i, step := range []struct {
				wait time.Duration
				want int
			}{{0, 1}, {c.good - time.Second, 1}, {2 * time.Second, 2}} {
				if i == 1 && c.good == 0 {
					continue
				}
				<-time.After(step.wait)
				if _, err := p.forHost(t.Context(), "llm.azure.mesh"); err != nil || m.count != step.want {
					t.Errorf("%v: after %v more, %d were made, %v; want %d", c, step.wait, m.count, err, step.want)
				}
			}
		})
	}
}

// TestProofsOutliveTheirIssuer: while there is no other, one does until its end; and
// nobody waits for another whose own is good.
func TestProofsOutliveTheirIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &minted{life: time.Hour}
		p := proofsOf(t, m)
		first, err := p.forHost(t.Context(), "llm.azure.mesh")
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * time.Minute)
		m.hold = make(chan struct{})
		fetched := make(chan error)
		go func() {
			_, err := p.forHost(t.Context(), "llm.azure.mesh")
			fetched <- err
		}()
		synctest.Wait()
		if got, err := p.forHost(t.Context(), "llm.azure.mesh"); got != first || err != nil {
			t.Errorf("while another is on its way: %q, %v", got, err)
		}
		m.mu.Lock()
		m.fail = errors.New("away")
		m.mu.Unlock()
		close(m.hold)
		if err := <-fetched; err != nil {
			t.Errorf("while it is good: %v", err)
		}
		<-time.After(2 * time.Minute)
		if got, err := p.forHost(t.Context(), "llm.azure.mesh"); err == nil {
			t.Errorf("after its end: %q", got)
		}
	})
}

// TestProofsAreBounded: destinations that the program makes up take no more room.
func TestProofsAreBounded(t *testing.T) {
	p := proofsOf(t, &minted{life: time.Hour})
	for i := range 3 * maxProofs {
		if _, err := p.forHost(t.Context(), fmt.Sprintf("w%d.azure.mesh", i)); err != nil || len(p.of) > maxProofs {
			t.Fatalf("%d are remembered, %v", len(p.of), err)
		}
	}
}

// TestProveWithoutIssuer: a request goes without a proof where there is none.
func TestProveWithoutIssuer(t *testing.T) {
	g := newGateway(t, "/sallyport/gateway/onprem-1", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q", r.Header.Values("Sallyport-Proof"))
	})
	a := g.start(t, func(c *Config) { c.Prove = true })
	m := &minted{fail: errors.New("no JWT-SVIDs here")}
	a.proofs = proofsOf(t, m)
	r, err := http.NewRequest(http.MethodGet, "http://"+a.Addr().String()+"/llm.azure.mesh/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := answered(t, r); got != "[]" {
		t.Errorf("proof %s", got)
	}
}
