package controlplane

import (
	"context"
	"errors"
	"flag"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/api"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

var crossings = flag.Int("crossings", 3_000, "crossings of TestStartForgets")

// TestStartForgets: a control plane that starts over what was stated long ago has none of it
// in memory, shows all of it, and does so once more when it starts again. What a start takes
// is said.
func TestStartForgets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	frames, err := store.Open(t.Context(), store.Config{Dir: filepath.Join(dir, "store"), Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer frames.Close()
	joined, err := records.OpenSQLite(t.Context(), recordsDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Close()
	deliverMany(t, frames, *crossings)
	for _, start := range []string{"first", "second"} {
		before, began := heap(), time.Now()
		v, err := newView(t.Context(), frames, keeper{joined, defaultRemember}, api.Config{
			Identify:  func(context.Context) (spiffeid.ID, error) { return spiffeid.ID{}, errors.New("nobody calls") },
			Bootstrap: func() (api.Bootstrap, error) { return api.Bootstrap{}, nil },
			ReadOnly:  true, Log: zaptest.NewLogger(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		took, used := time.Since(began), heap()-before
		if inMemory := len(v.records.Match(&controlv1.ListCrossingsRequest{})); inMemory != 0 {
			t.Errorf("%s start: %d of %d crossings are in memory", start, inMemory, *crossings)
		}
		listed := 0
		if err := v.records.List(t.Context(), &controlv1.ListCrossingsRequest{}, func(records.Joined) error { listed++; return nil }); err != nil || listed != *crossings {
			t.Errorf("%s start: %d crossings are listed, %v", start, listed, err)
		}
		if counts := v.records.Counts(); len(counts) != 1 {
			t.Errorf("%s start: counts %v", start, counts)
		}
		t.Logf("%s start: %d crossings in %s, %d KiB of heap stay", start, *crossings, took.Round(time.Millisecond), used>>10)
		runtime.KeepAlive(v)
	}
}

// heap is what is in use, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // less than 2^63
}

// deliverMany stores what two gateways deliver of so many crossings, with the statements on
// them.
func deliverMany(t *testing.T, s *store.Store, n int) {
	t.Helper()
	m := verifytest.New(t)
	var frames [][]byte
	m.Frame = func(f []byte) { frames = append(frames, slices.Clone(f)) }
	stated := map[*verifytest.Log]int{}
	deliver := func() {
		for _, g := range []*verifytest.Gateway{m.Near, m.Far} {
			entries := g.Log.Entries[stated[g.Log]:]
			stated[g.Log] += len(entries)
			for _, e := range entries {
				entry := new(logv1.Entry)
				if err := proto.Unmarshal(e, entry); err != nil {
					t.Fatal(err)
				}
				frames = append(frames, entry.GetFrame())
			}
		}
		if err := s.AppendFrames(t.Context(), m.Near.ID, frames); err != nil {
			t.Fatal(err)
		}
		frames = nil
	}
	deliver()
	for at := range n {
		m.Cross()
		if at%1000 == 999 || at == n-1 {
			m.Epoch(at == n-1)
			deliver()
		}
	}
}
