package recorder

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// plane is a control plane that takes frames, as badly as it is told to.
type plane struct {
	controlv1.UnimplementedCrossingServiceServer
	conn *grpc.ClientConn

	mu       sync.Mutex // guards what follows
	frames   map[string]int
	streams  int
	batches  int
	failures int // streams to break off after their first batch, without an answer
	wrong    int // streams to answer with another position
	silent   int // streams to take all of without an answer
	outside  int // batches to reject a frame of that they do not have
	twice    int // batches to answer twice
	reject   string
	blind    bool // to acknowledge without a look
	changed  chan struct{}
}

func newPlane(t testing.TB) *plane {
	t.Helper()
	p := &plane{frames: map[string]int{}, changed: make(chan struct{})}
	l := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	controlv1.RegisterCrossingServiceServer(srv, p)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient("passthrough:///plane", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p.conn = conn
	return p
}

func (p *plane) connect(context.Context) (controlv1.CrossingServiceClient, error) {
	return controlv1.NewCrossingServiceClient(p.conn), nil
}

func (p *plane) Deliver(stream grpc.BidiStreamingServer[controlv1.Batch, controlv1.Ack]) error {
	p.mu.Lock()
	p.streams++
	silent := p.silent > 0
	if silent {
		p.silent--
	}
	p.mu.Unlock()
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		acks, err := p.answer(batch)
		if silent {
			continue
		}
		if err != nil {
			return err
		}
		for _, ack := range acks {
			if err := stream.Send(ack); err != nil {
				return err
			}
		}
	}
}

// answer takes a batch, and answers as it is told to.
func (p *plane) answer(batch *controlv1.Batch) ([]*controlv1.Ack, error) {
	ack, err := p.take(batch)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case p.outside > 0:
		p.outside--
		ack.Rejected = []*controlv1.Rejection{{Index: uint32(len(batch.GetFrames())), Why: "no such frame"}}
	case p.twice > 0:
		p.twice--
		return []*controlv1.Ack{ack, ack}, nil
	}
	return []*controlv1.Ack{ack}, nil
}

// taken is how many frames have come, and in how many batches.
func (p *plane) taken() (frames, batches int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.frames), p.batches
}

func (p *plane) take(batch *controlv1.Batch) (*controlv1.Ack, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches++
	if p.blind {
		return &controlv1.Ack{Through: batch.GetThrough()}, nil
	}
	if p.failures > 0 {
		p.failures--
		return nil, status.Error(codes.Unavailable, "told to fail")
	}
	ack := &controlv1.Ack{Through: batch.GetThrough()}
	if p.wrong > 0 {
		p.wrong--
		ack.Through++
		return ack, nil
	}
	for i, payload := range batch.GetFrames() {
		f, err := crossing.UnmarshalFrame(payload)
		if err != nil {
			return nil, err
		}
		id := f.GetOpen().GetId() + f.GetClose().GetId() + f.GetRefusal().GetDetail()
		if id != "" && id == p.reject {
			ack.Rejected = append(ack.Rejected, &controlv1.Rejection{Index: uint32(i), Why: "told to reject"})
			continue
		}
		p.frames[f.GetClose().GetCause().String()+" "+id]++
	}
	close(p.changed)
	p.changed = make(chan struct{})
	return ack, nil
}

// await waits until the plane has n different frames.
func (p *plane) await(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		p.mu.Lock()
		have, changed := len(p.frames), p.changed
		p.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%d frames delivered, want %d", have, n)
		}
	}
}

// running is a recorder that runs until it is stopped.
type running struct {
	*Recorder
	stop func()
}

