package statement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

const maxStandings = 4096

// Heartbeat is what a gateway says while nothing crosses.
type Heartbeat struct {
	// Gateway is its SPIFFE ID, and Run its run.
	Gateway, Run string
	// At is when, by its clock.
	At time.Time
	// Standings of its chains.
	Standings []Standing
	// Hash of it, and Signature.
	Hash      merkle.Hash
	Signature Signature
}

// Standing is where a chain stands.
type Standing struct {
	Chain Chain
	// Epoch of the last claim, and its hash; 0 and empty if there is none.
	Epoch uint64
	Claim []byte
}

// ReadHeartbeat reads a frame's heartbeat. It refuses what is not well formed, whoever
// signed it.
func ReadHeartbeat(m *wire.Message) (*Heartbeat, error) {
	data := m.Bytes("heartbeat")
	if len(data) > maxSigned {
		return nil, fmt.Errorf("heartbeat of %d bytes, the most is %d", len(data), maxSigned)
	}
	b, err := wire.Decode(message.Heartbeat, data)
	if err != nil {
		return nil, err
	}
	h := &Heartbeat{Gateway: b.Text("gateway"), Run: b.Text("run"), At: b.Time("at"), Hash: sha256.Sum256(data)}
	if h.Signature, err = readSignature(m.Sub("signature")); err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	switch {
	case !IsRun(h.Run):
		return nil, errors.New("heartbeat: its run is none")
	case !goodTime(h.At):
		return nil, errors.New("heartbeat: its time is none of these centuries")
	case len(b.Subs("standings")) > maxStandings:
		return nil, fmt.Errorf("heartbeat: %d standings, the most are %d", len(b.Subs("standings")), maxStandings)
	}
	for _, s := range b.Subs("standings") {
		one := Standing{Epoch: s.Uint("epoch"), Claim: bytes.Clone(s.Bytes("claim"))}
		one.Chain, err = readChain(s.Sub("chain"))
		switch {
		case err != nil:
		case one.Chain.Egress != h.Gateway && one.Chain.Ingress != h.Gateway:
			err = errors.New("it is of a chain between others")
		case !hashOrNone(one.Claim) || (one.Epoch == 0) != (len(one.Claim) == 0):
			err = errors.New("the last claim is not named by its hash")
		}
		if err != nil {
			return nil, fmt.Errorf("heartbeat: standing: %w", err)
		}
		h.Standings = append(h.Standings, one)
	}
	return h, nil
}

// Verify holds that the heartbeat was signed with that key.
func (h *Heartbeat) Verify(key ed25519.PublicKey) error {
	return h.Signature.verify(key, heartbeatText, h.Hash)
}
