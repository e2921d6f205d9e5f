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
	open map[openKey]*crossingv1.Frame
}

type openKey struct {
	id   string
	side crossingv1.Side
}

func newOpenSet() *openSet { return &openSet{open: map[openKey]*crossingv1.Frame{}} }

// note learns from a frame. What was refused at egress is no open crossing.
func (o *openSet) note(f *crossingv1.Frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := f.GetOpen(); h != nil && h.GetKey().GetIngress() != "" {
		o.open[openKey{h.GetId(), h.GetSide()}] = &crossingv1.Frame{
			Gateway: f.GetGateway(), Run: f.GetRun(),
			Close: &crossingv1.Close{Id: h.GetId(), Key: h.GetKey(), Side: h.GetSide()},
		}
	}
	if c := f.GetClose(); c != nil {
		delete(o.open, openKey{c.GetId(), c.GetSide()})
	}
}

func (o *openSet) forget(id string, side crossingv1.Side) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, openKey{id, side})
}

// all takes everything: each as the frame of an end that lacks its cause.
func (o *openSet) all() []*crossingv1.Frame {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames := make([]*crossingv1.Frame, 0, len(o.open))
	for _, f := range o.open {
		frames = append(frames, f)
	}
	clear(o.open)
	return frames
}

// save writes what is open, before segments go that say so.
func (o *openSet) save(dir string) error {
	o.mu.Lock()
	var text []byte
	for _, f := range o.open {
		payload, err := crossing.MarshalFrame(f)
		if err != nil {
			o.mu.Unlock()
			return err
		}
		text = appendEntry(text, payload)
	}
	o.mu.Unlock()
	path := filepath.Join(dir, openFile)
	if err := writeSynced(path+".new", text); err != nil {
		return fmt.Errorf("save open crossings: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("save open crossings: %w", err)
	}
	return syncDir(dir)
}

// load reads what save wrote.
func (o *openSet) load(dir string) error {
	path := filepath.Join(dir, openFile)
	_, cut, err := scan(path, 0, func(payload []byte, _ int64) error {
		f, err := crossing.UnmarshalFrame(payload)
		if err != nil {
			return err
		}
		o.open[openKey{f.GetClose().GetId(), f.GetClose().GetSide()}] = f
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
