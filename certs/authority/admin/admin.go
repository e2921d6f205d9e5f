// Package admin lets an authority's operator act on it while it runs: HTTP with
// JSON on a Unix socket that the authority's own user and root may use, and that
// nothing else can reach. It decides nothing: the authority does.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
)

// Socket is the name of the socket in the authority's directory.
const Socket = "admin.sock"

// ErrNotYet says that a step of a rotation would break what others do now. It can
// be forced.
var ErrNotYet = errors.New("not yet")

const (
	maxAnswer = 1 << 20
	// patience is for a step: keys may be made somewhere else.
	patience = time.Minute
)

// Certificate is one of a root's, for people.
type Certificate struct {
	SHA256   string    `json:"sha256"` // of its DER, as "sha256:HEX"
	NotAfter time.Time `json:"notAfter"`
}

// Root is a root of the bundle.
type Root struct {
	Number       uint64       `json:"number"`
	State        string       `json:"state"` // prepared, active or old
	Since        time.Time    `json:"since"` // of State
	Root         Certificate  `json:"root"`
	Intermediate *Certificate `json:"intermediate,omitempty"`
	JWTKeyID     string       `json:"jwtKeyId"`
}

// Roots is what an authority lets its operator do.
type Roots interface {
	// Roots are the roots of the bundle, the newest first.
	Roots() []Root
	PrepareRoot() error
	// MayActivateRoot and MayRetireRoot fail with ErrNotYet; the steps themselves
	// do not ask.
	MayActivateRoot() error
	ActivateRoot() error
	MayRetireRoot() error
	RetireRoot() error
	AbandonRoot() error
}

// steps are the names of what can be done to a root.
var steps = map[string]struct{ may, do func(Roots) error }{
	"prepare":  {nothing, Roots.PrepareRoot},
	"activate": {Roots.MayActivateRoot, Roots.ActivateRoot},
	"retire":   {Roots.MayRetireRoot, Roots.RetireRoot},
	"abandon":  {nothing, Roots.AbandonRoot},
}

func nothing(Roots) error { return nil }

// answer is what every request is answered with.
type answer struct {
	Roots []Root `json:"roots,omitempty"`
	Error string `json:"error,omitempty"`
	// NotYet says that Error can be forced.
	NotYet bool `json:"notYet,omitempty"`
}

// Serve serves the socket until ctx ends.
func Serve(ctx context.Context, l net.Listener, r Roots, log *zap.Logger) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/roots", func(w http.ResponseWriter, _ *http.Request) { reply(w, r, nil) })
	mux.HandleFunc("POST /v1/roots/{step}", func(w http.ResponseWriter, req *http.Request) {
		step, ok := steps[req.PathValue("step")]
		if !ok {
			http.NotFound(w, req)
			return
		}
		var err error
		if req.URL.Query().Get("force") == "" {
			err = step.may(r)
		}
		if err == nil {
			err = step.do(r)
		}
		reply(w, r, err)
	})
	owner := attest.Selectors{UIDs: []uint32{0, uint32(os.Geteuid())}}
	server := &http.Server{
		Handler: attest.Only(owner, mux, log), ConnContext: attest.ConnContext, ReadTimeout: time.Second, MaxHeaderBytes: 4 << 10,
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve admin socket: %w", err)
	}
	return nil
}

func reply(w http.ResponseWriter, r Roots, err error) {
	a := answer{Roots: r.Roots()}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		a.Error, a.NotYet = err.Error(), errors.Is(err, ErrNotYet)
		w.WriteHeader(http.StatusConflict)
	}
	_ = json.NewEncoder(w).Encode(a) // a peer that is gone has no use for it
}

// Client asks a running authority.
type Client struct{ http http.Client }

// Dial makes a client of the authority whose socket that is.
func Dial(socket string) *Client {
	var d net.Dialer
	return &Client{http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Roots are the roots of the bundle, the newest first.
func (c *Client) Roots(ctx context.Context) ([]Root, error) {
	return c.ask(ctx, http.MethodGet, "/v1/roots")
}

// Step takes a step, and gives the roots after it. It fails with ErrNotYet if it
// must be forced.
func (c *Client) Step(ctx context.Context, step string) ([]Root, error) {
	return c.ask(ctx, http.MethodPost, "/v1/roots/"+step)
}

// ForceStep takes a step even if it breaks what others do now.
func (c *Client) ForceStep(ctx context.Context, step string) ([]Root, error) {
	return c.ask(ctx, http.MethodPost, "/v1/roots/"+step+"?force=yes")
}

func (c *Client) ask(ctx context.Context, method, path string) ([]Root, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://authority"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the authority: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask the authority: %w", err)
	}
	var a answer
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&a); err != nil {
		return nil, fmt.Errorf("ask the authority: it answers %s", resp.Status)
	}
	switch {
	case a.NotYet:
		return a.Roots, notYetError(a.Error)
	case a.Error != "":
		return a.Roots, errors.New(a.Error)
	}
	return a.Roots, nil
}

// notYetError is ErrNotYet in the authority's words.
type notYetError string

func (e notYetError) Error() string        { return string(e) }
func (e notYetError) Is(target error) bool { return target == ErrNotYet }
