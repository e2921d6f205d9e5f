package recorder

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// defaultMax is the spool's size unless told: hours of a busy gateway.
	defaultMax = 1 << 30
	// usualFrame is as long as nearly all frames are, in bytes.
	usualFrame = 2 << 10
	// finalDelivery bounds the delivery of what is left when the gateway stops.
	finalDelivery = 2 * time.Second
	// flushInterval is how often counts of refusals and ends that could not be
	// written go to the spool.
	flushInterval = time.Second
)

// Config is what a recorder is made of.
type Config struct {
	// Dir holds the spool, with a directory for each run; it is made if need be,
	// and locked.
	Dir string
	// Lock is Dir's lock if the process that this one takes the place of has
	// handed it over; nil to take it.
	Lock *os.File
	// Gateway is the SPIFFE ID of the gateway whose halves these are.
	Gateway spiffeid.ID
	// MaxBytes is the most that may wait in the spool, of all runs together; 1 GiB
	// if zero.
	MaxBytes int64
	// Connect gives the service that takes the frames. It is called again after
	// each failure.
	Connect func(ctx context.Context) (controlv1.CrossingServiceClient, error)
	// Log may be nil.
	Log *zap.Logger
}

// Recorder records for one run of one gateway. Make it with New, then Run it
// once; Open, Close, Next and Refuse may be called concurrently from New on.
type Recorder struct {
	cfg      Config
	run      string
	spool    *spool
	acked    *acknowledged
	open     *openSet
	refusals *crossing.Refusals
	trimmed  uint32                   // segments before this one are gone; the delivery's own
	runs     *runs                    // nil for one that was taken over
	left     atomic.Pointer[Recorder] // an earlier run that is being delivered; nil if none is

	// ending is held for reading from an end's append until the open set knows
	// of it, and for writing while the open set is saved.
	ending sync.RWMutex

	mu      sync.Mutex // guards what follows
	numbers map[string]uint64
	// late are ends that could not be written yet: at most one for each crossing
	// that was open when the disk failed, as no other opens until it is back.
	late []*crossingv1.Frame
}

// New begins a run in the spool. Run takes over what earlier ones have left,
// and closes their open crossings as GATEWAY_STOPPED. It fails with ErrInUse if
// another gateway uses the spool.
func New(cfg Config) (*Recorder, error) {
	all, err := openRuns(&cfg)
	if err != nil {
		return nil, err
	}
	cfg.Lock = nil
	r, err := all.begin(cfg)
	if err != nil {
		return nil, errors.Join(err, all.lock.Close())
	}
	r.spool.bound(r.cfg.MaxBytes - all.size())
	return r, nil
}

// newRecorder opens one run's directory, its own or one that was left.
func newRecorder(cfg Config, segment int64) (*Recorder, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMax
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	r := &Recorder{
		cfg: cfg, run: crossing.NewRun(), open: newOpenSet(), refusals: crossing.NewRefusals(),
		numbers: map[string]uint64{},
	}
	if err := r.openFiles(segment); err != nil {
		return nil, err
	}
	r.stopped()
	r.trim(r.acked.position()) // what an earlier run did not come to
	return r, nil
}

// openFiles opens everything under the directory's lock.
func (r *Recorder) openFiles(segment int64) error {
	dir := r.cfg.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	if err := r.open.load(dir); err != nil {
		return errors.Join(err, lock.Close())
	}
	if r.acked, err = openAcknowledged(dir, r.cfg.Log); err != nil {
		return errors.Join(err, lock.Close())
	}
	if r.spool, err = openSpool(&r.cfg, lock, r.acked.position(), segment, r.recover); err != nil {
		return errors.Join(err, r.acked.close(), lock.Close())
	}
	return nil
}

// recover learns from an earlier run's frame what was open.
func (r *Recorder) recover(payload []byte) error {
	f, err := crossing.UnmarshalFrame(payload)
	if err != nil {
		// Its checksum is right, so this version did not write it. It is
		// delivered all the same, and the control plane judges it.
		r.cfg.Log.Error("spooled frame not understood", zap.Error(err))
		return nil
	}
	r.open.note(f)
	return nil
}

// stopped closes what earlier runs left open. On a disk that cannot be written
// the ends wait: nothing opens either, and what is there can be delivered.
func (r *Recorder) stopped() {
	for _, f := range r.open.all() {
		f.Close.Cause = crossingv1.Cause_GATEWAY_STOPPED
		if err := r.end(f); err != nil {
			r.cfg.Log.Error("crossing that the last run left open not closed",
				zap.String("crossing", f.GetClose().GetId()), zap.Error(err))
		}
	}
}

// RunID is this run's id: 32 hex digits, new at each start.
func (r *Recorder) RunID() string { return r.run }

// Next is the next number, from 1, of the pair with that ingress gateway; with
// "", of the chain of crossings that this gateway refused at egress.
func (r *Recorder) Next(ingress string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.numbers[ingress]++
	return r.numbers[ingress]
}

