package attach

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

const (
	// maxProofs bounds what is remembered of destinations, whose names are the
	// program's to choose.
	maxProofs = 1024
	// meshSuffix ends the names that a policy resolves.
	meshSuffix = ".mesh"
)

// proofs are those of the workload for each destination that the program calls. Each
// is replaced when half of the time has passed for which it counts.
type proofs struct {
	source *certs.Source

	mu sync.Mutex // guards of, and what is in it
	of map[string]*proof
}

// proof is the current one for a destination.
type proof struct {
	token        string
	renew, until time.Time
	fetching     bool // another one is on its way: this one does meanwhile, if it is good
}

// forHost gives a proof that the workload calls that host.
func (p *proofs) forHost(ctx context.Context, host string) (string, error) {
	current := p.use(host)
	if current != "" {
		return current, nil
	}
	token, expires, err := p.source.FetchJWTSVID(ctx, crossing.ProofAudience(host))
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.at(host)
	of.fetching = false
	switch {
	case err == nil:
		began := issued(token)
		life := min(expires.Sub(began), crossing.ProofAge)
		of.token, of.renew, of.until = token, began.Add(life/2), began.Add(life)
	case !time.Now().Before(of.until):
		return "", err
	}
	return of.token, nil
}

// use gives the proof that there is, or "" to whoever is to fetch one.
func (p *proofs) use(host string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	of, now := p.at(host), time.Now()
	if now.Before(of.renew) || of.fetching && now.Before(of.until) {
		return of.token
	}
	of.fetching = true
	return ""
}

// at is what is known for a host. The caller holds mu.
func (p *proofs) at(host string) *proof {
	of := p.of[host]
	if of == nil {
		if of = new(proof); len(p.of) >= maxProofs || p.of == nil {
			p.of = map[string]*proof{} // those in use come back by themselves
		}
		p.of[host] = of
	}
	return of
}

// issued is when a token of the workload's own says that it was issued; now if it
// does not say. Whether it is true, gateways look.
func issued(token string) time.Time {
	var claims struct {
		IssuedAt float64 `json:"iat"`
	}
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.IssuedAt <= 0 {
		return time.Now()
	}
	return time.Unix(int64(claims.IssuedAt), 0)
}

// prove adds a proof to a request for a destination of the mesh, unless the program
// has put one there. Where there is none to be had the request goes without: most
// destinations ask for none, and the gateway says which do.
func (a *Attach) prove(r *http.Request) {
	host := destination(r)
	if a.proofs == nil || host == "" || r.Header.Get(crossing.ProofField) != "" {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), headTimeout)
	defer cancel()
	token, err := a.proofs.forHost(ctx, host)
	if err != nil {
		a.cfg.Log.Warn("request goes without a proof", zap.String("destination", host), zap.Error(err))
		return
	}
	r.Header.Set(crossing.ProofField, token)
}

// destination is the host of the mesh that a request is for, by the name that the
// program gave or, at a base URL, by the first segment of its path; "" if it is for
// none.
func destination(r *http.Request) string {
	if host := meshHost(r.Host); host != "" || r.Method == http.MethodConnect {
		return host
	}
	segment, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	return meshHost(segment)
}

// meshHost is NAME.ENVIRONMENT.mesh in lower case, without a port; "" of anything
// else.
func meshHost(authority string) string {
	host, _, _ := strings.Cut(strings.ToLower(authority), ":")
	if !strings.HasSuffix(host, meshSuffix) || strings.Count(host, ".") != 2 ||
		strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return ""
	}
	return host
}
