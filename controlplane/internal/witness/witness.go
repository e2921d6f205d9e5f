// Package witness cosigns the checkpoints of logs that it has seen grow: it
// speaks tlog-witness and tlog-cosignature of C2SP (https://c2sp.org). It keeps
// no entry and reads none. Its one invariant: for no origin does it cosign two
// checkpoints of which the later one does not contain the earlier one, across
// crashes too. It links little, so that an auditor can read it whole.
package witness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
)

// DefaultListen is where a witness listens unless told.
const DefaultListen = "127.0.0.1:8448"

// Config is what a witness is made of.
type Config struct {
	// Listen is the host:port of the HTTP interface; DefaultListen if empty.
	Listen string
	// Name is the witness's key name, by habit a URL without a scheme.
	Name string
	// URL is where logs reach the witness, for KeyLine; empty if nobody is told.
	URL string
	// Dir holds what was cosigned, evidence, and the key; made if it is missing.
	Dir string
	// Key is the file of the private key, made if it is missing; witness.key in Dir
	// if empty.
	Key string
	// Logs are the logs whose checkpoints it cosigns.
	Logs []Log
	// Log takes the log; nil for none.
	Log *zap.Logger
}

// Log is one log that a witness knows.
type Log struct {
	// Origin is the first line of its checkpoints.
	Origin string
	// Keys are the verifier keys (signed-note) of which any may sign a checkpoint.
	// There are several while a key is replaced.
	Keys []string
}

// Validate says what is wrong with a config, all at once.
func (c Config) Validate() error {
	var faults []error
	if _, _, err := net.SplitHostPort(c.Listen); c.Listen != "" && err != nil {
		faults = append(faults, fmt.Errorf("listen: %q is not HOST:PORT", c.Listen))
	}
	if !validName(c.Name) || slices.Contains(policyWords, c.Name) || strings.Contains(c.Name, "#") {
		faults = append(faults, fmt.Errorf("name: %q must be set, without spaces, plus or #, and no word of policy files: it is in each cosignature", c.Name))
	}
	if c.URL != "" && !validURL(c.URL) {
		faults = append(faults, fmt.Errorf("url: %q is not http(s)://HOST with a path or none", c.URL))
	}
	if c.Dir == "" {
		faults = append(faults, errors.New("dir: must be set: it is what the witness remembers by"))
	}
	if len(c.Logs) == 0 {
		faults = append(faults, errors.New("logs: there are none to witness"))
	}
	seen := map[string]bool{}
	for i, l := range c.Logs {
		_, err := l.verifiers()
		if err == nil && seen[l.Origin] {
			err = fmt.Errorf("%q is there twice", l.Origin)
		}
		seen[l.Origin] = true
		if err != nil {
			faults = append(faults, fmt.Errorf("logs[%d]: %w", i, err))
		}
	}
	return errors.Join(faults...)
}

// Witness is a running witness. Make it with New, then Run it once.
type Witness struct {
	log      *zap.Logger
	key      *cosigner
	memory   *memory
	logs     map[string]*witnessed // by origin; fixed
	byHash   map[string]*witnessed // by the origin's hash, as in URLs; fixed
	listener net.Listener
	now      func() time.Time
}

// New takes the directory for this process, reads what was cosigned before, and
// binds the listener. It fails if what was cosigned cannot be told: a witness
// that has forgotten would cosign a fork. Run it, or what it holds stays open.
func New(cfg Config) (*Witness, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if cfg.Key == "" {
		cfg.Key = filepath.Join(cfg.Dir, keyName)
	}
	w := &Witness{
		log: cfg.Log.Named("witness"), now: time.Now,
		logs: map[string]*witnessed{}, byHash: map[string]*witnessed{},
	}
	if err := w.build(cfg); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *Witness) build(cfg Config) error {
	var err error
	if w.memory, err = openMemory(cfg.Dir); err != nil {
		return err
	}
	if w.key, err = w.memory.openKey(cfg.Key, cfg.Name); err != nil {
		return err
	}
	heads, err := w.memory.recall(w.key, cfg.Logs)
	if err != nil {
		return err
	}
	for _, l := range cfg.Logs {
		keys, err := l.verifiers()
		if err != nil {
			return err
		}
		one := &witnessed{origin: l.Origin, keys: keys, last: heads[l.Origin]}
		if one.evidence, err = openEvidence(filepath.Join(cfg.Dir, evidenceName, originHash(l.Origin))); err != nil {
			return err
		}
		w.logs[l.Origin], w.byHash[originHash(l.Origin)] = one, one
	}
	if w.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	w.log.Info("witness ready", zap.Stringer("address", w.Addr()), zap.String("vkey", w.VKey()), zap.Int("logs", len(w.logs)))
	return nil
}

// Addr is where the witness listens.
func (w *Witness) Addr() net.Addr { return w.listener.Addr() }

// VKey is the witness's verifier key (signed-note, of type 0x04), for logs and
// for those who check cosignatures.
func (w *Witness) VKey() string { return w.key.vkey() }

// Run serves until ctx ends, finishes the requests that are under way, and
// closes everything then. If it fails, the directory stays this process's until it
// ends: a request may still be writing to it.
func (w *Witness) Run(ctx context.Context) error {
	err := w.serve(ctx)
	if err == nil {
		w.close()
	}
	return err
}

func (w *Witness) serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           w.handler(),
		ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHead,
		ErrorLog:       zap.NewStdLog(w.log.Named("http").WithOptions(zap.IncreaseLevel(zap.WarnLevel))),
	}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		drained <- server.Shutdown(late)
	})
	err := server.Serve(netutil.LimitListener(w.listener, maxConns))
	if stop() {
		return errors.Join(fmt.Errorf("serve: %w", err), server.Close())
	}
	return <-drained
}

func (w *Witness) close() {
	if w.listener != nil {
		w.listener.Close()
	}
	if w.memory != nil {
		w.memory.close()
	}
}
