package pack

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// going is a mesh of two epochs whose run goes on.
func going(t testing.TB) *verifytest.Mesh {
	m := verifytest.New(t)
	for range 2 {
		m.Cross()
		m.Cross()
		m.Epoch(false)
	}
	return m
}

// deliver has the near gateway deliver a statement.
func deliver(m *verifytest.Mesh, s *crossingv1.Statement) {
	m.Deliver(m.Near, &crossingv1.Frame{Statement: s})
}

// TestLies: what a gateway signs that does not follow from what it signed before, is named.
func TestLies(t *testing.T) {
	for _, c := range []struct {
		name  string
		lie   func(m *verifytest.Mesh)
		kind  finding.Kind
		words []string
	}{
		{"two claims of an epoch", func(m *verifytest.Mesh) {
			deliver(m, m.Claimed(m.Statements[1].Statement, func(c *crossingv1.Claim) { c.Open = 7 }))
		}, finding.Fork, []string{"near.example/sallyport/log", "entry 5", "epoch 2", "near-1 has signed two claims"}},
		{"two answers to a claim", func(m *verifytest.Mesh) {
			m.Deliver(m.Far, &crossingv1.Frame{Statement: m.Answers(m.Statements[1].Statement, func(a *crossingv1.Answer) { a.Forgot = true })})
		}, finding.Fork, []string{"epoch 2", "far-1 has signed two answers"}},
		{"a gap", func(m *verifytest.Mesh) {
			m.Cross()
			deliver(m, m.Claimed(m.Claim(false), func(c *crossingv1.Claim) { c.First, c.Next = 6, 6; c.Closed = nil; c.Epoch = 3 }))
		}, finding.Gap, []string{"it begins with number 6, and the claim before it ended before 5"}},
		{"a claim of another chain's past", func(m *verifytest.Mesh) {
			deliver(m, m.Claimed(m.Claim(false), func(c *crossingv1.Claim) { c.Previous = make([]byte, 32) }))
		}, finding.Fork, []string{"epoch 3", "follows one that near-1 signed of epoch 2 and that no log has"}},
		{"another answer countersigned", func(m *verifytest.Mesh) {
			deliver(m, m.Claimed(m.Claim(false), func(c *crossingv1.Claim) { c.Answered = make([]byte, 32) }))
		}, finding.Fork, []string{"epoch 3", "countersigns another answer"}},
		{"an epoch after the last", func(m *verifytest.Mesh) {
			last := m.Epoch(true)
			deliver(m, m.Claimed(last.Statement, func(c *crossingv1.Claim) {
				c.Epoch, c.Previous, c.Answered, c.Closed, c.Final = 4, last.ClaimHash[:], last.AnswerHash[:], nil, false
			}))
		}, finding.AfterFinal, []string{"epoch 4", "near-1 had ended the run"}},
		{"an answer that no log has", func(m *verifytest.Mesh) {
			m.Alone()
			deliver(m, m.Claimed(m.Claim(false), func(c *crossingv1.Claim) { c.Answered = make([]byte, 32) }))
		}, finding.Dropped, []string{"epoch 4", "countersigns an answer to the claim before, and no log has that"}},
		{"it resumes", func(m *verifytest.Mesh) {
			deliver(m, m.Claimed(m.Claim(false), func(c *crossingv1.Claim) { c.Resumed = true }))
			m.Near.Log.Entries = slices.Delete(m.Near.Log.Entries, 5, 6)
		}, finding.RolledBack, []string{"epoch 3", "near-1 did not remember"}},
		{"it is silent", func(m *verifytest.Mesh) {
			m.Now = m.Now.Add(time.Minute)
			m.Epoch(false)
		}, finding.Silence, []string{"far-1 said nothing from 2026-11-27 09:00:02 to 2026-11-27 09:01:03, for 1m1s"}},
		{"it is silent from then on", func(m *verifytest.Mesh) {
			m.Rest(1)
			for range 4 {
				m.Now = m.Now.Add(10 * time.Second)
				m.Bundle(m.Near, verifytest.Near, m.Near.Authority, m.Near.Authority) // somebody else's entries
			}
		}, finding.Silence, []string{"near-1 said nothing after 2026-11-27 09:00:12"}},
		{"a heartbeat of another claim", func(m *verifytest.Mesh) {
			deliver(m, m.Claimed(m.Claim(false), func(c *crossingv1.Claim) { c.Open = 9 }))
			m.Near.Log.Entries = slices.Delete(m.Near.Log.Entries, 5, 6)
			m.Rest(3)
			m.Rest(3)
		}, finding.Fork, []string{"epoch 3", "near-1 has signed that its claim is"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := going(t)
			c.lie(m)
			finds(t, check(t, believing(t, m), m.Pack(), nil), c.kind, c.words...)
		})
	}
}

