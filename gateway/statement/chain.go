// Package statement is the statement protocol: what two gateways sign about the
// crossings between them, epoch by epoch. It says what is claimed, answered,
// asked and told, where two accounts differ, and whether a chain of statements
// holds together; it stores and sends nothing, and has no clock. FORMAT.md is the
// format, from which another implementation could be written.
//
// One invariant: a number that was claimed once is accounted for. It is agreed
// on, or it is named in what both sign, with the kind of the difference.
package statement

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// MaxOpened is the most numbers that one claim is about as opened.
	MaxOpened = 4000
	// MaxClosed is the most numbers that one claim is about as ended.
	MaxClosed = 4000
	// Full is how many numbers that opened, or that ended, make a claim due at once.
	Full = 1000
	// Epoch is after how long a claim is due if anything opened or ended.
	Epoch = time.Second
	// Patience is how long an ingress gateway waits for what a claim says and it does
	// not have yet.
	Patience = time.Second
	// MaxTalk is the largest encoded Talk, in bytes.
	MaxTalk = 1 << 20
	// MaxAsks is the most questions that an egress gateway answers about one claim.
	MaxAsks = 256
	// MaxSkew is how far in the future a claim may be, beside what the clocks are
	// known to differ.
	MaxSkew = 5 * time.Minute
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// Chain is one dense numbering: the crossings that one run of an egress gateway
// sent to one ingress gateway or, where that is empty, that it refused.
type Chain struct {
	// Egress and Ingress are SPIFFE IDs; Run is the egress gateway's.
	Egress, Ingress, Run string
}

// ChainOf is the chain that a crossing is of. It shares the key's texts.
func ChainOf(k *crossingv1.Key) Chain {
	return Chain{Egress: k.GetEgress(), Ingress: k.GetIngress(), Run: k.GetRun()}
}

// Clone is the chain with texts of its own.
func (c Chain) Clone() Chain {
	return Chain{strings.Clone(c.Egress), strings.Clone(c.Ingress), strings.Clone(c.Run)}
}

// Message is the chain as messages have it.
func (c Chain) Message() *crossingv1.Chain {
	return &crossingv1.Chain{Egress: c.Egress, Ingress: c.Ingress, Run: c.Run}
}

// ParseChain reads a chain. It refuses what is none.
func ParseChain(m *crossingv1.Chain) (Chain, error) {
	c := Chain{Egress: m.GetEgress(), Ingress: m.GetIngress(), Run: m.GetRun()}
	if err := crossing.CheckRun(c.Run); err != nil {
		return Chain{}, fmt.Errorf("chain: %w", err)
	}
	for _, id := range [...]string{c.Egress, c.Ingress} {
		if id == "" && id == c.Ingress {
			continue
		}
		if _, err := spiffeid.FromString(id); err != nil {
			return Chain{}, fmt.Errorf("chain: %w", err)
		}
	}
	if c.Egress == c.Ingress {
		return Chain{}, errors.New("chain: both gateways are one")
	}
	return c, nil
}

// Frames reads a frame back that was spooled at that place, which is what Opened
// and Closed were given. An error says that it is gone.
type Frames func(at uint64) ([]byte, error)
