package crossing

import (
	"crypto/sha256"

	"google.golang.org/protobuf/encoding/protowire"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// What the agreed bytes begin with.
const (
	agreedOpen     = 1 + iota // an opening
	agreedDenied              // one that the ingress gateway denied
	agreedDone                // an end as it should be
	agreedBroken              // any other end
	agreedAsk                 // an opening that says what an AI service is asked for
	agreedSaid                // an end as it should be that says what its answer said
	agreedArtifact            // an opening that says of which artifact something is asked for
	agreedVersion             // an opening that says of which version of a model something is asked for

	agreedLabel = 10 // in front of an end as it should be whose answer came with a label
)

// AppendAgreedOpen appends what both gateways must say alike of an opening, so
// encoded that what comes after it cannot be taken for a part of it. The gateways
// and the run are no part: both have told the crossing to that chain.
func AppendAgreedOpen(b []byte, h *crossingv1.Half) []byte {
	refused := h.GetSide() == crossingv1.Side_INGRESS && h.GetEnd().GetDecision() == crossingv1.Decision_DENY
	ask := !refused && asks(h.GetOperation())
	switch {
	case refused:
		b = append(b, agreedDenied)
	case ask && h.GetOperation().GetModelVersion() != "":
		b = append(b, agreedVersion)
	case ask && h.GetOperation().GetArtifact() != nil:
		b = append(b, agreedArtifact)
	case ask:
		b = append(b, agreedAsk)
	default:
		b = append(b, agreedOpen)
	}
	b = protowire.AppendVarint(b, h.GetKey().GetSequence())
	b = appendAgreed(b, h.GetId())
	b = appendAgreed(b, h.GetSource())
	b = appendAgreed(b, h.GetDestination())
	b = appendAgreed(b, h.GetTrace())
	if refused { // it may not have come so far as to know
		return b
	}
	t, o := h.GetTransition(), h.GetOperation()
	b = appendAgreed(b, t.GetFrom())
	b = appendAgreed(b, t.GetTo())
	b = appendAgreed(b, t.GetOwner())
	b = appendAgreed(b, o.GetService())
	b = appendAgreed(b, o.GetName())
	b = appendAgreed(b, o.GetAuthority())
	if ask {
		b = appendAgreedAsk(b, o)
	}
	return b
}

// AppendAgreedClose appends the same of an end.
func AppendAgreedClose(b []byte, c *crossingv1.Close) []byte {
	done := c.GetCause() == crossingv1.Cause_DONE
	said := done && c.GetSaid() != nil
	if done && c.GetAnswerLabeler() != "" {
		b = appendAgreed(append(b, agreedLabel), c.GetAnswerClass())
		b = appendAgreed(b, c.GetAnswerLabeler())
	}
	switch {
	case said:
		b = append(b, agreedSaid)
	case done:
		b = append(b, agreedDone)
	default:
		b = append(b, agreedBroken)
	}
	b = protowire.AppendVarint(b, c.GetKey().GetSequence())
	b = appendAgreed(b, c.GetId())
	if done {
		b = protowire.AppendVarint(b, c.GetRequestBytes())
		b = protowire.AppendVarint(b, c.GetResponseBytes())
		b = protowire.AppendVarint(b, uint64(c.GetStatus()))
	}
	b = appendAgreedTransfer(b, c.GetTransfer(), done)
	if said {
		b = appendAgreedSaid(b, c.GetSaid())
	}
	return b
}

// appendAgreedTransfer appends the same of what was moved: of what broke off, which
// one it was.
func appendAgreedTransfer(b []byte, t *crossingv1.Transfer, done bool) []byte {
	if t == nil || !done && t.GetId() == "" {
		return append(b, 0)
	}
	b = append(b, 1)
	b = appendAgreed(b, t.GetId())
	b = protowire.AppendVarint(b, uint64(t.GetExtent()))
	b = protowire.AppendVarint(b, t.GetFirst())
	if done {
		b = appendAgreed(b, t.GetContentSha256())
		b = protowire.AppendVarint(b, t.GetDigested())
	}
	return b
}

// appendAgreed appends a text's length and the text.
func appendAgreed(b []byte, s string) []byte {
	if len(s) < 1<<7 { // nearly always
		b = append(b, byte(len(s)))
	} else {
		b = protowire.AppendVarint(b, uint64(len(s)))
	}
	return append(b, s...)
}

// usualAgreed is more bytes than what is agreed on nearly always has.
const usualAgreed = 512

// OpenDigest is the join digest of an opening: if those of two gateways are the
// same, OpenDifferences finds nothing but perhaps a proof, which is not for both to
// have.
func OpenDigest(h *crossingv1.Half) [sha256.Size]byte {
	var room [usualAgreed]byte
	return sha256.Sum256(AppendAgreedOpen(room[:0], h))
}

// CloseDigest is the join digest of an end: if those of two gateways are the same,
// CloseDifferences finds nothing, unless the ingress gateway denied the crossing.
func CloseDigest(c *crossingv1.Close) [sha256.Size]byte {
	var room [usualAgreed]byte
	return sha256.Sum256(AppendAgreedClose(room[:0], c))
}
