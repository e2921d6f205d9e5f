package exchange

import (
	"context"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/standing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// progressEvery is how often it is recorded how far a crossing has come.
	progressEvery = time.Minute
	// looks at all that is open in that time: a record is late by one of them at most.
	looks = 12
)

// Progress records how far crossings have come that are open for long: of each, once
// it has been open for an interval, and at every further one. It asks who carries
// them nothing: it reads counters.
type Progress struct {
	cfg   Config
	every time.Duration
	due   []progressed // used for one part of all crossings after another
	lost  error        // why some could not be recorded, at this look
}

// NewProgress is for the crossings of all halves that have this configuration.
func NewProgress(cfg Config) *Progress {
	p := &Progress{cfg: cfg, every: cfg.ProgressEvery}
	if p.every == 0 {
		p.every = progressEvery
	}
	return p
}

// Run records until the context ends.
func (p *Progress) Run(ctx context.Context) {
	ticker := time.NewTicker(max(p.every/looks, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.look(time.Now())
		}
	}
}

// look records what is due. What cannot be written is not tried again: the next
// progress says more.
func (p *Progress) look(now time.Time) {
	p.lost = nil
	p.cfg.Standing.Visit(func(c *standing.Crossing) {
		if a, ok := c.Bearer.(*account); ok && a.due(now, p.every) {
			p.due = append(p.due, a.progress(now))
		}
	}, p.say)
	if p.lost != nil {
		p.cfg.Log.Error("progress of crossings not recorded", zap.Error(p.lost))
	}
}

// say writes what was found. Nobody waits for it.
func (p *Progress) say() {
	for i := range p.due {
		if err := p.cfg.Spool.Say(p.due[i].frame(), false); err != nil {
			p.lost = err
		}
	}
	clear(p.due) // of texts
	p.due = p.due[:0]
}

// progressed is a crossing's progress at one moment. Its texts are the crossing's,
// which may end as soon as it was seen.
type progressed struct {
	id, egress, ingress, run  string
	sequence                  uint64
	side                      crossingv1.Side
	at                        time.Time
	requestBytes, answerBytes uint64
}

// due says whether the crossing has been open for another interval, once for each.
// Its shard of what is standing is locked.
func (a *account) due(now time.Time, every time.Duration) bool {
	n := int64(now.Sub(a.opened) / every)
	if n <= a.told {
		return false
	}
	a.told = n
	return true
}

// progress is how far the crossing has come. Its shard of what is standing is locked.
func (a *account) progress(now time.Time) progressed {
	p := progressed{
		id: a.id, egress: a.key.Egress, ingress: a.key.Ingress, run: a.key.Run, sequence: a.key.Sequence,
		side: a.close.Side, at: now,
	}
	p.requestBytes, p.answerBytes = a.passed()
	return p
}

func (p *progressed) frame() *crossingv1.Frame {
	return &crossingv1.Frame{Progress: &crossingv1.Progress{
		Id:   p.id,
		Key:  &crossingv1.Key{Egress: p.egress, Ingress: p.ingress, Run: p.run, Sequence: p.sequence},
		Side: p.side, At: timestamppb.New(p.at), RequestBytes: p.requestBytes, ResponseBytes: p.answerBytes,
	}}
}
