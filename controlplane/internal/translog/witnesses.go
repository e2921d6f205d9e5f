package translog

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	cosignature "github.com/transparency-dev/formats/note"
	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport-mesh/sallyport/certs/durable"
)

const (
	// witnessTimeout bounds one question to a witness.
	witnessTimeout = 5 * time.Second
	// maxCosignatures bounds what a witness answers, in bytes.
	maxCosignatures = 64 << 10
)

// Witness is asked to cosign a log's checkpoints (C2SP tlog-witness).
type Witness struct {
	// Key is its verifier key, of the type of cosignature/v1 (C2SP tlog-cosignature).
	Key string
	// URL is what "/add-checkpoint" comes behind.
	URL string
	// For are the trust domains whose logs it is asked to cosign; all if there are none.
	For []string
}

// asksFor says that it is asked to cosign the log of a trust domain.
func (w Witness) asksFor(td string) bool { return len(w.For) == 0 || slices.Contains(w.For, td) }

// Name is the witness's name; "" of one that is none.
func (w Witness) Name() string { name, _, _ := strings.Cut(w.Key, "+"); return name }

// Check says what is wrong with a witness.
func (w Witness) Check() error {
	_, err := w.verifier()
	return err
}

// verifier verifies its cosignatures. The error says what is wrong with the witness.
func (w Witness) verifier() (note.Verifier, error) {
	v, err := cosignature.NewVerifierForCosignatureV1(w.Key)
	if err != nil {
		return nil, fmt.Errorf("witness %q: %w", w.Key, err)
	}
	if !strings.HasPrefix(w.URL, "http://") && !strings.HasPrefix(w.URL, "https://") {
		return nil, fmt.Errorf("witness %s: %q is no http or https URL", w.Name(), w.URL)
	}
	return v, nil
}

// Cosigned says how far a witness has come.
type Cosigned struct {
	// Witness is its name.
	Witness string
	// Size is the size of the last tree that it has cosigned; 0 if none is known.
	Size uint64
	// Failed is why it has not cosigned the last checkpoint; nil if it has.
	Failed error
}

// witnesses has the log's checkpoints cosigned. Nothing waits for it: a witness that is
// late is told of, and what is logged is logged.
type witnesses struct {
	reader *Reader
	log    *zap.Logger
	asked  []*asked

	mu   sync.Mutex // guards what follows
	size uint64     // of the checkpoint that lines are of
}

// asked is a witness, and what it has answered. The witnesses' mutex guards size, lines
// and failed.
type asked struct {
	Witness

	known  note.Verifier // of its cosignatures
	client *http.Client
	size   uint64 // of the last tree that it has cosigned
	lines  string // its signatures of the last checkpoint
	failed error
}

