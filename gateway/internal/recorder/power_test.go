package recorder

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// powerSeeds is how many histories of a gateway the power is cut in.
var powerSeeds = flag.Int("power-seeds", 1, "histories in which the power is cut at every write")

const powerDir = "/state/spool"

// TestPowerCutAtEveryWrite records, delivers, states, trims and starts again on a disk
// whose power is cut after every single thing that it is asked to do. Of what was not
// synced, the disk has nothing, everything, or any part that a disk may have. Every
// time, the next start has whatever it was told is recorded.
func TestPowerCutAtEveryWrite(t *testing.T) {
	for seed := range uint64(*powerSeeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testPower(t, seed) })
		})
	}
}

func testPower(t *testing.T, seed uint64) {
	memory := disktest.NewMemory()
	if err := errors.Join(memory.MakeDir(filepath.Dir(powerDir)), memory.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	h := &history{t: t, rand: rand.New(rand.NewPCG(seed, 1)), known: newKnown()}
	cuts := 0
	h.background.Lock()
	defer h.background.Unlock()
	memory.After = func(call string) {
		if t.Failed() {
			return
		}
		if h.passes.Load() { // a timer does this, perhaps one of several
			h.background.Lock()
			defer h.background.Unlock()
		}
		for i, choose := range h.choices() {
			cuts++
			h.afterCut(memory.Cut(choose), fmt.Sprintf("cut %d after %s", i, call), i == 2 && h.rand.IntN(100) == 0)
		}
	}
	for run := range 4 {
		h.begin(memory)
		for range 30 {
			h.step()
			if t.Failed() {
				return
			}
		}
		if run%2 == 0 {
			h.end()
		} else {
			memory = memory.Kill()
		}
	}
	t.Logf("%d power cuts, %d crossings", cuts, len(h.opened))
	if cuts < 500 || h.trimmed == 0 {
		t.Errorf("%d power cuts, %d segments trimmed: too few", cuts, h.trimmed)
	}
}

// choices are what a disk may have of what was not synced.
func (h *history) choices() []disktest.Choice {
	seed := h.rand.Uint64()
	return []disktest.Choice{disktest.Nothing, disktest.Everything, rand.New(rand.NewPCG(seed, 2)).IntN}
}

// known is what a gateway, its callers and the control plane know.
type known struct {
	opened    map[string]*crossingv1.Half  // every opening that was tried
	ended     map[string]*crossingv1.Close // every end
	told      map[string]bool              // openings that are on stable storage
	toldEnd   map[string]bool              // ends that are
	handed    map[string]bool              // openings that will be, soon
	handedEnd map[string]bool
	delivered map[string]bool // what the control plane has
}

func newKnown() known {
	return known{
		opened: map[string]*crossingv1.Half{}, ended: map[string]*crossingv1.Close{},
		told: map[string]bool{}, toldEnd: map[string]bool{}, handed: map[string]bool{}, handedEnd: map[string]bool{},
		delivered: map[string]bool{},
	}
}

// history is what happens to a gateway.
type history struct {
	known
	t       *testing.T
	rand    *rand.Rand
	rec     *Recorder
	books   *ledger
	open    []*crossingv1.Half
	arrived uint64
	trimmed int

	background sync.Mutex  // held but while time goes by
	passes     atomic.Bool // it does
}

func powerConfig(sys *disktest.Memory, books Books) Config {
	return Config{System: sys, Dir: powerDir, Gateway: self, MaxBytes: 64 << 10, segment: 3000, Connect: nobody, Books: books}
}

// begin starts the gateway.
func (h *history) begin(sys *disktest.Memory) {
	h.books = newLedger()
	var err error
	if h.rec, err = New(powerConfig(sys, h.books)); err != nil {
		h.t.Fatal(err)
	}
	h.books.attach(h.rec)
	for left := h.rec.runs.takeOver(h.rec.cfg); left != nil; left = h.rec.runs.takeOver(h.rec.cfg) {
		h.rec.left.add(left)
	}
	h.synced() // what was left is on stable storage when it is taken over
	h.open = nil
}

// end stops it.
func (h *history) end() {
	h.rec.closeLeft()
	if err := h.rec.CloseSpool(); err != nil {
		h.t.Fatal(err)
	}
	h.synced()
}

// synced notes that everything that was handed to the disk is on stable storage.
func (h *history) synced() {
	maps.Copy(h.told, h.handed)
	maps.Copy(h.toldEnd, h.handedEnd)
}

func (h *history) step() {
	switch n := h.rand.IntN(100); {
	case n < 25:
		h.opens(h.egress(), true)
	case n < 40:
		h.opens(h.egress(), false)
	case n < 55:
		h.arrived++
		h.opens(arrived(peerRun, h.arrived), h.rand.IntN(2) == 0)
	case n < 80 && len(h.open) > 0:
		h.closes()
	case n < 85:
		h.passes.Store(true)
		h.background.Unlock()
		<-time.After(time.Second) // more than a sync takes
		h.background.Lock()
		h.passes.Store(false)
		h.synced()
	case n < 93:
		h.deliver()
	default:
		if err := h.books.state(); err != nil {
			h.t.Error(err)
		}
		h.rec.trim() // as the recorder does when it runs
		for _, left := range h.rec.left.all() {
			left.trim()
		}
		h.books.check(h.t)
	}
}

var peerRun = crossing.NewRun()

func (h *history) egress() *crossingv1.Half {
	return half(h.rec.RunID(), h.rec.Next(peer.String()))
}

func (h *history) opens(half *crossingv1.Half, durable bool) {
	h.opened[half.GetId()] = half
	if err := h.rec.Open(half, durable, false); err != nil {
		return // the spool is full
	}
	h.open = append(h.open, half)
	h.handed[half.GetId()] = true
	if durable {
		h.told[half.GetId()] = true
	}
}

func (h *history) closes() {
	i := h.rand.IntN(len(h.open))
	c := closeOf(h.open[i])
	h.open = slices.Delete(h.open, i, i+1)
	h.ended[c.GetId()] = c
	if err := h.rec.Close(c); err != nil {
		h.t.Error(err)
	}
	h.handedEnd[c.GetId()] = true
}

// deliver delivers everything, and trims and removes what may go.
func (h *history) deliver() {
	for _, r := range append(h.rec.left.all(), h.rec) {
		before := len(r.spoolSegments(h.t))
		h.deliverRun(r)
		h.trimmed += before - len(r.spoolSegments(h.t))
	}
	h.rec.removeLeft()
}

func (h *history) deliverRun(r *Recorder) {
	from, _ := r.spool.Acknowledged()
	reader := &reader{spool: r.spool, at: from}
	defer reader.close()
	for {
		b, _, err := reader.batch()
		if err != nil {
			h.t.Fatal(err)
		}
		if b == nil {
			return
		}
		for _, payload := range b.GetFrames() {
			h.delivered[h.identify(payload)] = true
		}
		if err := r.acknowledge(spool.Position(b.GetThrough())); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (r *Recorder) spoolSegments(t testing.TB) []uint32 {
	numbers, err := spool.Segments(r.cfg.System, r.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return numbers
}

// identify says what a frame is, and that it is one that was written.
func (h *history) identify(payload []byte) string {
	f, err := crossing.UnmarshalFrame(payload)
	if err != nil {
		h.t.Errorf("a frame that nobody wrote: %v", err)
	}
	if o := f.GetOpen(); o != nil {
		if h.opened[o.GetId()] == nil {
			h.t.Errorf("an opening that nobody wrote: %s", o)
		}
		return "open " + o.GetId()
	}
	if c := f.GetClose(); c != nil {
		return c.GetCause().String() + " " + c.GetId()
	}
	return "other"
}

// afterCut starts a gateway on what a power cut has left, and holds that nothing is
// lost. If again, the power is cut once more, at each thing that this start does.
func (h *history) afterCut(sys *disktest.Memory, when string, again bool) {
	if again {
		sys.After = func(call string) {
			for _, choose := range h.choices() {
				h.afterCut(sys.Cut(choose), when+", and again after "+call, false)
			}
		}
	}
	books := newLedger()
	cfg := powerConfig(sys, books)
	r, err := New(cfg)
	if err != nil {
		h.t.Errorf("%s: the gateway does not start: %v", when, err)
		return
	}
	books.attach(r)
	frames := h.takeOver(r, cfg)
	sys.After = nil
	h.checkFrames(frames, when)
	for id := range h.told {
		if k := h.opened[id].GetKey(); !books.hasOpening(k) {
			h.t.Errorf("%s: opening %d of %s is not to be stated any more", when, k.GetSequence(), id)
		}
	}
	for id := range h.toldEnd {
		if k := h.ended[id].GetKey(); !books.hasEnd(k) {
			h.t.Errorf("%s: the end %d of %s is not to be stated any more", when, k.GetSequence(), id)
		}
	}
	books.check(h.t)
	if err := r.Open(half(r.RunID(), r.Next(peer.String())), true, false); err != nil && !errors.Is(err, ErrFull) {
		h.t.Errorf("%s: the gateway records nothing: %v", when, err)
	}
	r.closeLeft()
	if err := r.CloseSpool(); err != nil {
		h.t.Errorf("%s: %v", when, err)
	}
}

// takeOver takes all earlier runs over. It gives what the control plane has, or will
// have: how often which frame.
func (h *history) takeOver(r *Recorder, cfg Config) map[string]int {
	frames := map[string]int{}
	for left := r.runs.takeOver(r.cfg); left != nil; left = r.runs.takeOver(r.cfg) {
		r.left.add(left)
		for _, n := range left.spoolSegments(h.t) {
			_, _, err := spool.Scan(cfg.System, spool.Path(left.cfg.Dir, n), func(payload []byte, _ int64) error {
				frames[h.identify(payload)]++
				return nil
			})
			if err != nil {
				h.t.Error(err)
			}
		}
	}
	for d := range h.delivered {
		frames[d] = max(frames[d], 1)
	}
	return frames
}

// checkFrames: what somebody was told is there, and what is open is closed once.
func (h *history) checkFrames(frames map[string]int, when string) {
	for id := range h.told {
		if frames["open "+id] == 0 {
			h.t.Errorf("%s: crossing %s is lost", when, id)
		}
	}
	for id := range h.toldEnd {
		if frames["DONE "+id] == 0 || frames["GATEWAY_STOPPED "+id] > 0 {
			h.t.Errorf("%s: the end of %s is lost: %d, %d", when, id, frames["DONE "+id], frames["GATEWAY_STOPPED "+id])
		}
	}
	for id, o := range h.opened {
		ends := frames["DONE "+id] + frames["GATEWAY_STOPPED "+id]
		if frames["open "+id] > 0 && ends != 1 {
			h.t.Errorf("%s: crossing %s (%s) has %d ends", when, id, o.GetSide(), ends)
		}
	}
}
