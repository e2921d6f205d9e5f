package recorder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var (
	self = spiffeid.RequireFromString("spiffe://onprem.test/sallyport/gateway/onprem-1")
	peer = spiffeid.RequireFromString("spiffe://azure.test/sallyport/gateway/azure-1")
	addr = netip.MustParseAddrPort("192.0.2.1:1234")
)

// half is an opening that crossing.CheckFrame accepts.
func half(run string, sequence uint64) *crossingv1.Half {
	now := time.Now()
	return &crossingv1.Half{
		Id:         crossing.NewID(now),
		Key:        &crossingv1.Key{Egress: self.String(), Ingress: peer.String(), Run: run, Sequence: sequence},
		Side:       crossingv1.Side_EGRESS,
		Transition: &crossingv1.Transition{From: "onprem", To: "azure", Owner: "ml-platform", Sink: "records"},
		Source:     "spiffe://onprem.test/ai/orchestrator", Destination: "spiffe://azure.test/ai/llm",
		Trace: crossing.NewRun(), Span: crossing.NewRun()[:16],
		Operation: &crossingv1.Operation{Protocol: "openai", Name: "POST /v1/chat/completions", Service: "chat"},
		End: &crossingv1.End{
			Gateway: self.String(), Decision: crossingv1.Decision_ALLOW, Intent: "plan",
			Policy: &crossingv1.PolicyRef{Serial: 1, Revision: "sha256:00"}, Open: timestamppb.New(now),
		},
	}
}

func closeOf(h *crossingv1.Half) *crossingv1.Close {
	return &crossingv1.Close{Id: h.GetId(), Key: h.GetKey(), Side: h.GetSide(), Cause: crossingv1.Cause_DONE}
}

func nobody(context.Context) (controlv1.CrossingServiceClient, error) {
	return nil, errors.New("no control plane")
}

