package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/evidence"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// withLogs is a mesh that keeps logs, and its logs. Nothing of it is read only.
func withLogs(t *testing.T) (*mesh, *translog.Set) {
	t.Helper()
	set, err := translog.OpenSet(t.Context(), translog.SetConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return published(t, func(c *Config) { c.Logs, c.Frames = set, nothing{} }), set
}

// statementFrame is a claim that stands alone, as its gateway delivers it.
func statementFrame(t *testing.T) []byte {
	t.Helper()
	none := sha256.Sum256(nil)
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(&crossingv1.Claim{
		Chain: &crossingv1.Chain{Egress: onprem1, Ingress: azure1, Run: testRun},
		Epoch: 1, First: 1, Next: 1, Roots: &crossingv1.Roots{Opened: none[:], Closed: none[:]}, Agreed: &crossingv1.Agreed{Opened: none[:], Closed: none[:]},
		Since: timestamppb.Now(), At: timestamppb.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	signed := statement.NewSigner().Claim(&crossingv1.Statement{Claim: data})
	frame, err := crossing.MarshalFrame(&crossingv1.Frame{Gateway: onprem1, Run: testRun, Statement: signed})
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// awaitEntries waits until a log has entries that are looked for.
func awaitEntries(t *testing.T, set *translog.Set, td string, is func(*logv1.Entry) bool) *logv1.Entry {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log of %s has no such entry", td)
		}
		r := set.Readers()[td]
		if r == nil {
			continue
		}
		c, err := r.Checkpoint(t.Context())
		if err != nil {
			continue
		}
		for e, err := range r.Entries(t.Context(), 0, c.Size) {
			if err != nil {
				t.Fatal(err)
			}
			if is(e) {
				return e
			}
		}
	}
}

// TestStatementsAreLogged: what a gateway states is in its environment's log when it is
// acknowledged, byte for byte, and once.
func TestStatementsAreLogged(t *testing.T) {
	m, set := withLogs(t)
	frame := statementFrame(t)
	for range 2 {
		if ack, err := deliver(m, &controlv1.Batch{Frames: [][]byte{frame}}); err != nil || len(ack.GetRejected()) > 0 {
			t.Fatalf("rejected: %v, %v", ack.GetRejected(), err)
		}
	}
	awaitEntries(t, set, "onprem.demo", func(e *logv1.Entry) bool { return string(e.GetFrame()) == string(frame) })
	r, times := set.Readers()["onprem.demo"], 0
	c, err := r.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range r.Entries(t.Context(), 0, c.Size) {
		if err != nil {
			t.Fatal(err)
		}
		if len(e.GetFrame()) > 0 {
			times++
		}
	}
	if times != 1 {
		t.Errorf("the log has %d frames", times)
	}
}

// brokenLogs take nothing until they are mended.
type brokenLogs struct {
	mu    sync.Mutex
	whole bool
	taken map[string][]*logv1.Entry
	tries int
}

var errBroken = errors.New("no space left on device")

func (b *brokenLogs) Add(_ context.Context, td string, entries ...*logv1.Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	if !b.whole {
		return errBroken
	}
	b.taken[td] = append(b.taken[td], entries...)
	return nil
}

func (b *brokenLogs) Witnesses() []translog.Witness        { return nil }
func (b *brokenLogs) Cosigned(string) []translog.Cosigned  { return nil }
func (b *brokenLogs) Readers() map[string]*translog.Reader { return nil }
func (b *brokenLogs) Failed() map[string]error             { return map[string]error{"onprem.demo": errBroken} }

// TestLogFails: what cannot be logged is not acknowledged, and the store is not filled
// with it meanwhile. Everything else goes on.
func TestLogFails(t *testing.T) {
	logs := &brokenLogs{taken: map[string][]*logv1.Entry{}}
	m := published(t, func(c *Config) { c.Logs = logs })
	frame := statementFrame(t)
	if _, err := deliver(m, &controlv1.Batch{Frames: [][]byte{frame}}); err == nil {
		t.Error("it is acknowledged")
	}
	if n := len(stored(m)); n != 0 {
		t.Errorf("%d frames were stored", n)
	}
	if _, err := deliver(m, &controlv1.Batch{Frames: [][]byte{refusalFrame(t, onprem1, 1)}}); err != nil {
		t.Errorf("a batch without statements: %v", err)
	}
	logs.mu.Lock()
	logs.whole = true
	logs.mu.Unlock()
	if _, err := deliver(m, &controlv1.Batch{Frames: [][]byte{frame}}); err != nil {
		t.Error(err)
	}
	if got := logs.taken["onprem.demo"]; len(got) == 0 || string(got[len(got)-1].GetFrame()) != string(frame) {
		t.Errorf("the log took %v", got)
	}
	resp, err := controlv1.NewLogServiceClient(m.operator()).ListLogs(t.Context(), &controlv1.ListLogsRequest{})
	if err != nil || len(resp.GetLogs()) != 1 || resp.GetLogs()[0].GetFailed() != errBroken.Error() {
		t.Errorf("ListLogs() = %v, %v", resp, err)
	}
}

// TestTooLargeForTheLog: a frame that no entry has room for is refused for good, or it
// would hold up its gateway's spool for ever.
func TestTooLargeForTheLog(t *testing.T) {
	logs := &brokenLogs{taken: map[string][]*logv1.Entry{}, whole: true}
	c := &crossings{config: Config{Logs: logs}}
	large := make([]byte, translog.MaxFrame+1)
	batch, ack := &controlv1.Batch{Frames: [][]byte{large, large[:len(large)-1]}}, new(controlv1.Ack)
	f := &crossingv1.Frame{Announcement: &crossingv1.Announcement{}}
	caller := spiffeid.RequireFromString(onprem1)
	entries, accepted := c.entries(caller, batch, []checked{{f, 0}, {f, 1}}, ack)
	if len(entries) != 1 || len(accepted) != 1 || accepted[0].index != 1 || len(ack.GetRejected()) != 1 || ack.GetRejected()[0].GetIndex() != 0 {
		t.Errorf("%d entries, %d accepted, rejected %v", len(entries), len(accepted), ack.GetRejected())
	}
}

// TestActsAreLogged: what an operator has done is in the log of each environment of the
// policy, under the operator's name, and so are bundles, and who read.
func TestActsAreLogged(t *testing.T) {
	m, set := withLogs(t)
	running, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.server.Run(running) }()
	defer func() { stop(); <-done }()
	one := awaitEntries(t, set, "onprem.demo", func(e *logv1.Entry) bool { return len(e.GetAct().GetPolicy()) > 0 })
	signed := new(policyv1.SignedPolicy)
	if err := proto.Unmarshal(one.GetAct().GetPolicy(), signed); err != nil {
		t.Fatal(err)
	}
	if current, _ := m.server.Current(); string(signed.GetManifest()) != string(current.GetManifest()) || len(signed.GetPolicy()) > 0 {
		t.Errorf("the log has the manifest %s with %d bytes of the policy", signed.GetManifest(), len(signed.GetPolicy()))
	}
	awaitEntries(t, set, "azure.demo", func(e *logv1.Entry) bool { return len(e.GetAct().GetPolicy()) > 0 })
	client := controlv1.NewLogServiceClient(m.operator())
	stream, err := client.Export(t.Context(), &controlv1.ExportRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := stream.Recv(); err != nil {
			break
		}
	}
	by := awaitEntries(t, set, "azure.demo", func(e *logv1.Entry) bool { return e.GetRead() != nil })
	if !strings.HasSuffix(by.GetRead().GetBy(), operatorPath) {
		t.Errorf("it was read by %s", by.GetRead().GetBy())
	}
	keys, err := client.ListKeys(t.Context(), &controlv1.ListKeysRequest{})
	if err != nil || !strings.HasPrefix(keys.GetKeys(), "log azure.demo/sallyport/log+") || !strings.Contains(keys.GetKeys(), "\nlog onprem.demo/sallyport/log+") {
		t.Errorf("ListKeys() = %q, %v", keys.GetKeys(), err)
	}
}

// TestJournalTriesAgain: an act that cannot be logged is logged later.
func TestJournalTriesAgain(t *testing.T) {
	logs := &brokenLogs{taken: map[string][]*logv1.Entry{}}
	j := newJournal(logs, zaptest.NewLogger(t))
	j.tell("a", &logv1.Entry{Read: &logv1.Read{What: "1"}})
	j.enter(t.Context())
	j.tell("a", &logv1.Entry{Read: &logv1.Read{What: "2"}})
	logs.whole = true
	j.enter(t.Context())
	j.enter(t.Context())
	var what []string
	for _, e := range logs.taken["a"] {
		what = append(what, e.GetRead().GetWhat())
	}
	if !slices.Equal(what, []string{"1", "2"}) || logs.tries != 3 {
		t.Errorf("logged %v in %d tries", what, logs.tries)
	}
	for range 2 * journalBound {
		j.tell("a", &logv1.Entry{})
	}
	if n := len(j.waiting); n != journalBound {
		t.Errorf("%d wait, want %d", n, journalBound)
	}
}

// TestProveErrors: who asks for what is not there is told so.
func TestProveErrors(t *testing.T) {
	m, _ := withLogs(t)
	client := controlv1.NewLogServiceClient(m.operator())
	_, err := client.Prove(t.Context(), &controlv1.ProveRequest{Id: "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88"})
	wantCode(t, "Prove() of no crossing", err, codes.NotFound)
	_, err = client.Prove(t.Context(), &controlv1.ProveRequest{Id: "../../etc/passwd"})
	wantCode(t, "Prove() of no id", err, codes.InvalidArgument)
	none := published(t, nil)
	client = controlv1.NewLogServiceClient(none.operator())
	_, err = client.Prove(t.Context(), &controlv1.ProveRequest{Id: "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88"})
	wantCode(t, "Prove() without logs", err, codes.FailedPrecondition)
	_, err = client.ListKeys(t.Context(), &controlv1.ListKeysRequest{})
	wantCode(t, "ListKeys() without logs", err, codes.FailedPrecondition)
	resp, err := client.ListLogs(t.Context(), &controlv1.ListLogsRequest{})
	if err != nil || len(resp.GetLogs()) > 0 {
		t.Errorf("ListLogs() without logs: %v, %v", resp, err)
	}
}

var (
	_ Logs            = (*translog.Set)(nil)
	_ evidence.Frames = nothing{}
)

// nothing has no frames.
type nothing struct{}

func (nothing) Replay(context.Context, time.Time, func(string, time.Time, [][]byte) error) error {
	return nil
}
