package statement

import (
	"crypto/sha256"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// logged is a crossing's frames at both ends.
type logged struct {
	near, far       *crossingv1.Half
	nearEnd, farEnd *crossingv1.Close
	frames          [4][]byte // openings, then ends
}

func someLogged(b *testing.B, n int) []logged {
	near, far := newSpool(b, nearGateway, nearRun), newSpool(b, farGateway, farRun)
	all := make([]logged, n)
	for at := range all {
		c := &all[at]
		c.near, c.far = opening(testChain, egressSide, uint64(at+1)), opening(testChain, ingressSide, uint64(at+1))
		c.nearEnd, c.farEnd = ending(c.near, done), ending(c.far, done)
		c.frames[0], _ = near.half(c.near)
		c.frames[1], _ = far.half(c.far)
		c.frames[2], _ = near.close(c.nearEnd)
		c.frames[3], _ = far.close(c.farEnd)
	}
	return all
}

// floor is the SHA-256 of two 500-byte leaves and two nodes.
func floor(leaf []byte, nodes *[2][1 + 2*sha256.Size]byte) {
	for range 2 {
		sha256.Sum256(leaf)
	}
	for at := range nodes {
		sha256.Sum256(nodes[at][:])
	}
}

// BenchmarkCrossing: what CPU time does the log take for each crossing at both ends
// together, at 1,000 crossings a claim, against the hashes alone of two leaves of 500
// bytes and two nodes, and against signing each crossing both ways? The rounds of all
// alternate, and the quickest of each counts, so that what else runs on the machine
// is left out.
func BenchmarkCrossing(b *testing.B) {
	const size = 1000
	all := someLogged(b, size)
	leaf, nodes := make([]byte, 501), new([2][1 + 2*sha256.Size]byte)
	runs := []struct {
		name string
		per  float64 // crossings of one round
		run  func()
	}{
		{"floor", size, func() {
			for range size {
				floor(leaf, nodes)
			}
		}},
		{"leaves", size, func() {
			for at := range all {
				for _, frame := range all[at].frames {
					Leaf(frame)
				}
			}
		}},
		{"hashes", size, hashes(b, all)},
		{"accounts", size, accounts(b, all)},
		{"signing-each", 20, signingEach(b, 20)},
	}
	best := make([]float64, len(runs))
	for b.Loop() {
		for at, r := range runs {
			began := cpuTime(b)
			r.run()
			if took := float64(cpuTime(b)-began) / r.per; best[at] == 0 || took < best[at] {
				best[at] = took
			}
		}
	}
	for at, r := range runs {
		b.ReportMetric(best[at], r.name+"-ns")
	}
	b.ReportMetric(best[2]/best[0], "hashes/floor")
	b.ReportMetric(best[3]/best[0], "accounts/floor")
	b.ReportMetric(best[4]/best[2], "signing-each/hashes")
}

// cpuTime is what this process has taken, all its threads.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// signingEach signs and verifies each crossing both ways.
func signingEach(b *testing.B, times int) func() {
	near, far := newParty(b, nearGateway, nearRun), newParty(b, farGateway, farRun)
	h := opening(testChain, egressSide, 1)
	return func() {
		for range times {
			sum := crossing.OpenDigest(h)
			claim := near.signer.sign(claimContext, sum)
			answer := far.signer.sign(answerContext, sum, sum)
			if near.key.verify(nearGateway, claim, claimContext, sum) != nil || far.key.verify(farGateway, answer, answerContext, sum, sum) != nil {
				b.Fatal("bad signature")
			}
		}
	}
}

// hashes is the cryptography of both ends, without the accounts: agreed bytes and
// their digests, leaves, roots, and the signatures of one claim.
func hashes(b *testing.B, all []logged) func() {
	near, far := newParty(b, nearGateway, nearRun), newParty(b, farGateway, farRun)
	var lists [2][2]list
	room := make([]byte, 0, 1<<10)
	return func() {
		for side := range lists {
			lists[side][0].reset()
			lists[side][1].reset()
		}
		for at := range all {
			c := &all[at]
			add := func(l *list, frame, agreed []byte) { l.add(uint64(at+1), &piece{leaf: Leaf(frame)}, agreed) }
			add(&lists[0][0], c.frames[0], crossing.AppendAgreedOpen(room, c.near))
			add(&lists[1][0], c.frames[1], crossing.AppendAgreedOpen(room, c.far))
			add(&lists[0][1], c.frames[2], crossing.AppendAgreedClose(room, c.nearEnd))
			add(&lists[1][1], c.frames[3], crossing.AppendAgreedClose(room, c.farEnd))
		}
		var sums [2]Hash
		for side := range lists {
			sums[side] = sha256.Sum256(encode(&crossingv1.Claim{Roots: rootsOf(&lists[side]), Agreed: agreedOf(&lists[side])}))
		}
		claim := near.signer.sign(claimContext, sums[0])
		answer := far.signer.sign(answerContext, sums[0], sums[1])
		if near.key.verify(nearGateway, claim, claimContext, sums[0]) != nil || far.key.verify(farGateway, answer, answerContext, sums[0], sums[1]) != nil {
			b.Fatal("bad signature")
		}
	}
}

// accounts is all that both ends do for one claim: accounts, claim and answer.
func accounts(b *testing.B, all []logged) func() {
	p := newPair(b)
	return func() {
		for at := range all {
			c := &all[at]
			n := p.egress.Next()
			c.near.Key.Sequence, c.far.Key.Sequence = n, n // ends share their keys
			p.egress.Opened(c.near, c.frames[0], n)
			if !p.ingress.Take(n) {
				b.Fatal("not taken")
			}
			p.ingress.Opened(c.far, c.frames[1], n)
			p.ingress.Closed(c.farEnd, c.frames[3], n)
			p.egress.Closed(c.nearEnd, c.frames[2], n)
		}
		claim := p.egress.Cut(Facts{Now: p.now, Policy: policyRef}, p.near.signer)
		r, err := p.ingress.Review(claim, p.near.key, p.means(), p.now)
		if err != nil {
			b.Fatal(err)
		}
		step, err := r.Step(p.now)
		if err != nil || step.Answer == nil {
			b.Fatal(step, err)
		}
		r.Commit()
		st, err := p.egress.Check(step.Answer, p.far.key)
		if err != nil || len(st.Answer.GetDifferences()) > 0 {
			b.Fatal(st, err)
		}
		p.egress.Answered(st)
		p.egress.Stated()
		p.ingress.Stated()
	}
}