func open(t testing.TB, dir string, segment int64) *Recorder {
	t.Helper()
	r, err := newRecorder(Config{Dir: dir, Gateway: self, Connect: nobody, segment: segment}, crossing.NewRun(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// openOn is open on another file system.
func openOn(t testing.TB, sys disk.System, dir string, segment int64) *Recorder {
	t.Helper()
	r, err := newRecorder(Config{System: sys, Dir: dir, Gateway: self, Connect: nobody, segment: segment}, crossing.NewRun(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// spooled reads every frame of a directory that nobody writes to.
func spooled(t testing.TB, dir string) []*crossingv1.Frame {
	t.Helper()
	numbers, err := spool.Segments(disk.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	var frames []*crossingv1.Frame
	for _, n := range numbers {
		_, _, err := spool.Scan(disk.OS{}, spool.Path(dir, n), func(payload []byte, _ int64) error {
			f, err := crossing.UnmarshalFrame(payload)
			frames = append(frames, f)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return frames
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("SALLYPORT_TEST_SPOOL"); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// writeUntilKilled opens crossings and prints each id once its Open returned;
// every other one is closed too.
func writeUntilKilled(dir string) {
	r, err := New(Config{Dir: dir, Gateway: self, Connect: nobody})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				n := r.Next(peer.String())
				h := half(r.RunID(), n)
				if err := r.Open(h, n%3 == 0, false); err != nil {
					continue
				}
				fmt.Println("open", h.GetId())
				if n%2 == 0 && r.Close(closeOf(h)) == nil {
					fmt.Println("close", h.GetId())
				}
			}
		})
	}
	wg.Wait()
}

// TestKill kills a process that records, again and again over one spool: what
// it was told is recorded is there, and what it left open is closed.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	told := map[string]string{} // id to the last word on it
	for range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SALLYPORT_TEST_SPOOL="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			word, id, ok := strings.Cut(lines.Text(), " ")
			if ok && crossing.CheckID(id) == nil { // the last line may be cut
				told[id] = word
			}
			if n == 200 {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
	}
	opened, closed := map[string]bool{}, map[string]crossingv1.Cause{}
	for _, f := range recovered(t, dir) {
		if h := f.GetOpen(); h != nil {
			opened[h.GetId()] = true
		}
		if c := f.GetClose(); c != nil {
			if _, twice := closed[c.GetId()]; twice {
				t.Errorf("crossing %s is closed twice", c.GetId())
			}
			closed[c.GetId()] = c.GetCause()
		}
	}
	if len(told) < 400 {
		t.Fatalf("%d crossings in all", len(told))
	}
	for id, word := range told {
		switch {
		case !opened[id]:
			t.Errorf("crossing %s was recorded and is not in the spool", id)
		case word == "close" && closed[id] != crossingv1.Cause_DONE:
			t.Errorf("crossing %s ended and is closed as %s", id, closed[id])
		case closed[id] == crossingv1.Cause_CAUSE_UNSPECIFIED:
			t.Errorf("crossing %s was left open", id)
		}
	}
}

// recovered closes what all runs left open, and reads every frame of them.
func recovered(t *testing.T, dir string) []*crossingv1.Frame {
	t.Helper()
	left, err := (&runs{sys: disk.OS{}, dir: dir}).others()
	if err != nil {
		t.Fatal(err)
	}
	var frames []*crossingv1.Frame
	for _, run := range left {
		if err := open(t, run, spool.SegmentSize).CloseSpool(); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, spooled(t, run)...)
	}
	return frames
}

// TestTornTail cuts the spool at every byte of its last entries: what is whole
// before the cut is there, what is cut is not but kept beside, and writing goes on.
func TestTornTail(t *testing.T) {
	for name, behind := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 100)} {
		t.Run(name+" behind", func(t *testing.T) { testTornTail(t, behind) })
	}
}

func testTornTail(t *testing.T, behind []byte) {
	dir := t.TempDir()
	r := open(t, dir, spool.SegmentSize)
	const n = 4
	for i := range n {
		h := half(r.RunID(), uint64(i+1))
		h.Key.Ingress, h.End.Decision = "", crossingv1.Decision_DENY
		h.End.Reason, h.End.Intent, h.End.Close = crossingv1.Reason_NO_INTENT, "", crossingv1.Cause_REFUSED
		if err := r.Open(h, false, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	path := spool.Path(dir, 1)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := []int64{0}
	if _, _, err := spool.Scan(disk.OS{}, path, func(_ []byte, end int64) error { ends = append(ends, end); return nil }); err != nil {
		t.Fatal(err)
	}
	for cut := ends[n-2]; cut <= int64(len(whole)); cut++ {
		dir := t.TempDir()
		if err := os.WriteFile(spool.Path(dir, 1), slices.Concat(whole[:cut], behind), 0o600); err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, end := range ends[1:] {
			if end <= cut {
				want++
			}
		}
		r := open(t, dir, spool.SegmentSize)
		if err := r.Open(half(r.RunID(), 1), true, false); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := r.CloseSpool(); err != nil {
			t.Fatal(err)
		}
		if got := len(spooled(t, dir)); got != want+1 {
			t.Fatalf("cut at %d: %d frames, want %d and one more", cut, got, want)
		}
		_, err := os.Stat(spool.Path(dir, 1) + spool.TornSuffix)
		if kept := err == nil; kept == slices.Contains(ends, cut) {
			t.Fatalf("cut at %d: a torn tail beside: %t", cut, kept)
		}
	}
}

// TestDiskFails lets the disk fail in every way and mend: what Open returned
// nil for is recovered, and the spool works again.
func TestDiskFails(t *testing.T) {
	for name, faults := range map[string]disktest.Faults{
		"write":                         {Write: true},
		"half a write, and no truncate": {Write: true, Halfway: true, Truncate: true},
		"sync":                          {Sync: true},
		"everything":                    {Open: true, Write: true, Halfway: true, Sync: true, Truncate: true},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testDiskFails(t, faults) }) })
	}
}

func testDiskFails(t *testing.T, faults disktest.Faults) {
	dir, faulty := t.TempDir(), &disktest.Faulty{System: disk.OS{}}
	r := openOn(t, faulty, dir, 1) // a segment for each group
	var recorded []string
	record := func() error {
		h := half(r.RunID(), r.Next(peer.String()))
		err := r.Open(h, true, false)
		if err == nil {
			recorded = append(recorded, h.GetId())
		}
		return err
	}
	if err := errors.Join(record(), record()); err != nil {
		t.Fatal(err)
	}
	faulty.Set(faults)
	if err := record(); !errors.Is(err, disktest.ErrDisk) {
		t.Fatalf("Open = %v on a failing disk", err)
	}
	if err := record(); !errors.Is(err, disktest.ErrDisk) {
		t.Fatalf("Open = %v right after a failure", err)
	}
	faulty.Set(disktest.Faults{})
	<-time.After(spool.ProbeDelay)
	if err := errors.Join(record(), record()); err != nil {
		t.Fatalf("the disk is back: %v", err)
	}
	if err := r.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range spooled(t, dir) {
		there[f.GetOpen().GetId()] = true
	}
	for _, id := range recorded {
		if !there[id] {
			t.Errorf("crossing %s is lost", id)
		}
	}
}

func TestFull(t *testing.T) {
	r, err := New(Config{Dir: t.TempDir(), Gateway: self, MaxBytes: 2000, Connect: nobody})
	if err != nil {
		t.Fatal(err)
	}
	var last *crossingv1.Half
	for {
		h := half(r.RunID(), r.Next(peer.String()))
		if err = r.Open(h, false, false); err != nil {
			break
		}
		last = h
	}
	if !errors.Is(err, ErrFull) || last == nil {
		t.Errorf("Open = %v, want ErrFull after some", err)
	}
	// What has begun can always end.
	if err := r.Close(closeOf(last)); err != nil {
		t.Errorf("Close = %v in a full spool", err)
	}
	if err := r.CloseSpool(); err != nil {
		t.Error(err)
	}
	if err := r.Open(half(r.RunID(), 99), false, false); !errors.Is(err, ErrClosed) {
		t.Errorf("Open = %v, want ErrClosed", err)
	}
}

func TestTwoGateways(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, spool.SegmentSize)
	if _, err := New(Config{Dir: dir, Gateway: self, Connect: nobody}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second gateway: %v, want ErrInUse", err)
	}
	if err := r.CloseSpool(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir, spool.SegmentSize).CloseSpool(); err != nil {
		t.Error(err)
	}
}

func TestNumbersAreDense(t *testing.T) {
	r := open(t, t.TempDir(), spool.SegmentSize)
	defer r.CloseSpool()
	const writers, each = 8, 500
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				n := r.Next(peer.String())
				mu.Lock()
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for n := uint64(1); n <= writers*each; n++ {
		if !seen[n] {
			t.Fatalf("number %d is missing", n)
		}
	}
	if n := r.Next(""); n != 1 {
		t.Errorf("the own chain begins with %d", n)
	}
}

func benchmarkOpen(b *testing.B, writers int) {
	r := open(b, b.TempDir(), spool.SegmentSize)
	defer r.CloseSpool()
	b.SetParallelism(writers)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := r.Open(half(r.RunID(), r.Next(peer.String())), true, false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSpoolOpen: what does a durable opening cost, alone and in company?
func BenchmarkSpoolOpen(b *testing.B) {
	b.Run("1", func(b *testing.B) { benchmarkOpen(b, 1) })
	b.Run("64", func(b *testing.B) { benchmarkOpen(b, 32) })
}
