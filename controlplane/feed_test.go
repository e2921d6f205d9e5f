package controlplane

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/join/jointest"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/recall"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// awaitCounted waits until the store counts so many crossings.
func (p *plane) awaitCounted(want uint64) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		m, err := controlv1.NewCrossingServiceClient(p.operator()).GetMatrix(p.t.Context(), &controlv1.GetMatrixRequest{Talkers: 3})
		if err != nil {
			p.t.Fatal(err)
		}
		var n uint64
		for _, c := range m.GetCells() {
			n += c.GetCrossings()
		}
		if n == want && len(m.GetTalkers()) == 1 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the store counts %d crossings, want %d: %v", n, want, m)
		}
	}
}

// TestFeed: what was joined is in the store, after a restart too, and after its database
// was damaged, which is set aside and named.
func TestFeed(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, "")
	p.deliverBoth()
	p.awaitCounted(1)
	p.stop()
	p.start()
	p.awaitCounted(1)
	p.stop()
	store := recordsDir(p.config.Dir)
	var database string
	if err := filepath.WalkDir(store, func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".db" {
			database = path
		}
		return err
	}); err != nil || database == "" {
		t.Fatalf("no database in %s: %v", store, err)
	}
	text, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	copy(text, "this is no database of records any more")
	if err := os.WriteFile(database, text, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := openRecords(t.Context(), store, records.Config{}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if aside, err := filepath.Glob(filepath.Join(store, "damaged-*")); err != nil || len(aside) != 1 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
	p.start()
	p.awaitCounted(1)
}

// TestRecordsDoNotOpen: a control plane whose records cannot be opened says so, and has
// nothing left open.
func TestRecordsDoNotOpen(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.stop()
	held, err := openRecords(t.Context(), recordsDir(p.config.Dir), records.Config{}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), p.config); !errors.Is(err, records.ErrInUse) {
		t.Errorf("New() over records that another has = %v, want %v", err, records.ErrInUse)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	p.start()
}

// TestFeedPutsNothingStale: of what is on its way to the store, what has changed since is
// left out, and what was forgotten, which the store has as it was last.
func TestFeedPutsNothingStale(t *testing.T) {
	t.Parallel()
	store, err := openRecords(t.Context(), t.TempDir(), records.Config{}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	f := &feed{store: store, records: recall.Of(store, time.Hour)}
	var onTheWay []records.Joined
	for _, frame := range jointest.NewTrip(0).Frames() {
		if err := f.records.Add(frame); err != nil {
			t.Fatal(err)
		}
		onTheWay = append(onTheWay, recall.RecordOf(f.records.Match(&controlv1.ListCrossingsRequest{})[0]))
	}
	last := onTheWay[len(onTheWay)-1]
	if got := f.current(slices.Clone(onTheWay)); len(got) != 1 || got[0] != last {
		t.Errorf("of %d that are on their way, %d are put", len(onTheWay), len(got))
	}
	before := jointest.Start.Add(time.Hour)
	f.records.Forget(before, f.records.Settled(before, 1, func(join.Halves) bool { return true }))
	if got := f.current(slices.Clone(onTheWay)); len(got) > 0 {
		t.Errorf("%d that were forgotten are put", len(got))
	}
}
