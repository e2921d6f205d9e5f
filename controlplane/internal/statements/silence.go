package statements

import (
	"strings"
	"time"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// silence is the finding that nobody states a chain any more, although it is not over;
// nil if somebody does.
func (b *Book) silence(c *chain, now time.Time) *controlv1.Finding {
	if c.final && (c.name.Ingress == "" || c.last.accounts[ingress].stated) {
		return nil
	}
	e, i := Short(c.name.Egress), Short(c.name.Ingress)
	say := func(s side, since time.Time, cause string, args ...any) *controlv1.Finding {
		f := c.finding(controlv1.Finding_SILENT, c.gateway(s), 0, c.stated(), since, cause, args...)
		f.Uncertain = true
		if c.last != nil {
			f.Epoch = c.last.number
		}
		return f
	}
	switch {
	case c.final:
		if now.Before(c.last.accounts[egress].came.Add(Silence)) {
			return nil
		}
		f := say(ingress, c.last.accounts[egress].came, "the run of %s has ended, and %s has not answered its last claim", e, i)
		f.Kind = controlv1.Finding_UNANSWERED
		return f
	case b.quiet(c.heard, now):
		return say(egress, c.heard, "%s has stated nothing since; the last number that it stated is %d", e, c.stated())
	case c.name.Ingress == "":
		return nil
	case !c.silent[ingress].IsZero():
		return say(ingress, c.silent[ingress], "%s has not answered %s since; the last number that was claimed is %d", i, e, c.stated())
	}
	spoke := c.answered
	if v := b.voices[c.name.Ingress]; v != nil && v.spoke.After(spoke) {
		spoke = v.spoke
	}
	if b.quiet(spoke, now) {
		return say(ingress, spoke, "%s has stated nothing since; the last number that was claimed is %d", i, c.stated())
	}
	if !c.silent[egress].IsZero() {
		return say(egress, c.silent[egress], "%s has claimed nothing to %s since; the last number that was claimed is %d", e, i, c.stated())
	}
	return nil
}

// quiet says that two heartbeats could have been heard since, and were not.
func (b *Book) quiet(since, now time.Time) bool {
	if b.began.After(since) {
		since = b.began
	}
	return now.Sub(since) > Silence
}

// Delivered is when a gateway delivered a frame last; zero if it never did.
func (b *Book) Delivered(gateway string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.voices[gateway]; v != nil {
		return v.came
	}
	return time.Time{}
}

// Short is the last segment of a gateway's SPIFFE ID: its name.
func Short(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