// TestStopped: a gateway that stops in order, with all stated to the end, and begins a new
// run, was not silent. One that was killed was.
func TestStopped(t *testing.T) {
	for final, want := range map[bool]finding.Weight{true: finding.Note, false: finding.Fault} {
		m := going(t)
		m.Epoch(final)
		m.Now = m.Now.Add(time.Hour / 2)
		m.Restart()
		m.Rest(2)
		r := check(t, believing(t, m), m.Pack(), nil)
		if r.Findings.Worst() != want || !strings.Contains(found(r), "far-1 said nothing from 2026-11-27 09:00:03 to 2026-11-27 09:30:03") {
			t.Errorf("final %t: weight %d\n%s", final, r.Findings.Worst(), found(r))
		}
	}
}

// TestDifferences: what both have signed that they differ on is told, of which number.
func TestDifferences(t *testing.T) {
	m := going(t)
	h := m.Out() // it never comes
	i := m.Out()
	in := m.Open(verifytest.Ingress, i.GetKey().GetSequence())
	m.In(in)
	m.Ended(m.End(i))
	end := m.End(in)
	end.ResponseBytes++
	m.Ended(end)
	m.Ended(m.End(h))
	m.Epoch(false)
	r := check(t, believing(t, m), m.Pack(), nil)
	finds(t, r, finding.Difference, "epoch 3", "number 5", "UNSEEN")
	finds(t, r, finding.Difference, "epoch 3", "number 6", "ENDED_OTHERWISE in responseBytes")
	if len(r.Findings.All) != 2 {
		t.Errorf("it finds more:\n%s", found(r))
	}
}

// TestGoingOn: what is not stated yet, or not answered, is no fault.
func TestGoingOn(t *testing.T) {
	m := going(t)
	m.Alone()
	m.Epoch(false)
	m.Cross()
	r := check(t, believing(t, m), m.Pack(), nil)
	if r.Findings.Worst() != finding.Note || len(r.Findings.All) == 0 {
		t.Errorf("it finds:\n%s", found(r))
	}
}

// TestRotated: what was right stays proven when every SVID and every root is another.
func TestRotated(t *testing.T) {
	m := going(t)
	k := believing(t, m) // of the first roots
	old := m.Near.Authority
	for range 3 { // each root is in a bundle that the one before signed
		next := map[*verifytest.Gateway]*verifytest.Authority{}
		for g, td := range map[*verifytest.Gateway]string{m.Near: verifytest.Near, m.Far: verifytest.Far} {
			next[g] = verifytest.NewAuthority(t, td, m.Now.Add(-time.Hour), 90*24*time.Hour)
			m.Bundle(g, td, g.Authority, g.Authority, next[g])
		}
		rest(m, 30*24*time.Hour)
		for g, td := range map[*verifytest.Gateway]string{m.Near: verifytest.Near, m.Far: verifytest.Far} {
			m.Bundle(g, td, next[g], next[g])
			m.Renew(g, next[g])
		}
		m.Cross()
		m.Epoch(false)
	}
	r := check(t, k, m.Pack(), nil)
	if !onlySilence(r) || r.Crossings != 7 {
		t.Errorf("%d crossings:\n%s", r.Crossings, found(r))
	}
	if m.Now.Before(old.Root.NotAfter) {
		t.Error("the first root has not expired: the test shows nothing")
	}
}

// rest lets days pass: both gateways are stopped, which is told as silence.
func rest(m *verifytest.Mesh, d time.Duration) { m.Now = m.Now.Add(d) }

func onlySilence(r *Report) bool {
	for _, f := range r.Findings.All {
		if f.Weight == finding.Fault && f.Kind != finding.Silence {
			return false
		}
	}
	return true
}

// TestForeignRoot: a bundle that no root vouches for leads nowhere.
func TestForeignRoot(t *testing.T) {
	m := going(t)
	k := believing(t, m)
	forged := verifytest.NewAuthority(t, verifytest.Near, m.Now.Add(-time.Hour), time.Hour)
	m.Bundle(m.Near, verifytest.Near, forged, forged)
	m.Renew(m.Near, forged)
	r := check(t, k, m.Pack(), nil)
	finds(t, r, finding.Unproven, "near.example/sallyport/log", "entry 5", "SignedBundle: its SVID was none of near.example")
	finds(t, r, finding.Unproven, "entry 6", "Announcement: its SVID was none of near.example")
}

