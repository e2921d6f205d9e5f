package witness

import (
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Why a checkpoint is not cosigned (tlog-witness).
var (
	errMalformed    = errors.New("malformed request")
	errUnknownLog   = errors.New("unknown log")
	errSignature    = errors.New("no good signature of the log")
	errInconsistent = errors.New("not shown to be consistent with what was cosigned")
)

// conflictError says that the request begins at another size than the one that
// was cosigned last.
type conflictError struct{ cosigned int64 }

func (e *conflictError) Error() string {
	return fmt.Sprintf("size %d was cosigned last", e.cosigned)
}

// witnessed is a log and what was cosigned of it.
type witnessed struct {
	origin string
	keys   note.Verifiers

	// mu guards what follows. It is held from the check to the disk: of two requests
	// at once the second sees what the first has left.
	mu       sync.Mutex
	last     *head // nil if nothing was cosigned
	evidence *evidence
}

// add is add-checkpoint: it gives the cosignature, a line of a note, once the
// checkpoint that it is for is remembered.
func (w *Witness) add(body []byte) ([]byte, error) {
	r, err := parseRequest(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	l := w.logs[r.origin]
	if l == nil {
		return nil, errUnknownLog
	}
	n, cp, err := l.open(r.note)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check(r, cp); err != nil {
		w.judge(l, r, cp, body)
		return nil, err
	}
	return w.cosign(l, n, cp)
}

// open verifies the note with the log's keys. Every known key's signature must
// be good (signed-note).
func (l *witnessed) open(signed []byte) (*note.Note, checkpoint, error) {
	n, err := note.Open(signed, l.keys)
	var invalid *note.InvalidSignatureError
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &invalid) || errors.As(err, &unverified) {
		return nil, checkpoint{}, errSignature
	}
	if err != nil {
		return nil, checkpoint{}, fmt.Errorf("%w: the checkpoint is no signed note", errMalformed)
	}
	cp, err := parseCheckpoint(n.Text)
	if err != nil {
		return nil, checkpoint{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return n, cp, nil
}

// check holds a checkpoint against the one cosigned last, in the order that the
// standard has.
func (l *witnessed) check(r request, cp checkpoint) error {
	var last checkpoint // of size 0: every tree contains the empty one
	if l.last != nil {
		last = l.last.checkpoint
	}
	if r.old > cp.size {
		return fmt.Errorf("%w: the old size %d is beyond the checkpoint's, %d", errMalformed, r.old, cp.size)
	}
	if r.old != last.size {
		return &conflictError{cosigned: last.size}
	}
	if cp.size == 0 && cp.root != emptyRoot {
		return fmt.Errorf("%w: the root is not that of the empty tree", errInconsistent)
	}
	if last.size == 0 {
		if len(r.proof) > 0 {
			return fmt.Errorf("%w: nothing is proven of the empty tree", errInconsistent)
		}
		return nil
	}
	if err := tlog.CheckTree(r.proof, cp.size, cp.root, last.size, last.root); err != nil {
		return fmt.Errorf("%w: the proof does not lead from size %d to %d", errInconsistent, last.size, cp.size)
	}
	return nil
}

// judge says what a checkpoint that is refused, and that the log has signed,
// shows of the log, and keeps it.
func (w *Witness) judge(l *witnessed, r request, cp checkpoint, body []byte) {
	if l.last == nil || l.last.size == 0 {
		return
	}
	fields := []zap.Field{
		zap.String("origin", l.origin), zap.Int64("cosigned_size", l.last.size), zap.Stringer("cosigned_root", l.last.root),
		zap.Int64("submitted_size", cp.size), zap.Stringer("submitted_root", cp.root),
	}
	f := finding{Origin: l.origin, Time: w.now().UTC(), Cosigned: string(l.last.signed), Submitted: string(body)}
	switch {
	case cp.size < l.last.size:
		f.Kind = smaller
	case cp.size == l.last.size && cp.root == l.last.root:
		return
	case cp.size == l.last.size:
		f.Kind = forked
	case r.old != l.last.size: // whoever submits it does not know yet where to begin
		return
	default:
		f.Kind = unproven
	}
	path, isNew, err := l.evidence.keep(f, cp)
	if !isNew {
		return // it was said
	}
	say, message := w.log.Warn, map[string]string{
		forked:   "log forked: it signed two checkpoints of one size",
		smaller:  "checkpoint has fewer entries than the one cosigned",
		unproven: "checkpoint is not shown to contain the one cosigned",
	}[f.Kind]
	if f.Kind == forked {
		say = w.log.Error
	}
	say(message, append(fields, zap.String("evidence", path), zap.Error(err))...)
}

// cosign remembers the checkpoint and then gives its cosignature.
func (w *Witness) cosign(l *witnessed, n *note.Note, cp checkpoint) ([]byte, error) {
	seconds := w.seconds(l)
	if l.last != nil && l.last.text == n.Text && l.last.seconds == seconds {
		return l.last.line(), nil // the very same cosignature
	}
	h, err := w.key.cosign(n, cp, seconds)
	if err != nil {
		return nil, err
	}
	if err := w.memory.keep(h); err != nil {
		return nil, err
	}
	l.last = h
	return h.line(), nil
}

// seconds is the time of a cosignature. It says that no larger tree was seen
// until then, so that it never goes back, whatever the clock does.
func (w *Witness) seconds(l *witnessed) uint64 {
	now := uint64(max(w.now().Unix(), 1))
	if l.last == nil || now >= l.last.seconds {
		return now
	}
	w.log.Warn("the clock is behind the last cosignature, whose time is used",
		zap.String("origin", l.origin), zap.Uint64("clock", now), zap.Uint64("cosigned", l.last.seconds))
	return l.last.seconds
}