func newWitnesses(r *Reader, all []Witness, log *zap.Logger) (*witnesses, error) {
	w := &witnesses{reader: r, log: log}
	for _, one := range all {
		v, err := one.verifier()
		if err != nil {
			return nil, err
		}
		client := &http.Client{Timeout: witnessTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		w.asked = append(w.asked, &asked{Witness: one, known: v, client: client})
	}
	return w, nil
}

// run has each new checkpoint cosigned until ctx ends.
func (w *witnesses) run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if c, err := w.reader.Checkpoint(ctx); err == nil && c.Size > 0 {
			w.cosign(ctx, c)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// cosign asks all witnesses that have not cosigned a checkpoint yet, and keeps it with what
// they have signed.
func (w *witnesses) cosign(ctx context.Context, c *Checkpoint) {
	w.mu.Lock()
	if w.size != c.Size {
		w.size = c.Size
		for _, a := range w.asked {
			a.lines = ""
		}
	}
	w.mu.Unlock()
	var asking sync.WaitGroup
	for _, a := range w.asked {
		if a.lines == "" {
			asking.Go(func() { w.ask(ctx, a, c) })
		}
	}
	asking.Wait()
	w.keep(c)
}

// ask asks one witness, and takes note of what it says.
func (w *witnesses) ask(ctx context.Context, a *asked, c *Checkpoint) {
	size, lines, err := a.add(ctx, w.reader, c)
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && a.failed == nil {
		w.log.Warn("witness does not cosign", zap.String("log", c.Origin), zap.String("witness", a.Name()), zap.Error(err))
	}
	if err == nil && a.failed != nil {
		w.log.Info("witness cosigns again", zap.String("log", c.Origin), zap.String("witness", a.Name()))
	}
	a.size, a.lines, a.failed = size, lines, err
}

// keep writes the checkpoint with all cosignatures that there are, if there are others
// than before.
func (w *witnesses) keep(c *Checkpoint) {
	text := bytes.Clone(c.Note)
	for _, a := range w.asked {
		text = append(text, a.lines...)
	}
	if len(text) == len(c.Note) {
		return
	}
	if was, err := w.reader.Cosigned(); err == nil && was != nil && bytes.Equal(was.Note, text) {
		return
	}
	if err := durable.Replace(w.reader.cosignedPath(), text, 0o644); err != nil {
		w.log.Error("cosignatures not kept", zap.String("log", c.Origin), zap.Error(err))
	}
}

// cosigned is how far each witness has come.
func (w *witnesses) cosigned() (all []Cosigned) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.asked {
		all = append(all, Cosigned{a.Name(), a.size, a.failed})
	}
	return all
}

// cosignedName is the file of the last checkpoint with cosignatures.
const cosignedName = "cosigned"

func (r *Reader) cosignedPath() string { return filepath.Join(r.dir, cosignedName) }

// Cosigned is the last checkpoint that a witness has cosigned, with all cosignatures. The
// error is fs.ErrNotExist if there is none.
func (r *Reader) Cosigned() (*Checkpoint, error) { return r.checkpointIn(r.cosignedPath()) }

// errAhead is of a witness that has cosigned more than there is.
var errAhead = errors.New("it has cosigned a larger tree than the log has: the log was put back to what it was")

// add has a witness cosign a checkpoint. It gives the size that the witness is known to
// have cosigned, and its signatures, each a line.
func (a *asked) add(ctx context.Context, r *Reader, c *Checkpoint) (size uint64, lines string, err error) {
	size = a.size
	for range 2 { // once more, from where it says that it is
		if size > c.Size {
			return size, "", fmt.Errorf("%w: %d entries, and not %d", errAhead, size, c.Size)
		}
		code, body, err := a.post(ctx, r, size, c)
		switch {
		case err != nil:
			return size, "", err
		case code == http.StatusOK:
			lines, err := a.verify(c, body)
			return c.Size, lines, err
		case code != http.StatusConflict:
			return size, "", fmt.Errorf("it answers %d: %.200q", code, strings.TrimSpace(body))
		}
		if size, err = strconv.ParseUint(strings.TrimSuffix(body, "\n"), 10, 63); err != nil {
			return a.size, "", fmt.Errorf("it answers 409 without a size: %.200q", body)
		}
	}
	return size, "", errors.New("it does not know the size that it says")
}

// post sends a checkpoint with the proof that it is consistent with a tree of that size.
func (a *asked) post(ctx context.Context, r *Reader, from uint64, c *Checkpoint) (code int, body string, err error) {
	var path [][]byte
	if from > 0 && from < c.Size {
		if path, err = r.Consistency(ctx, from, c.Size); err != nil {
			return 0, "", err
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "old %d\n", from)
	for _, h := range path {
		text.WriteString(base64.StdEncoding.EncodeToString(h) + "\n")
	}
	text.WriteString("\n")
	text.Write(c.Note)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(a.URL, "/")+"/add-checkpoint", strings.NewReader(text.String()))
	if err != nil {
		return 0, "", err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxCosignatures))
	return resp.StatusCode, string(answer), err
}

// verify gives the witness's own signatures of what it answers.
func (a *asked) verify(c *Checkpoint, body string) (lines string, err error) {
	n, err := note.Open([]byte(string(c.Note)+body), note.VerifierList(a.known))
	if err != nil {
		return "", fmt.Errorf("what it signs is not good: %w", err)
	}
	for _, s := range n.Sigs {
		lines += fmt.Sprintf("— %s %s\n", s.Name, s.Base64)
	}
	return lines, nil
}
