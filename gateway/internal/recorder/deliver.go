package recorder

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// maxFrames and maxBytes bound a batch.
	maxFrames = 500
	maxBytes  = 256 << 10
	// gathering is the least time after a batch that was not full until the next
	// one, so that under load many records share what a batch costs both ends. A
	// record after a pause goes at once.
	gathering = 50 * time.Millisecond
	// maxInFlight is how many batches may wait for their acknowledgement.
	maxInFlight = 4
	// ackTimeout is how long an acknowledgement may take before the stream is
	// given up and another tried.
	ackTimeout = 30 * time.Second
	// The delay before another try doubles between these, with jitter.
	minDelay, maxDelay = 100 * time.Millisecond, 10 * time.Second
	// warnAfter is how long delivery fails before somebody should look.
	warnAfter = 30 * time.Second
	// rejectedFile keeps what the control plane will never take.
	rejectedFile = "rejected.log"
)

// deliver delivers until the context ends, over one stream after another.
func (r *Recorder) deliver(ctx context.Context) {
	delay, outage, warned := minDelay, time.Now(), false
	for ctx.Err() == nil {
		before, _ := r.spool.Acknowledged()
		err := r.deliverOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		after, _ := r.spool.Acknowledged()
		progress := after > before
		if progress {
			delay = minDelay
		}
		if progress || r.Pending() == 0 {
			outage, warned = time.Now(), false
		}
		level := zap.DebugLevel
		if !warned && time.Since(outage) > warnAfter {
			level, warned = zap.WarnLevel, true // once for each outage
		}
		r.cfg.Log.Log(level, "records are not delivered; they wait in the spool",
			zap.Uint64("bytes", r.Pending()), zap.Error(err))
		timer := time.NewTimer(delay/2 + rand.N(delay/2))
		delay = min(2*delay, maxDelay)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// deliverOnce delivers over one stream, from the last acknowledged position on.
func (r *Recorder) deliverOnce(ctx context.Context) error {
	client, err := r.cfg.Connect(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	group, ctx := errgroup.WithContext(ctx)
	stream, err := client.Deliver(ctx)
	if err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	patience := time.AfterFunc(ackTimeout, func() { cancel(errNoAck) })
	patience.Stop()
	defer patience.Stop()
	inFlight := make(chan *batch, maxInFlight)
	group.Go(func() error { return r.send(ctx, stream, inFlight, patience) })
	group.Go(func() error { return r.receive(stream, inFlight, patience) })
	err = group.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, errNoAck) {
		return cause
	}
	return err
}

// errNoAck says that the control plane took a batch and did not answer.
var errNoAck = fmt.Errorf("no acknowledgement within %s", ackTimeout)

type deliverStream = grpc.BidiStreamingClient[controlv1.Batch, controlv1.Ack]

// send sends batches as frames come, waiting while too many are in flight.
func (r *Recorder) send(ctx context.Context, stream deliverStream, inFlight chan<- *batch, patience *time.Timer) error {
	from, _ := r.spool.Acknowledged()
	reader := &reader{spool: r.spool, at: from}
	defer reader.close()
	for {
		batch, full, err := reader.batch()
		if err != nil {
			return err
		}
		if batch == nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-r.spool.Grown():
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case inFlight <- batch:
		}
		patience.Reset(ackTimeout)
		if err := stream.Send(&batch.Batch); errors.Is(err, io.EOF) {
			return nil // the stream has ended; receive learns why
		} else if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		batch.sent.Store(true)
		if full {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(gathering):
		}
	}
}

// receive takes acknowledgements in the order of the batches.
func (r *Recorder) receive(stream deliverStream, inFlight <-chan *batch, patience *time.Timer) error {
	for {
		ack, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		var sent *batch
		select {
		case sent = <-inFlight:
		default:
			return errors.New("an acknowledgement for nothing")
		}
		patience.Stop()
		if len(inFlight) > 0 {
			patience.Reset(ackTimeout)
		}
		if ack.GetThrough() != sent.GetThrough() {
			return fmt.Errorf("acknowledged through %d, want %d", ack.GetThrough(), sent.GetThrough())
		}
		if err := r.keepRejected(ack, &sent.Batch); err != nil {
			return err
		}
		if err := r.acknowledge(spool.Position(ack.GetThrough())); err != nil {
			return err
		}
		sent.free()
	}
}

// acknowledge notes a position and gives space back.
func (r *Recorder) acknowledge(to spool.Position) error {
	if err := r.spool.Acknowledge(to); err != nil {
		return err
	}
	r.trim()
	return nil
}

// trim gives back the space of segments that nobody needs. If it fails, the next
// acknowledgement tries again.
func (r *Recorder) trim() {
	r.trimming.Lock()
	defer r.trimming.Unlock()
	err := r.spool.Trim(func(highest uint32) error {
		r.trimmed = max(r.trimmed, highest)
		return errors.Join(r.saveOpen(), r.library.saveChains())
	})
	if err != nil {
		r.cfg.Log.Warn("space of the spool not given back", zap.Error(err))
	}
}

// saveOpen puts on stable storage what is open, before segments go that say so.
func (r *Recorder) saveOpen() error {
	text, err := r.openNow()
	if err == nil {
		err = r.spool.Sync() // or an end may be lost that it is silent for
	}
	if err == nil {
		err = disk.Replace(r.cfg.System, filepath.Join(r.cfg.Dir, openFile), text)
	}
	if err != nil {
		return fmt.Errorf("save open crossings: %w", err)
	}
	return nil
}

// openNow is what is open: all that acknowledged segments opened, and nothing
// whose end is in one of them.
func (r *Recorder) openNow() ([]byte, error) {
	r.ending.Lock()
	defer r.ending.Unlock()
	return r.open.encode(r.trimmed)
}

// keepRejected keeps frames that were refused for good, so that nothing that
// was recorded vanishes.
func (r *Recorder) keepRejected(ack *controlv1.Ack, batch *controlv1.Batch) error {
	if len(ack.GetRejected()) == 0 {
		return nil
	}
	for _, rejection := range ack.GetRejected() {
		if i := int(rejection.GetIndex()); i >= len(batch.GetFrames()) {
			return fmt.Errorf("frame %d of %d was rejected", i, len(batch.GetFrames()))
		}
	}
	f, err := r.cfg.System.Open(filepath.Join(r.cfg.Dir, rejectedFile), os.O_CREATE|os.O_RDWR)
	if err != nil {
		return fmt.Errorf("keep rejected frames: %w", err)
	}
	defer f.Close()
	end, err := f.Size()
	if err != nil {
		return fmt.Errorf("keep rejected frames: %w", err)
	}
	for _, rejection := range ack.GetRejected() {
		i := int(rejection.GetIndex())
		r.cfg.Log.Error("frame rejected by the control plane", zap.String("why", rejection.GetWhy()))
		line := fmt.Sprintf("%s %q %s\n", time.Now().UTC().Format(time.RFC3339), rejection.GetWhy(), hex.EncodeToString(batch.GetFrames()[i]))
		n, err := f.WriteAt([]byte(line), end)
		if err != nil {
			return fmt.Errorf("keep rejected frames: %w", err)
		}
		end += int64(n)
	}
	return f.Sync()
}
