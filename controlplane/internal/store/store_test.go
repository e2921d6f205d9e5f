package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap/zaptest"
	"google.golang.org/protobuf/testing/protocmp"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	cfg.Log = zaptest.NewLogger(t)
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t *testing.T, s interface{ Close() error }) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

// delivered is one frame as replay gives it back.
type delivered struct{ Gateway, Frame string }

func replay(t *testing.T, s *Store) []delivered {
	t.Helper()
	var all []delivered
	err := s.Replay(t.Context(), time.Time{}, func(gateway string, _ time.Time, frames [][]byte) error {
		for _, f := range frames {
			all = append(all, delivered{gateway, string(f)})
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Replay() = %v", err)
	}
	return all
}

func signed(manifest string) *policyv1.SignedPolicy {
	return &policyv1.SignedPolicy{Manifest: []byte(manifest), Policy: []byte("{}")}
}

func TestPolicyIsComparedAndSet(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	if _, _, err := s.Policy(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Policy() of an empty store = %v, want %v", err, ErrNotFound)
	}
	first, err := s.PutPolicy(t.Context(), signed("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, stale := range []uint64{0, first + 1} {
		if _, err := s.PutPolicy(t.Context(), signed("other"), stale); !errors.Is(err, ErrConflict) {
			t.Errorf("PutPolicy(expected %d) = %v, want %v", stale, err, ErrConflict)
		}
	}
	second, err := s.PutPolicy(t.Context(), signed("two"), first)
	if err != nil {
		t.Fatal(err)
	}
	got, revision, err := s.Policy(t.Context())
	if err != nil || revision != second {
		t.Fatalf("Policy() = revision %d, %v, want %d", revision, err, second)
	}
	if diff := cmp.Diff(signed("two"), got, protocmp.Transform()); diff != "" {
		t.Errorf("Policy() (-want +got):\n%s", diff)
	}
	history, err := s.PolicyHistory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*policyv1.SignedPolicy{signed("one"), signed("two")}, history, protocmp.Transform()); diff != "" {
		t.Errorf("PolicyHistory() (-want +got):\n%s", diff)
	}
}

func TestPolicyOfSeveralMegabytes(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	large := &policyv1.SignedPolicy{Policy: make([]byte, 8<<20)}
	if _, err := s.PutPolicy(t.Context(), large, 0); err != nil {
		t.Fatalf("PutPolicy(8 MiB) = %v", err)
	}
	got, _, err := s.Policy(t.Context())
	if err != nil || len(got.GetPolicy()) != 8<<20 {
		t.Fatalf("Policy() = %d bytes, %v, want 8 MiB", len(got.GetPolicy()), err)
	}
}

func TestOneOfManyWritersWins(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	results := make(chan error)
	for i := range 8 {
		go func() {
			_, err := s.PutPolicy(t.Context(), signed(fmt.Sprint(i)), 0)
			results <- err
		}()
	}
	won := 0
	for range 8 {
		err := <-results
		if err == nil {
			won++
		} else if !errors.Is(err, ErrConflict) {
			t.Errorf("PutPolicy() = %v, want %v", err, ErrConflict)
		}
	}
	if won != 1 {
		t.Errorf("%d of 8 writers won, want 1", won)
	}
}

func TestBucket(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	b := s.Bindings()
	const key = "llm/spiffe://azure.demo/ai/llm *>."
	if _, _, err := b.Get(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Get() of nothing = %v, want %v", err, ErrNotFound)
	}
	first, err := b.Put(t.Context(), key, []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), key, []byte("two"), 0); !errors.Is(err, ErrConflict) {
		t.Errorf("Put() again as new = %v, want %v", err, ErrConflict)
	}
	if err := b.Delete(t.Context(), key, first+7); !errors.Is(err, ErrConflict) {
		t.Errorf("Delete() at another revision = %v, want %v", err, ErrConflict)
	}
	if _, err := b.Put(t.Context(), "second", []byte("three"), 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{key: "one", "second": "three"}, list(t, b)); diff != "" {
		t.Errorf("List() (-want +got):\n%s", diff)
	}
	if err := b.Delete(t.Context(), key, first); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Get(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get() of a deleted key = %v, want %v", err, ErrNotFound)
	}
	if _, err := b.Put(t.Context(), key, []byte("back"), 0); err != nil {
		t.Errorf("Put() of a deleted key as new = %v", err)
	}
	if diff := cmp.Diff(map[string]string{key: "back", "second": "three"}, list(t, b)); diff != "" {
		t.Errorf("List() (-want +got):\n%s", diff)
	}
}

func list(t *testing.T, b *Bucket) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := b.List(t.Context(), func(key string, value []byte, _ uint64) error {
		all[key] = string(value)
		return nil
	})
	if err != nil {
		t.Fatalf("List() = %v", err)
	}
	return all
}

