package api

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	// journalEvery is how often what could not be entered is tried again.
	journalEvery = 5 * time.Second
	// bundlesEvery is how often the bundles that are in force are entered.
	bundlesEvery = 24 * time.Hour
	// journalBound is how many entries wait for a log at most. Beyond it a log has been out
	// of order for long, and its operator has been told with each.
	journalBound = 4096
)

// journal enters administrative acts into the environments' logs. An act is done before it
// is entered: a disk that is full must not keep a quarantine from being made. What cannot
// be entered is an error for its operator, and is tried again while the process lives; what
// is in force is entered again when the next one starts.
type journal struct {
	logs Logs // nil if none are kept
	log  *zap.Logger

	mu      sync.Mutex // guards what follows
	waiting []waiting
	wake    chan struct{} // of one: something waits
}

// waiting is an entry for a log.
type waiting struct {
	td    string
	entry *logv1.Entry
}

func newJournal(logs Logs, log *zap.Logger) *journal {
	return &journal{logs: logs, log: log, wake: make(chan struct{}, 1)}
}

// tell has an entry entered into a log soon.
func (j *journal) tell(td string, e *logv1.Entry) {
	if j.logs == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.waiting) == journalBound {
		j.log.Error("administrative act is in no log", zap.String("trust_domain", td))
		return
	}
	j.waiting = append(j.waiting, waiting{td, e})
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// everywhere has an act entered into the log of each environment of a policy.
func (j *journal) everywhere(p *policyv1.Policy, a *logv1.Act) {
	for _, e := range p.GetEnvironments() {
		j.tell(e.GetTrustDomain(), &logv1.Entry{Act: proto.CloneOf(a)})
	}
}

// published enters that a policy is in force: what was signed, which names its content by
// its digest.
func (j *journal) published(g *generation, by string) {
	named := &policyv1.SignedPolicy{Manifest: g.signed.GetManifest(), Signatures: g.signed.GetSignatures(), Rotations: g.signed.GetRotations()}
	if data, err := (proto.MarshalOptions{Deterministic: true}).Marshal(named); err == nil {
		j.everywhere(g.source, &logv1.Act{By: by, Policy: data})
	}
}

// made enters an operator's act.
func (j *journal) made(g *generation, signed *policyv1.SignedAct, by string) {
	if data, err := (proto.MarshalOptions{Deterministic: true}).Marshal(signed); err == nil {
		j.everywhere(g.source, &logv1.Act{By: by, Act: data})
	}
}

// bundle enters a trust domain's bundle into its own log.
func (j *journal) bundle(signed *configv1.SignedBundle) {
	if data, err := (proto.MarshalOptions{Deterministic: true}).Marshal(signed); err == nil {
		j.tell(signed.GetTrustDomain(), &logv1.Entry{Bundle: data})
	}
}

// run enters what waits, until ctx ends, and each day what again gives.
func (j *journal) run(ctx context.Context, again func()) {
	retry, daily := time.NewTicker(journalEvery), time.NewTicker(bundlesEvery)
	defer retry.Stop()
	defer daily.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.wake:
		case <-retry.C:
		case <-daily.C:
			again()
		}
		j.enter(ctx)
	}
}

// enter enters what waits, and keeps what cannot be.
func (j *journal) enter(ctx context.Context) {
	j.mu.Lock()
	all := j.waiting
	j.waiting = nil
	j.mu.Unlock()
	var left []waiting
	for _, w := range all {
		if err := j.logs.Add(ctx, w.td, w.entry); err != nil {
			j.log.Error("administrative act not entered in the log; tried again", zap.String("trust_domain", w.td), zap.Error(err))
			left = append(left, w)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting = append(left, j.waiting...)
}
