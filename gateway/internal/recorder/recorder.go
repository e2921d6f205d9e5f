package recorder

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// defaultMax is the spool's size unless told: hours of a busy gateway.
	defaultMax = 1 << 30
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
	// Books are told of all that is recorded; nil if nobody keeps any.
	Books Books
	// Log may be nil.
	Log *zap.Logger
}

// Recorder records for one run of one gateway. Make it with New, then Run it
// once; Open, Close, Next and Refuse may be called concurrently from New on.
type Recorder struct {
	cfg      Config
	self     writer
	encoder  *crossing.Encoder
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

	counting sync.RWMutex // guards numbers, whose counters count by themselves
	numbers  map[string]*atomic.Uint64

	mu sync.Mutex // guards what follows
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

// newRecorder opens one run's directory, its own or one that was left, and writes
// as that run.
func newRecorder(cfg Config, run string, segment int64) (*Recorder, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMax
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	r := &Recorder{
		cfg: cfg, self: writer{cfg.Gateway.String(), run},
		open: newOpenSet(), refusals: crossing.NewRefusals(), numbers: map[string]*atomic.Uint64{},
	}
	var err error
	if r.encoder, err = crossing.NewEncoder(r.self.gateway, r.self.run); err != nil {
		return nil, err
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
	if err := r.open.note(f); err != nil {
		r.cfg.Log.Error("spooled opening that nothing can close", zap.Error(err))
	}
	return nil
}

// stopped closes what earlier runs left open. On a disk that cannot be written
// the ends wait: nothing opens either, and what is there can be delivered.
func (r *Recorder) stopped() {
	for _, k := range r.open.keys() {
		f := k.end()
		f.Close.Cause = crossingv1.Cause_GATEWAY_STOPPED
		if err := r.endLate(f); err != nil {
			r.cfg.Log.Error("crossing that the last run left open not closed",
				zap.String("crossing", f.GetClose().GetId()), zap.Error(err))
		}
	}
}

// RunID is this run's id: 32 hex digits, new at each start.
func (r *Recorder) RunID() string { return r.self.run }

// Next is the next number, from 1, of the pair with that ingress gateway; with
// "", of the chain of crossings that this gateway refused at egress.
func (r *Recorder) Next(ingress string) uint64 {
	r.counting.RLock()
	n := r.numbers[ingress]
	r.counting.RUnlock()
	if n == nil {
		n = r.begin(ingress)
	}
	return n.Add(1)
}

// begin makes sure of the numbers of a pair.
func (r *Recorder) begin(ingress string) *atomic.Uint64 {
	r.counting.Lock()
	defer r.counting.Unlock()
	n := r.numbers[ingress]
	if n == nil {
		n = new(atomic.Uint64)
		r.numbers[strings.Clone(ingress)] = n
	}
	return n
}

// Open records that a crossing opened, or was refused. When it returns nil the
// half is written and, if durable, on stable storage. It fails with ErrFull,
// with ErrClosed, or with what the disk said: then the crossing may not happen.
// If it goesOn all the same, its half is kept in memory and written when the disk
// is back, as long as there is room. The half is the caller's again.
func (r *Recorder) Open(h *crossingv1.Half, durable, goesOn bool) error {
	if err := r.begun(h, durable); err != nil {
		return fmt.Errorf("record crossing %s: %w", h.GetId(), err)
	}
	return nil
}

func (r *Recorder) begun(h *crossingv1.Half, durable bool) error {
	w := r.spool.entry()
	defer r.spool.free(w)
	if err := w.seal(r.encoder.AppendOpen(w.entry, h)); err != nil {
		return err
	}
	// Noted first: the delivery may trim the segment that it is written to.
	if err := r.open.opened(r.self, h); err != nil {
		return err
	}
	err := r.spool.append(w, durable, true)
	if err != nil {
		r.open.forget(r.self, h)
	}
	return err
}

// Close records a crossing's end. It is written when Close returns nil and
// synced soon after. When the disk fails, the end waits in memory and is
// written later; the error says so. The end is the caller's again.
func (r *Recorder) Close(c *crossingv1.Close) error {
	w := r.spool.entry()
	defer r.spool.free(w)
	err := w.seal(r.encoder.AppendClose(w.entry, c))
	if err == nil {
		if err = r.end(w, r.self, c); err != nil {
			r.keepLate(&crossingv1.Frame{Gateway: r.self.gateway, Run: r.self.run, Close: proto.CloneOf(c)})
		}
	}
	if err != nil { // one that cannot be encoded would never do; the next start closes the crossing
		return fmt.Errorf("record the end of crossing %s: %w", c.GetId(), err)
	}
	return nil
}

// end writes an end.
func (r *Recorder) end(w *waiting, by writer, c *crossingv1.Close) error {
	r.ending.RLock()
	defer r.ending.RUnlock()
	if err := r.spool.append(w, false, false); err != nil {
		return err
	}
	r.open.ended(by, c)
	return nil
}

// endLate writes an end of now or before, or keeps it for later.
func (r *Recorder) endLate(f *crossingv1.Frame) error {
	w := r.spool.entry()
	defer r.spool.free(w)
	if err := w.seal(crossing.AppendFrame(w.entry, f)); err != nil {
		return err
	}
	err := r.end(w, writerOf(f), f.GetClose())
	if err != nil {
		r.keepLate(f)
	}
	return err
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
		if err := r.endLate(f); err != nil {
			r.keepLate(late[i+1:]...) // this one is back already
			r.cfg.Log.Error("ends of crossings still not written", zap.Int("count", len(late)-i), zap.Error(err))
			break
		}
	}
	for _, refusal := range r.refusals.Take(before) {
		if err := r.refused(refusal); err != nil {
			r.refusals.Merge(refusal)
			r.cfg.Log.Error("refusals not written", zap.Error(err))
		}
	}
}

func (r *Recorder) refused(refusal *crossingv1.Refusal) error {
	return r.Say(&crossingv1.Frame{Refusal: refusal}, false)
}

// Applied records that an operator's act was put in force. When it returns nil that
// is on stable storage.
func (r *Recorder) Applied(a *crossingv1.Applied) error {
	if err := r.Say(&crossingv1.Frame{Applied: a}, true); err != nil {
		return fmt.Errorf("record act %s: %w", a.GetAct(), err)
	}
	return nil
}

// Say records a frame that opens and ends no crossing, as this gateway and run. When
// it returns nil the frame is written and, if durable, on stable storage.
func (r *Recorder) Say(f *crossingv1.Frame, durable bool) error {
	w := r.spool.entry()
	defer r.spool.free(w)
	f.Gateway, f.Run = r.self.gateway, r.self.run
	if err := w.seal(crossing.AppendFrame(w.entry, f)); err != nil {
		return err
	}
	return r.spool.append(w, durable, true)
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
