package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// openFile keeps what is open beyond the segment that said so.
const openFile = "open"

// openSet is the crossings that have opened and not ended. A restart closes
// them: whoever reads the record learns that the gateway stopped.
type openSet struct {
	mu   sync.Mutex // guards what follows
	open map[openKey]opened
	last *writer // of what opened last, for the next one is of the same
}

// opened is what the end of a crossing needs beside its openKey, and no more:
// many may be open, for long.
type opened struct {
	key *crossingv1.Key
	by  *writer
}

// writer is who wrote a frame.
type writer struct{ gateway, run string }

// openKey names a half. The id alone does not: an egress gateway chose it, and
// another may have chosen the same.
type openKey struct {
	id, egress, run string
	sequence        uint64
	side            crossingv1.Side
}

func keyOf(id string, k *crossingv1.Key, side crossingv1.Side) openKey {
	return openKey{id, k.GetEgress(), k.GetRun(), k.GetSequence(), side}
}

func newOpenSet() *openSet { return &openSet{open: map[openKey]opened{}} }

// writer is who wrote the frame. The caller holds mu.
func (o *openSet) writer(f *crossingv1.Frame) *writer {
	if w := (writer{f.GetGateway(), f.GetRun()}); o.last == nil || *o.last != w {
		o.last = &w
	}
	return o.last
}

// end is the frame of an end that lacks its cause.
func (o opened) end(k openKey) *crossingv1.Frame {
	return &crossingv1.Frame{
		Gateway: o.by.gateway, Run: o.by.run,
		Close: &crossingv1.Close{Id: k.id, Key: o.key, Side: k.side},
	}
}

// note learns from a frame. What was refused at egress is no open crossing.
func (o *openSet) note(f *crossingv1.Frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := f.GetOpen(); h != nil && h.GetKey().GetIngress() != "" {
		o.open[keyOf(h.GetId(), h.GetKey(), h.GetSide())] = opened{h.GetKey(), o.writer(f)}
	}
	if c := f.GetClose(); c != nil {
		delete(o.open, keyOf(c.GetId(), c.GetKey(), c.GetSide()))
	}
}

func (o *openSet) forget(h *crossingv1.Half) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, keyOf(h.GetId(), h.GetKey(), h.GetSide()))
}

// all is what is open: each as the frame of an end that lacks its cause.
func (o *openSet) all() []*crossingv1.Frame {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames := make([]*crossingv1.Frame, 0, len(o.open))
	for k, v := range o.open {
		frames = append(frames, v.end(k))
	}
	return frames
}

// encode is what saveOpen writes.
func (o *openSet) encode() ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var text []byte
	for k, v := range o.open {
		payload, err := crossing.MarshalFrame(v.end(k))
		if err != nil {
			return nil, err
		}
		text = appendEntry(text, payload)
	}
	return text, nil
}

// saveOpen writes what is open, before segments go that say so.
func saveOpen(dir string, text []byte) error {
	path := filepath.Join(dir, openFile)
	if err := writeSynced(path+".new", text); err != nil {
		return fmt.Errorf("save open crossings: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("save open crossings: %w", err)
	}
	return syncDir(dir)
}

// load reads what saveOpen wrote.
func (o *openSet) load(dir string) error {
	path := filepath.Join(dir, openFile)
	_, cut, err := scan(path, 0, func(payload []byte, _ int64) error {
		f, err := crossing.UnmarshalFrame(payload)
		if err != nil {
			return err
		}
		c := f.GetClose()
		o.open[keyOf(c.GetId(), c.GetKey(), c.GetSide())] = opened{c.GetKey(), o.writer(f)}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && cut {
		err = errTorn
	}
	if err != nil {
		return fmt.Errorf("load open crossings from %q: %w", path, err)
	}
	return nil
}
