package witness

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// What the interface lets strangers use of it: anybody may ask.
const (
	// maxBody has room for a full proof and sixteen signatures of the largest kind
	// known (signed-note), in bytes.
	maxBody        = 128 << 10
	maxHead        = 16 << 10 // bytes
	maxConns       = 512      // at a time; the others wait
	requestTimeout = 10 * time.Second
	idleTimeout    = 2 * time.Minute
)

// handler is the HTTP interface. It needs no TLS: what goes either way is signed
// and public.
func (w *Witness) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.serveAdd)
	mux.HandleFunc("GET /{origin}/checkpoint", w.serveCheckpoint)
	return mux
}

func (w *Witness) serveAdd(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	if err != nil {
		code := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			code = http.StatusRequestEntityTooLarge
		}
		http.Error(rw, http.StatusText(code), code)
		return
	}
	line, err := w.add(body)
	if err != nil {
		w.refuse(rw, err)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = rw.Write(line) // whoever asked and went can ask again
}

// refuse is the one map from errors to status codes (tlog-witness).
func (w *Witness) refuse(rw http.ResponseWriter, err error) {
	if conflict := new(conflictError); errors.As(err, &conflict) {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", conflict.cosigned)
		return
	}
	for _, known := range []struct {
		err  error
		code int
	}{
		{errMalformed, http.StatusBadRequest},
		{errUnknownLog, http.StatusNotFound},
		{errSignature, http.StatusForbidden},
		{errInconsistent, http.StatusUnprocessableEntity},
	} {
		if errors.Is(err, known.err) {
			http.Error(rw, err.Error(), known.code) // nothing in it but what was sent
			return
		}
	}
	w.log.Error("nothing can be cosigned: is the disk full, or not writable?", zap.Error(err))
	http.Error(rw, "the witness cannot remember; nothing was cosigned", http.StatusInternalServerError)
}

// serveCheckpoint gives the checkpoint of a log that was cosigned last, for
// monitors (tlog-witness, "Monitor Retrieval Mechanism").
func (w *Witness) serveCheckpoint(rw http.ResponseWriter, r *http.Request) {
	l := w.byHash[r.PathValue("origin")]
	if l == nil {
		http.NotFound(rw, r)
		return
	}
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	if last == nil {
		http.NotFound(rw, r)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = rw.Write(last.signed)
}
