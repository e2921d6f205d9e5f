//go:build linux

package bench

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"syscall"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// cpuOf is the processor time of what is done n times, in microseconds for each.
func cpuOf(n int, do func() error) (float64, error) {
	before, err := cpuNow()
	if err == nil {
		err = do()
	}
	if err != nil {
		return 0, err
	}
	after, err := cpuNow()
	return (after - before).Seconds() * 1e6 / float64(n), err
}

func cpuNow() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// stating is the processor time of both gateways for stating a crossing: books, trees,
// claims and answers with their signatures, and saying them. Their frames are there,
// because they are recorded.
func stating(crossings int) (float64, error) {
	p, err := newPairOfSides(crossings)
	if err != nil {
		return 0, err
	}
	frames, err := p.someFrames()
	if err != nil {
		return 0, err
	}
	return cpuOf(crossings, func() error {
		for n := range crossings {
			due, err := p.cross(none, frames)
			if err == nil && (due || n == crossings-1) {
				err = p.state()
			}
			if err != nil {
				return err
			}
		}
		if len(p.named) > 0 {
			return fmt.Errorf("%d differences of two who agree", len(p.named))
		}
		return nil
	})
}

// hashing is the least that trees of the same frames can take: of each frame of both
// gateways the hash of its leaf, and of one node (RFC 6962, section 2.1).
func hashing(crossings int) (float64, error) {
	p, err := newPairOfSides(1)
	if err != nil {
		return 0, err
	}
	frames, err := p.someFrames()
	if err != nil {
		return 0, err
	}
	var leaves [4][]byte
	for i, frame := range frames {
		leaves[i] = append([]byte{0}, frame...)
	}
	return cpuOf(crossings, func() error {
		node := make([]byte, 1+2*sha256.Size)
		for range crossings {
			for _, leaf := range leaves {
				sum := sha256.Sum256(leaf)
				copy(node[1:], sum[:])
				sum = sha256.Sum256(node)
				copy(node[1+sha256.Size:], sum[:])
			}
		}
		return nil
	})
}

// signing is what it takes to sign each crossing at both gateways, once when it has
// ended, and to verify it at the other one.
func signing(crossings int) (float64, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return 0, err
	}
	p, err := newPairOfSides(1)
	if err != nil {
		return 0, err
	}
	frames, err := p.someFrames()
	if err != nil {
		return 0, err
	}
	accounts := [][]byte{slices.Concat(frames[0], frames[1]), slices.Concat(frames[2], frames[3])}
	return cpuOf(crossings, func() error {
		for range crossings {
			for _, account := range accounts {
				sum := sha256.Sum256(account)
				if !ed25519.Verify(public, sum[:], ed25519.Sign(private, sum[:])) {
					return errors.New("a signature does not verify")
				}
			}
		}
		return nil
	})
}

// faultRate is how many of all crossings are recorded otherwise at the ingress gateway.
const faultRate = 0.0015

// reconciling is how many digests two gateways have told each other for a crossing, at
// that rate of faults of each kind. It fails if any fault is not named, or anything
// else is.
func reconciling(crossings int) (float64, error) {
	p, err := newPairOfSides(crossings)
	if err != nil {
		return 0, err
	}
	random := mathrand.New(mathrand.NewPCG(uint64(crossings), 0))
	for n := range crossings {
		f := none
		if random.Float64() < faultRate {
			f = fault(1 + random.IntN(3))
		}
		frames, err := p.someFrames()
		if err != nil {
			return 0, err
		}
		due, err := p.cross(f, frames)
		if err == nil && (due || n == crossings-1) {
			err = p.state()
		}
		if err != nil {
			return 0, err
		}
	}
	return float64(p.digests) / float64(crossings), p.judge()
}

// judge holds that all faults are named, and nothing else.
func (p *pairOfSides) judge() error {
	kinds := map[fault]crossingv1.Difference_Kind{
		unseen: crossingv1.Difference_UNSEEN, openedOtherwise: crossingv1.Difference_OPENED_OTHERWISE, endedOtherwise: crossingv1.Difference_ENDED_OTHERWISE,
	}
	for n, f := range p.faults {
		if p.named[n] != kinds[f] {
			return fmt.Errorf("number %d is named %s, want %s", n, p.named[n], kinds[f])
		}
	}
	if len(p.faults) == 0 || len(p.named) != len(p.faults) {
		return fmt.Errorf("%d differences named of %d", len(p.named), len(p.faults))
	}
	return nil
}