// TestRetiredRoot: who has a root that its trust domain has replaced announces nothing.
func TestRetiredRoot(t *testing.T) {
	m := going(t)
	text := strings.Replace(m.Keys(), m.RootLine(m.Near), "", 1)
	old, next := m.Near.Authority, verifytest.NewAuthority(t, verifytest.Near, m.Now.Add(-time.Hour), time.Hour*24)
	anchor := verifytest.NewAuthority(t, verifytest.Near, m.Now.Add(-time.Hour), time.Hour*24)
	m.Near.Authority = anchor
	text += m.RootLine(m.Near)
	k, err := keys.Parse([]byte(strings.NewReplacer(m.Near.KeyLine(), "", m.Far.KeyLine(), "").Replace(text)))
	if err != nil {
		t.Fatal(err)
	}
	m.Bundle(m.Near, verifytest.Near, anchor, old)
	m.Now = m.Now.Add(5 * time.Second)
	m.Bundle(m.Near, verifytest.Near, anchor, next)
	m.Now = m.Now.Add(5 * time.Second)
	if r := check(t, k, m.Pack(), nil); r.Findings.Worst() != finding.Note {
		t.Errorf("before:\n%s", found(r))
	}
	m.Renew(m.Near, old)
	finds(t, check(t, k, m.Pack(), nil), finding.Unproven, "Announcement: its SVID was none of near.example")
}

// TestBackDated: what is signed with a key whose SVIDs have expired is not believed, with
// whatever time.
func TestBackDated(t *testing.T) {
	stolen := func(m *verifytest.Mesh, dated time.Time, run string) *crossingv1.Statement {
		return m.Claimed(m.Statements[0].Statement, func(c *crossingv1.Claim) {
			c.Chain.Run, c.At.Seconds, c.Since.Seconds = run, dated.Unix(), dated.Unix()-1
		})
	}
	another := strings.Repeat("ab", 16)
	t.Run("dated now", func(t *testing.T) {
		m := going(t)
		m.Now = m.Now.Add(3 * time.Hour)
		deliver(m, stolen(m, m.Now, another))
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.BackDated, "near.example/sallyport/log", "entry 5", "epoch 1", "near-1 dates it 2026-11-27 12:00:02")
	})
	t.Run("dated back", func(t *testing.T) {
		m := going(t)
		m.Now = m.Now.Add(3 * time.Hour)
		deliver(m, stolen(m, verifytest.Began.Add(time.Minute), another))
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.BackDated, "epoch 1", "it came into a log at 2026-11-27 12:00:02")
	})
	t.Run("behind the end of its chain", func(t *testing.T) {
		m := going(t)
		last := m.Statements[1]
		m.Now = m.Now.Add(3 * time.Hour)
		deliver(m, m.Claimed(last.Statement, func(c *crossingv1.Claim) {
			c.Epoch, c.Previous, c.Answered, c.First, c.Next, c.Closed = 3, last.ClaimHash[:], last.AnswerHash[:], 5, 5, nil
		}))
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.BackDated, "epoch 3", "it came into a log at")
	})
	t.Run("an announcement too", func(t *testing.T) {
		m := going(t)
		was := m.Now
		thief := verifytest.New(t).Near.Signer
		m.Now = was.Add(3 * time.Hour)
		a, err := thief.Announce(m.Near.ID, another, [][]byte{m.Near.SVID.Raw}, m.Near.Key, was)
		if err != nil {
			t.Fatal(err)
		}
		m.Deliver(m.Near, &crossingv1.Frame{Announcement: a})
		m.Near.Signer = thief
		deliver(m, stolen(m, was, another))
		finds(t, check(t, believing(t, m), m.Pack(), nil), finding.BackDated, "epoch 1", "it came into a log at")
	})
}

// TestLateDelivery: what waited in a spool while its key expired is believed, if what was
// signed later and came in time names it.
func TestLateDelivery(t *testing.T) {
	m := going(t)
	m.Renew(m.Far, m.Far.Authority)
	late := m.Now.Add(3 * time.Hour)
	held := m.Near.Log.Entries
	m.Cross()
	m.Near.SVID, m.Near.Key = m.Near.Authority.SVID(m.Near.ID, m.Now.Add(-time.Minute), time.Hour)
	claim := m.Claim(false)
	m.Near.Log.Entries, m.Now = held, late // nothing came until now
	m.Far.SVID, m.Far.Key = m.Far.Authority.SVID(m.Far.ID, m.Now.Add(-time.Minute), time.Hour)
	m.Announce(m.Far)
	deliver(m, claim)
	r := check(t, believing(t, m), m.Pack(), nil)
	finds(t, r, finding.BackDated, "epoch 3") // so far nobody vouches for it
	m.Renew(m.Near, m.Near.Authority)         // the next process has another SVID, and the key goes on
	if r := check(t, believing(t, m), m.Pack(), nil); !onlySilence(r) {
		t.Errorf("the same key, announced in time:\n%s", found(r))
	}
}
