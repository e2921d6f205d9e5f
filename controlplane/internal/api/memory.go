package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// lookEvery is how often it is looked whether a gateway said something new.
	// Answers are rare, so this bounds what they cost the store.
	lookEvery = 2 * time.Second
	// reportEvery bounds how often a gateway's report alone is written: it comes
	// every few seconds, and differs each time.
	reportEvery = 30 * time.Second
	// lastWords bounds the last write, when the control plane stops.
	lastWords = 2 * time.Second
)

// Memory keeps what gateways said last, by SPIFFE ID. A revision is 0 for a key
// that does not exist. Put fails with store.ErrConflict if the key is at another
// revision than expected. All may be called concurrently.
type Memory interface {
	Put(ctx context.Context, key string, value []byte, expected uint64) (uint64, error)
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	List(ctx context.Context, each func(key string, value []byte, revision uint64) error) error
}

// memory is what the store has of each gateway: its last answers and its last
// report. It is written off the path of answers and reports, which nobody waits
// for; what was said in the last seconds before a crash is said again anyway.
type memory struct {
	bucket Memory
	log    *zap.Logger

	mu    sync.Mutex // guards known
	known map[string]kept
}

// kept is what the store has of one gateway.
type kept struct {
	status   *controlv1.GatewayStatus // never changed once here
	revision uint64                   // of the store
	at       time.Time                // of this process's last write
}

// newMemory reads what is stored. What cannot be read is logged and left out: it
// is one gateway's, and that says it again.
func newMemory(ctx context.Context, bucket Memory, log *zap.Logger) (*memory, error) {
	m := &memory{bucket: bucket, log: log, known: map[string]kept{}}
	err := bucket.List(ctx, func(key string, value []byte, revision uint64) error {
		status := new(controlv1.GatewayStatus)
		if err := proto.Unmarshal(value, status); err != nil {
			log.Error("stored state of a gateway cannot be read, left out", zap.String("gateway", key), zap.Error(err))
			status = new(controlv1.GatewayStatus)
		}
		m.known[key] = kept{status: status, revision: revision}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what gateways said last: %w", err)
	}
	return m, nil
}

// recall fills in what a gateway said before and has not said again since.
func (m *memory) recall(s *controlv1.GatewayStatus) {
	m.mu.Lock()
	was := m.known[s.GetId()].status
	m.mu.Unlock()
	if s.GetSerial() == 0 {
		s.Serial, s.Revision = was.GetSerial(), was.GetRevision()
	}
	if s.GetReported() == nil {
		s.Report, s.Reported = was.GetReport(), was.GetReported()
	}
	acks := map[string]*controlv1.ResourceAck{}
	for _, a := range slices.Concat(was.GetAcks(), s.GetAcks()) {
		acks[a.GetTypeUrl()] = a
	}
	s.Acks = nil
	for _, typ := range slices.Sorted(maps.Keys(acks)) {
		s.Acks = append(s.Acks, acks[typ])
	}
}

// keep writes what is new of each gateway. With all set, a new report is written
// however new the last one is.
func (m *memory) keep(ctx context.Context, statuses []*controlv1.GatewayStatus, now time.Time, all bool) {
	for _, s := range statuses {
		m.mu.Lock()
		was := m.known[s.GetId()]
		m.mu.Unlock()
		said := lasting(s)
		if !isNew(was, said, all || now.Sub(was.at) >= reportEvery) {
			continue
		}
		revision, err := m.put(ctx, s.GetId(), said, was.revision)
		if err != nil {
			m.log.Warn("what a gateway said is not kept", zap.String("gateway", s.GetId()), zap.Error(err))
			continue
		}
		m.mu.Lock()
		m.known[s.GetId()] = kept{status: said, revision: revision, at: now}
		m.mu.Unlock()
	}
}

// lasting is what is kept of a gateway's state: what it said, and not whether it
// is connected, nor what the policy says of it.
func lasting(s *controlv1.GatewayStatus) *controlv1.GatewayStatus {
	return &controlv1.GatewayStatus{
		Serial: s.GetSerial(), Revision: s.GetRevision(), Acks: s.GetAcks(), Report: s.GetReport(), Reported: s.GetReported(),
	}
}

// isNew says whether a gateway said something that is to be written; a report
// alone only if reports are due.
func isNew(was kept, said *controlv1.GatewayStatus, due bool) bool {
	if due {
		return !proto.Equal(was.status, said) && !(was.status == nil && proto.Size(said) == 0)
	}
	answers := func(s *controlv1.GatewayStatus) *controlv1.GatewayStatus {
		return &controlv1.GatewayStatus{Serial: s.GetSerial(), Revision: s.GetRevision(), Acks: s.GetAcks()}
	}
	return !proto.Equal(answers(was.status), answers(said))
}

// put writes over whatever another control plane wrote meanwhile: the gateway's
// word is newer here.
func (m *memory) put(ctx context.Context, id string, said *controlv1.GatewayStatus, expected uint64) (uint64, error) {
	value, err := proto.Marshal(said)
	if err != nil {
		return 0, err
	}
	revision, err := m.bucket.Put(ctx, id, value, expected)
	if !errors.Is(err, store.ErrConflict) {
		return revision, err
	}
	if _, expected, err = m.bucket.Get(ctx, id); err != nil {
		return 0, err
	}
	return m.bucket.Put(ctx, id, value, expected)
}

// run keeps what gateways say until ctx ends, and then once more.
func (g *gateways) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			g.memory.keep(ctx, g.list(), now, false)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			g.memory.keep(last, g.list(), time.Now(), true)
			return
		}
	}
}