func start(t testing.TB, dir string, segment int64, p *plane) running {
	t.Helper()
	r, err := newRecorder(Config{Dir: dir, Gateway: self, Connect: p.connect, segment: segment}, crossing.NewRun(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(stop)
	return running{r, stop}
}

// crossings opens and closes n crossings: 2n frames.
func (r running) crossings(t *testing.T, n int) {
	t.Helper()
	for range n {
		h := half(r.RunID(), r.Next(peer.String()))
		if err := errors.Join(r.Open(h, false, false), r.Close(closeOf(h))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeliverBeforeTheFirst: a delivery that waits from before there is
// anything gets what comes.
func TestDeliverBeforeTheFirst(t *testing.T) {
	p := newPlane(t)
	r := start(t, t.TempDir(), spool.SegmentSize, p)
	for n := 1; n <= 20; n++ {
		r.crossings(t, 1)
		p.await(t, 2*n)
	}
}

func TestDeliverThroughFailures(t *testing.T) {
	p := newPlane(t)
	p.failures, p.wrong = 2, 1
	r := start(t, t.TempDir(), 4<<10, p)
	r.crossings(t, 300)
	p.await(t, 600)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.streams < 4 {
		t.Errorf("%d streams, want one more after each failure", p.streams)
	}
}

// TestDeliverAfterRestart: what one run left, the next delivers, once the
// control plane is there.
func TestDeliverAfterRestart(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 4<<10)
	was := running{r, nil}
	was.crossings(t, 50)
	left := half(r.RunID(), r.Next(peer.String()))
	if err := r.Open(left, true, false); err != nil {
		t.Fatal(err)
	}
	if err := r.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	p := newPlane(t)
	start(t, dir, 4<<10, p).stop()
	p.await(t, 102)
	if p.frames["GATEWAY_STOPPED "+left.GetId()] != 1 {
		t.Errorf("the crossing that was open is not closed as GATEWAY_STOPPED")
	}
	// And a third run has nothing to say.
	before := len(p.frames)
	start(t, dir, 4<<10, p).stop()
	if len(p.frames) != before {
		t.Errorf("%d frames after another start, want %d", len(p.frames), before)
	}
}

// TestTrim: segments that were acknowledged go, and a crossing that was opened
// in one of them is closed all the same when the gateway starts again.
func TestTrim(t *testing.T) {
	dir := t.TempDir()
	p := newPlane(t)
	r := start(t, dir, 4<<10, p)
	long := half(r.RunID(), r.Next(peer.String()))
	if err := r.Open(long, true, false); err != nil {
		t.Fatal(err)
	}
	r.crossings(t, 200)
	p.await(t, 401)
	r.crossings(t, 1) // its acknowledgement follows the trim of what was before
	p.await(t, 403)
	r.stop()
	numbers, err := spool.Segments(disk.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(numbers) > 5 || numbers[0] == 1 {
		t.Errorf("segments %v are left of some forty", numbers)
	}
	next := start(t, dir, 4<<10, p)
	p.await(t, 404)
	next.stop()
	if p.frames["GATEWAY_STOPPED "+long.GetId()] != 1 {
		t.Error("the crossing whose opening was trimmed is not closed")
	}
}

func TestRejected(t *testing.T) {
	dir := t.TempDir()
	p := newPlane(t)
	r := start(t, dir, spool.SegmentSize, p)
	h := half(r.RunID(), r.Next(peer.String()))
	p.mu.Lock()
	p.reject = h.GetId()
	p.mu.Unlock()
	if err := r.Open(h, false, false); err != nil {
		t.Fatal(err)
	}
	r.crossings(t, 1)
	p.await(t, 2)
	r.stop()
	text, err := os.ReadFile(filepath.Join(dir, rejectedFile))
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "told to reject") {
		t.Errorf("rejected frames kept: %q, %v", text, err)
	}
}

// TestBatchesAreShared: of records that come one after another, the first goes as
// soon as it is synced, and those that come soon after it go together.
func TestBatchesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const synced = 10 * time.Millisecond
		p := newPlane(t)
		r := start(t, t.TempDir(), spool.SegmentSize, p)
		for round := range 4 {
			for i := range 10 {
				r.crossings(t, 1)
				<-time.After(synced)
				synctest.Wait()
				if n, _ := p.taken(); i == 0 && n != 20*round+2 {
					t.Errorf("%d frames delivered, want the first two at once", n-20*round)
				}
			}
			<-time.After(2 * gathering)
		}
		if n, batches := p.taken(); n != 80 || batches > 16 {
			t.Errorf("%d frames in %d batches, want 80 in 12 or a few more", n, batches)
		}
		r.stop()
	})
}

// TestStopDelivers: a gateway that stops delivers what it still has, and does
// not wait when it has nothing.
func TestStopDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t)
		r := start(t, t.TempDir(), spool.SegmentSize, p)
		r.crossings(t, 100)
		r.Refuse(crossingv1.Reason_NO_IDENTITY, addr, "attach", "nothing shown")
		r.stop()
		if len(p.frames) != 201 {
			t.Errorf("%d frames delivered at the end, want 201", len(p.frames))
		}
		began := time.Now()
		start(t, t.TempDir(), spool.SegmentSize, p).stop()
		if took := time.Since(began); took > finalDelivery/2 {
			t.Errorf("stopping with nothing to deliver took %s", took)
		}
	})
}

// TestDamagedSegment: a segment that was given up after half a write is
// delivered up to there, and what follows too.
func TestDamagedSegment(t *testing.T) { synctest.Test(t, testDamagedSegment) }

func testDamagedSegment(t *testing.T) {
	dir, faulty := t.TempDir(), &disktest.Faulty{System: disk.OS{}}
	r := openOn(t, faulty, dir, spool.SegmentSize)
	was := running{r, nil}
	was.crossings(t, 3)
	faulty.Set(disktest.Faults{Write: true, Halfway: true, Truncate: true})
	if err := r.Open(half(r.RunID(), 9), true, false); !errors.Is(err, disktest.ErrDisk) {
		t.Fatalf("Open = %v", err)
	}
	faulty.Set(disktest.Faults{})
	<-time.After(spool.ProbeDelay)
	was.crossings(t, 3)
	p := newPlane(t)
	r.cfg.Connect = p.connect
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	p.await(t, 12)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
