package pack

import (
	"crypto/sha256"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/chain"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/trust"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

// announced takes up what authorities and gateways have announced.
func (c *checker) announced() {
	c.each(func(l *log) []logged { return l.bundles }, message.SignedBundle, signedAt, func(m *wire.Message, _ chain.Delivery) error { return c.book.Bundle(m) })
	none := func(*wire.Message) int64 { return 0 }
	c.each(func(l *log) []logged { return l.announcements }, message.Announcement, none, func(m *wire.Message, d chain.Delivery) error {
		err := c.book.Announce(m)
		if err == nil {
			c.speak(m.Text("gateway"), voice{m.Time("at"), m.Text("run"), d})
		}
		return err
	})
}

// signedAt is when a bundle was signed first.
func signedAt(m *wire.Message) int64 {
	first := int64(0)
	for i, s := range m.Subs("signatures") {
		if at := int64(s.Uint("signedAt")); i == 0 || at < first {
			first = at
		}
	}
	return first
}

// each takes up messages of all logs, each once, in an order.
func (c *checker) each(of func(*log) []logged, s *wire.Schema, order func(*wire.Message) int64, take func(*wire.Message, chain.Delivery) error) {
	type one struct {
		logged
		m     *wire.Message
		order int64
	}
	var all []one
	seen := map[[sha256.Size]byte]bool{}
	for _, l := range c.logs {
		for _, e := range of(l) {
			sum := sha256.Sum256(e.data)
			if seen[sum] {
				continue
			}
			seen[sum] = true
			m, err := wire.Decode(s, e.data)
			if err != nil {
				c.Findings.Add(finding.In(finding.Fault, finding.Malformed, e.Log, e.Index, "%v", err))
				continue
			}
			all = append(all, one{e, m, order(m)})
		}
	}
	slices.SortStableFunc(all, func(x, y one) int { return int(min(max(x.order-y.order, -1), 1)) })
	for _, o := range all {
		if err := take(o.m, o.Delivery); err != nil {
			c.Findings.Add(finding.In(unproven(err), finding.Unproven, o.Log, o.Index, "%s: %v", s.Name(), err))
		}
	}
}

// unproven is how much it weighs that something is not proven.
func unproven(err error) finding.Weight {
	if errors.Is(err, keys.ErrNoKey) {
		return finding.Unknown
	}
	return finding.Fault
}

// verdict is what was found of a statement's signatures.
type verdict struct {
	claim, answer *trust.Key
	err           error
}

// stated verifies what gateways have signed, and sorts it by chains.
func (c *checker) stated() {
	var all []delivered
	for _, l := range c.logs {
		all = append(all, l.statements...)
		l.statements = nil
	}
	c.Statements = len(all)
	verdicts := c.verify(all)
	for i, d := range all {
		v := verdicts[i]
		if v.err != nil {
			c.unsigned(d, v.err)
			continue
		}
		ch := c.chains[d.Chain]
		if ch == nil {
			ch = newChained(d.Chain)
			c.chains[d.Chain] = ch
		}
		ch.Add(d.Statement, v.claim, v.answer, d.Delivery)
		c.speak(d.Chain.Egress, voice{d.At, d.Chain.Run, d.Delivery})
		if d.Answer != nil {
			c.speak(d.Chain.Ingress, voice{d.Answer.At, d.Answer.Run, d.Delivery})
		}
	}
	for name := range c.chains {
		c.names = append(c.names, name)
	}
	slices.SortFunc(c.names, func(x, y statement.Chain) int {
		return strings.Compare(x.Egress+" "+x.Ingress+" "+x.Run, y.Egress+" "+y.Ingress+" "+y.Run)
	})
	c.Chains = len(c.names)
}

func (c *checker) unsigned(d delivered, err error) {
	kind := finding.Unproven
	if errors.Is(err, statement.ErrSignature) {
		kind = finding.Changed
	}
	f := finding.In(unproven(err), kind, d.Log, d.Index, "%v", err)
	f.Chain, f.Epoch = &d.Chain, d.Epoch
	c.Findings.Add(f)
}

// verify verifies statements on all processors. The same bytes are verified once.
func (c *checker) verify(all []delivered) []verdict {
	type same struct{ claim, answer, signatures [sha256.Size]byte }
	of, first := make([]int, len(all)), map[same]int{}
	for i, d := range all {
		s := same{claim: d.Hash, signatures: sha256.Sum256(append(slices.Clone(d.Signature.Value), d.Signature.Key[:]...))}
		if a := d.Answer; a != nil {
			s.answer = a.Hash
			s.signatures = sha256.Sum256(slices.Concat(s.signatures[:], a.Signature.Value, a.Signature.Key[:]))
		}
		at, known := first[s]
		if !known {
			at, first[s] = i, i
		}
		of[i] = at
	}
	verdicts := make([]verdict, len(all))
	parallel(len(all), func(i int) {
		if of[i] == i {
			verdicts[i] = c.judge(all[i].Statement)
		}
	})
	for i, at := range of {
		verdicts[i] = verdicts[at]
	}
	return verdicts
}

func (c *checker) judge(s *statement.Statement) (v verdict) {
	if v.claim, v.err = c.book.Key(s.Chain.Egress, s.Signature.Key); v.err != nil {
		return v
	}
	if v.err = s.VerifyClaim(v.claim.Public); v.err != nil || s.Answer == nil {
		return v
	}
	if v.answer, v.err = c.book.Key(s.Chain.Ingress, s.Answer.Signature.Key); v.err != nil {
		return v
	}
	v.err = s.VerifyAnswer(v.answer.Public)
	return v
}

// parallel does something for each of so many on all processors.
func parallel(n int, do func(i int)) {
	workers := runtime.GOMAXPROCS(0)
	var each sync.WaitGroup
	for w := range workers {
		each.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	each.Wait()
}

// follow follows each chain, and holds heartbeats against them.
func (c *checker) follow() {
	var began time.Time
	for _, l := range c.logs {
		if began.IsZero() || l.First.After(began) {
			began = l.First
		}
	}
	for _, name := range c.names {
		ch := c.chains[name]
		c.Findings.Add(ch.Find(began)...)
		for _, l := range c.logs {
			if l.Checkpoint != nil {
				c.Findings.Add(ch.Within(l.Log.Log)...)
			}
		}
	}
	for _, l := range c.logs {
		for _, b := range l.beats {
			c.heard(l, b)
		}
		l.beats = nil
	}
}

// heard takes a heartbeat up.
func (c *checker) heard(l *log, b beat) {
	key, err := c.book.Key(b.Heartbeat.Gateway, b.Signature.Key)
	if err == nil {
		err = b.Verify(key.Public)
	}
	if err == nil && !key.Covers(b.At) {
		err = errors.New("the SVIDs that announced its key were not good at its time")
	}
	if err != nil {
		c.Findings.Add(finding.In(unproven(err), finding.Unproven, b.Log, b.Index, "heartbeat: %v", err))
		return
	}
	c.speak(b.Heartbeat.Gateway, voice{b.At, b.Heartbeat.Run, b.Delivery})
	for _, s := range b.Standings {
		ch := c.chains[s.Chain]
		if ch == nil {
			ch = newChained(s.Chain) // nothing of it is in any log
		}
		c.Findings.Add(ch.Stands(s, b.Heartbeat.Gateway, b.Delivery, l.Log.Log)...)
	}
}