// Open records that a crossing opened, or was refused. When it returns nil the
// half is written and, if durable, on stable storage. It fails with ErrFull,
// with ErrClosed, or with what the disk said: then the crossing may not happen.
func (r *Recorder) Open(_ context.Context, h *crossingv1.Half, durable bool) error {
	f := &crossingv1.Frame{Gateway: r.cfg.Gateway.String(), Run: r.run, Open: h}
	// Noted first: the delivery may trim the segment that it is written to.
	r.open.note(f)
	if err := r.append(f, durable, true); err != nil {
		r.open.forget(h)
		return fmt.Errorf("record crossing %s: %w", h.GetId(), err)
	}
	return nil
}

// Close records a crossing's end. It is written when Close returns nil and
// synced soon after. When the disk fails, the end waits in memory and is
// written later; the error says so.
func (r *Recorder) Close(c *crossingv1.Close) error {
	err := r.end(&crossingv1.Frame{Gateway: r.cfg.Gateway.String(), Run: r.run, Close: c})
	if err != nil {
		return fmt.Errorf("record the end of crossing %s: %w", c.GetId(), err)
	}
	return nil
}

// end writes an end, or keeps it for later.
func (r *Recorder) end(f *crossingv1.Frame) error {
	return withPayload(f, func(payload []byte) error {
		r.ending.RLock()
		defer r.ending.RUnlock()
		if err := r.spool.append(payload, false, false); err != nil {
			r.keepLate(f)
			return err
		}
		r.open.note(f)
		return nil
	}) // one that cannot be encoded would never do; the next start closes the crossing
}

func (r *Recorder) append(f *crossingv1.Frame, durable, limited bool) error {
	return withPayload(f, func(payload []byte) error { return r.spool.append(payload, durable, limited) })
}

// payloads are buffers that hold a usual frame.
var payloads = sync.Pool{New: func() any {
	b := make([]byte, 0, usualFrame)
	return &b
}}

// withPayload calls write with a frame's encoding, which is good until it returns.
func withPayload(f *crossingv1.Frame, write func(payload []byte) error) error {
	b := payloads.Get().(*[]byte)
	defer payloads.Put(b)
	payload, err := crossing.AppendFrame((*b)[:0], f)
	if err != nil {
		return err
	}
	return write(payload)
}

// Refuse counts a failure before there was an identity. It never blocks.
func (r *Recorder) Refuse(reason crossingv1.Reason, addr netip.AddrPort, listener, detail string) {
	r.refusals.Add(reason, addr, listener, detail, time.Now())
}

// Pending is the bytes that wait for an acknowledgement, those of an earlier run
// that was taken over among them.
func (r *Recorder) Pending() uint64 {
	pending := r.spool.waiting()
	if left := r.left.Load(); left != nil {
		pending += left.spool.waiting()
	}
	return pending
}

// Run delivers until the context ends, what earlier runs left included, then
// what is left for a bounded time, and closes the spool.
func (r *Recorder) Run(ctx context.Context) error {
	delivering, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var flushing, delivery sync.WaitGroup
	flushing.Go(func() { r.flush(ctx) })
	if r.runs != nil {
		flushing.Go(func() { r.inherit(ctx) })
	}
	delivery.Go(func() { r.deliver(delivering) })
	flushing.Wait() // until the context ends
	r.awaitDelivered()
	stop()
	delivery.Wait()
	return r.CloseSpool()
}

// CloseSpool closes the files of a recorder that was never run.
func (r *Recorder) CloseSpool() error {
	err := errors.Join(r.spool.close(), r.acked.close())
	if r.runs != nil {
		err = errors.Join(err, r.leave(), r.runs.unlock())
	}
	return err
}

// awaitDelivered waits for a bounded time until nothing waits.
func (r *Recorder) awaitDelivered() {
	timer := time.NewTimer(finalDelivery)
	defer timer.Stop()
	for {
		_, moved := r.acked.watch()
		if r.spool.waiting() == 0 {
			return
		}
		select {
		case <-moved:
		case <-timer.C:
			r.cfg.Log.Info("records wait in the spool for the next start", zap.Uint64("bytes", r.Pending()))
			return
		}
	}
}

// flush writes counts of refusals, and ends that could not be written, until
// the context ends.
func (r *Recorder) flush(ctx context.Context) {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			r.flushOnce(time.Now().Add(time.Second)) // this second too: it is the last
			return
		case <-ticker.C:
			r.flushOnce(time.Now())
		}
	}
}

// flushOnce writes late ends, and the refusals of the seconds before a time.
func (r *Recorder) flushOnce(before time.Time) {
	late := r.takeLate()
	for i, f := range late {
		if err := r.end(f); err != nil {
			r.keepLate(late[i+1:]...) // this one is back already
			r.cfg.Log.Error("ends of crossings still not written", zap.Int("count", len(late)-i), zap.Error(err))
			break
		}
	}
	for _, refusal := range r.refusals.Take(before) {
		f := &crossingv1.Frame{Gateway: r.cfg.Gateway.String(), Run: r.run, Refusal: refusal}
		if err := r.append(f, false, true); err != nil {
			r.refusals.Merge(refusal)
			r.cfg.Log.Error("refusals not written", zap.Error(err))
		}
	}
}

func (r *Recorder) keepLate(frames ...*crossingv1.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = append(r.late, frames...)
}

func (r *Recorder) takeLate() []*crossingv1.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	late := r.late
	r.late = nil
	return late
}