func TestListOfNothingAndOfAFailure(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	if got := list(t, s.Bindings()); len(got) != 0 {
		t.Errorf("List() of an empty bucket = %v", got)
	}
	if _, err := s.Bindings().Put(t.Context(), "k", nil, 0); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	err := s.Bindings().List(t.Context(), func(string, []byte, uint64) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("List() with a failing callback = %v, want %v", err, stop)
	}
}

func TestFramesAreReplayedInOrder(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	if got := replay(t, s); got != nil {
		t.Fatalf("Replay() of an empty store = %v", got)
	}
	var want []delivered
	for i := range 50 {
		gateway := fmt.Sprintf("spiffe://e%d.demo/sallyport/gateway/g", i%3)
		frames := [][]byte{fmt.Appendf(nil, "open %d", i), fmt.Appendf(nil, "close %d", i)}
		if err := s.AppendFrames(t.Context(), gateway, frames); err != nil {
			t.Fatal(err)
		}
		want = append(want, delivered{gateway, string(frames[0])}, delivered{gateway, string(frames[1])})
	}
	if diff := cmp.Diff(want, replay(t, s)); diff != "" {
		t.Errorf("Replay() (-want +got):\n%s", diff)
	}
}

func TestLargeBatchIsSplitAndKept(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	frames := make([][]byte, 100)
	for i := range frames {
		frames[i] = make([]byte, 64<<10)
		frames[i][0] = byte(i)
	}
	if err := s.AppendFrames(t.Context(), "g", frames); err != nil {
		t.Fatalf("AppendFrames(6.4 MB) = %v", err)
	}
	got := replay(t, s)
	if len(got) != len(frames) {
		t.Fatalf("Replay() = %d frames, want %d", len(got), len(frames))
	}
	for i, d := range got {
		if d.Frame[0] != byte(i) || len(d.Frame) != 64<<10 {
			t.Fatalf("frame %d of the replay is %d, %d bytes", i, d.Frame[0], len(d.Frame))
		}
	}
}

func TestFit(t *testing.T) {
	half := make([]byte, batchBytes/2)
	tests := []struct {
		name   string
		frames [][]byte
		want   int
	}{
		{"one", [][]byte{half}, 1},
		{"exactly full", [][]byte{half, half}, 2},
		{"one over", [][]byte{half, half, {1}}, 2},
		{"the first alone is over", [][]byte{make([]byte, batchBytes+1), {1}}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fit(tt.frames); got != tt.want {
				t.Errorf("fit() = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestReplayStopsAtAFailure(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	if err := s.AppendFrames(t.Context(), "g", [][]byte{[]byte("a")}); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := s.Replay(t.Context(), time.Time{}, func(string, time.Time, [][]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Replay() with a failing callback = %v, want %v", err, stop)
	}
}

func TestUnreadableBatchDoesNotStopTheReplay(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	if _, err := s.js.Publish(t.Context(), framesSubject, []byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendFrames(t.Context(), "g", [][]byte{[]byte("after")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]delivered{{"g", "after"}}, replay(t, s)); diff != "" {
		t.Errorf("Replay() (-want +got):\n%s", diff)
	}
}

func TestOpenRefusesAConfigWithoutAPlace(t *testing.T) {
	for _, cfg := range []Config{{}, {Dir: t.TempDir(), URL: "nats://127.0.0.1:1"}} {
		if s, err := Open(t.Context(), cfg); err == nil {
			closeStore(t, s)
			t.Errorf("Open(%+v) succeeded", cfg)
		}
	}
}

func TestExternalServer(t *testing.T) {
	external, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	external.Start()
	defer func() { external.Shutdown(); external.WaitForShutdown() }()
	if !external.ReadyForConnections(readyTimeout) {
		t.Fatal("the external server did not start")
	}
	s := open(t, Config{URL: external.ClientURL()})
	defer closeStore(t, s)
	fill(t, s)
	again := open(t, Config{URL: external.ClientURL()})
	defer closeStore(t, again)
	checkFilled(t, again)
}

func TestEmbeddedServerDoesNotListen(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	if addr, ok := s.server.nats.Addr().(*net.TCPAddr); ok && addr != nil {
		t.Errorf("the embedded server listens at %s", addr)
	}
}

func TestFullStoreSaysSo(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), MaxBytes: 1 << 20})
	defer closeStore(t, s)
	frame := make([]byte, 60<<10)
	accepted := 0
	for accepted < 100 {
		err := s.AppendFrames(t.Context(), "g", [][]byte{frame})
		if err != nil {
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("AppendFrames() in a full store = %v, want %v", err, ErrUnavailable)
			}
			break
		}
		accepted++
	}
	if accepted == 0 || accepted == 100 {
		t.Fatalf("%d frames of 60 KiB went into 1 MiB", accepted)
	}
	if got := len(replay(t, s)); got != accepted {
		t.Errorf("%d frames are there, %d were answered for", got, accepted)
	}
}

func TestEndedContext(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	defer closeStore(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.AppendFrames(ctx, "g", [][]byte{{1}}); !errors.Is(err, context.Canceled) {
		t.Errorf("AppendFrames() with an ended context = %v, want %v", err, context.Canceled)
	}
}
