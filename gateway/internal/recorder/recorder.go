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

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
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

var (
	// ErrFull says that the spool holds as much as it may: crossings are refused
	// until the control plane has taken some.
	ErrFull = spool.ErrFull
	// ErrClosed says that the spool was closed.
	ErrClosed = spool.ErrClosed
	// ErrStalled says that the spool's disk does not answer.
	ErrStalled = spool.ErrStalled
	// ErrInUse says that another gateway uses the spool.
	ErrInUse = disk.ErrInUse
)

// Config is what a recorder is made of.
type Config struct {
	// System is the file system; the machine's own if nil.
	System disk.System
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
	// Patience is how long the disk may take for one write or sync, before crossings
	// are refused; 5 s if zero.
	Patience time.Duration
	// Connect gives the service that takes the frames. It is called again after
	// each failure.
	Connect func(ctx context.Context) (controlv1.CrossingServiceClient, error)
	// Books are told of all that is recorded; nil if nobody keeps any.
	Books Books
	// Log may be nil.
	Log *zap.Logger

	segment int64 // how large a segment becomes, in bytes; spool.SegmentSize if zero
}

// Recorder records for one run of one gateway. Make it with New, then Run it
// once; Open, Close, Next and Refuse may be called concurrently from New on.
type Recorder struct {
	cfg      Config
	self     writer
	encoder  *crossing.Encoder
	spool    *spool.Spool
	open     *openSet
	refusals *crossing.Refusals
	late     late
	outages  outages
	runs     *runs // nil for one that was taken over
	left     left

	library *library      // nil without books
	index   uint64        // of the directory in it
	loose   chan struct{} // holds one signal: statements have made room

	// ending is held for reading from an end's append until the open set knows
	// of it, and for writing while the open set is saved.
	ending sync.RWMutex

	trimming sync.Mutex // held while segments are removed; guards trimmed
	trimmed  uint32     // the highest segment that is not needed to know what is open

	counting sync.RWMutex // guards numbers, whose counters count by themselves
	numbers  map[string]*atomic.Uint64
}

// New begins a run in the spool. Run takes over what earlier ones have left,
// and closes their open crossings as GATEWAY_STOPPED. It fails with ErrInUse if
// another gateway uses the spool.
func New(cfg Config) (*Recorder, error) {
	cfg = cfg.withDefaults()
	all, err := openRuns(&cfg)
	if err != nil {
		return nil, err
	}
	cfg.Lock = nil
	r, err := all.begin(cfg)
	if err != nil {
		return nil, errors.Join(err, all.lock.Close())
	}
	r.spool.Bound(r.cfg.MaxBytes - all.size())
	return r, nil
}

func (c Config) withDefaults() Config {
	if c.System == nil {
		c.System = disk.OS{}
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMax
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.segment == 0 {
		c.segment = spool.SegmentSize
	}
	return c
}

// RunID is this run's id: 32 hex digits, new at each start.
func (r *Recorder) RunID() string { return r.self.run }

// Next is the next number, from 1, of the pair with that ingress gateway; with
// "", of the chain of crossings that this gateway refused at egress.
func (r *Recorder) Next(ingress string) uint64 {
	if r.cfg.Books != nil {
		return r.cfg.Books.Next(ingress)
	}
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
// half is written and, if durable, on stable storage. It fails with ErrFull, with
// ErrStalled, with ErrClosed, or with what the disk said: then the crossing may not
// happen. If it goesOn all the same, its half is kept in memory, as long as there is
// room, and written when the disk is back. The half is the caller's again.
func (r *Recorder) Open(h *crossingv1.Half, durable, goesOn bool) error {
	if err := r.begun(h, durable, goesOn); err != nil {
		r.tellUnopened(h)
		return fmt.Errorf("record crossing %s: %w", h.GetId(), err)
	}
	return nil
}

func (r *Recorder) begun(h *crossingv1.Half, durable, goesOn bool) error {
	e := r.spool.Entry()
	defer r.spool.Free(e)
	if err := e.Seal(r.encoder.AppendOpen(e.Room(), h)); err != nil {
		return err
	}
	// Noted first: the delivery may trim the segment that it is written to.
	if err := r.open.opened(r.self, h); err != nil {
		return err
	}
	err := r.spool.Append(e, spool.Kind{Durable: durable, Limited: true, Held: r.cfg.Books != nil})
	if err == nil {
		r.tellOpened(h, e)
		return nil
	}
	if r.unwritten(e.Payload(), err, goesOn) {
		return nil
	}
	r.open.forget(r.self, h)
	return err
}

// Close records a crossing's end. It is written when Close returns nil and
// synced soon after. When the disk fails, the end waits in memory and is written
// later; the error says so, but where it waits behind others. The end is the
// caller's again.
func (r *Recorder) Close(c *crossingv1.Close) error {
	e := r.spool.Entry()
	defer r.spool.Free(e)
	err := e.Seal(r.encoder.AppendClose(e.Room(), c))
	if err == nil {
		if r.late.waits.Load() {
			r.late.end(e.Payload())
			return nil
		}
		if err = r.end(e, r.self, c); err != nil {
			r.late.end(e.Payload())
		}
	}
	if err != nil { // one that cannot be encoded would never do; the next start closes the crossing
		return fmt.Errorf("record the end of crossing %s: %w", c.GetId(), err)
	}
	return nil
}

// end writes an end.
func (r *Recorder) end(e *spool.Entry, by writer, c *crossingv1.Close) error {
	if err := r.appendEnd(e, by, c); err != nil {
		return err
	}
	if r.cfg.Books != nil {
		r.cfg.Books.Closed(c, e.Payload(), place(r.index, e.At()))
	}
	return nil
}

func (r *Recorder) appendEnd(e *spool.Entry, by writer, c *crossingv1.Close) error {
	r.ending.RLock()
	defer r.ending.RUnlock()
	if err := r.spool.Append(e, spool.Kind{Held: r.cfg.Books != nil}); err != nil {
		return err
	}
	r.open.ended(by, c)
	return nil
}

// endLate writes an end of before, or keeps it for later.
func (r *Recorder) endLate(f *crossingv1.Frame) error {
	e := r.spool.Entry()
	defer r.spool.Free(e)
	if err := e.Seal(crossing.AppendFrame(e.Room(), f)); err != nil {
		return err
	}
	err := r.end(e, writerOf(f), f.GetClose())
	if err != nil {
		r.late.end(e.Payload())
	}
	return err
}

// tellOpened tells the books of an opening that was written.
func (r *Recorder) tellOpened(h *crossingv1.Half, e *spool.Entry) {
	if r.cfg.Books != nil {
		r.cfg.Books.Opened(h, e.Payload(), place(r.index, e.At()))
	}
}

// tellUnopened tells the books of an opening that was not.
func (r *Recorder) tellUnopened(h *crossingv1.Half) {
	switch {
	case r.cfg.Books == nil:
	case h.GetSide() == crossingv1.Side_EGRESS:
		r.cfg.Books.Void(h.GetKey().GetIngress(), h.GetKey().GetSequence())
	default:
		r.cfg.Books.Unrecorded(h)
	}
}

// Refuse counts a failure before there was an identity. It never blocks.
func (r *Recorder) Refuse(reason crossingv1.Reason, addr netip.AddrPort, listener, detail string) {
	r.refusals.Add(reason, addr, listener, detail, time.Now())
}

// Pending is the bytes that wait for an acknowledgement, those of earlier runs
// that were taken over among them.
func (r *Recorder) Pending() uint64 {
	pending := r.spool.Waiting()
	for _, left := range r.left.all() {
		pending += left.spool.Waiting()
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
	if r.library != nil {
		flushing.Go(func() { r.keepBooks(ctx) })
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
	if n := r.late.count(); n > 0 {
		r.cfg.Log.Error("records were never written", zap.Int("count", n))
	}
	err := r.spool.Close()
	if r.runs != nil {
		err = errors.Join(err, r.library.saveChains(), r.leave(), r.runs.unlock())
	}
	return err
}

// awaitDelivered waits for a bounded time until nothing waits.
func (r *Recorder) awaitDelivered() {
	timer := time.NewTimer(finalDelivery)
	defer timer.Stop()
	for {
		_, moved := r.spool.Acknowledged()
		if r.spool.Waiting() == 0 {
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

// flush writes counts of refusals, and what could not be written, until the
// context ends.
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

// flushOnce writes what is late, that an outage has ended, and the refusals of the
// seconds before a time.
func (r *Recorder) flushOnce(before time.Time) {
	if r.writeLate() == nil {
		r.endOutage()
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
// it returns nil the frame is written and, if durable, on stable storage. Where the
// spool is full there is room for statements and the keys that they are signed with:
// without them it might never have room again.
func (r *Recorder) Say(f *crossingv1.Frame, durable bool) error {
	e := r.spool.Entry()
	defer r.spool.Free(e)
	f.Gateway, f.Run = r.self.gateway, r.self.run
	if err := e.Seal(crossing.AppendFrame(e.Room(), f)); err != nil {
		return err
	}
	makesRoom := f.GetStatement() != nil || f.GetAnnouncement() != nil
	return r.spool.Append(e, spool.Kind{Durable: durable, Limited: !makesRoom})
}
