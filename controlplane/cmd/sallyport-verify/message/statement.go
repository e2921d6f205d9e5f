package message

import "github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"

// Kinds of differences, by number.
const (
	Unseen          = 1
	Unrecorded      = 2
	Unopened        = 3
	OpenedOtherwise = 4
	EndedOtherwise  = 5
	Reused          = 6
	Unended         = 7
	Denied          = 8
	BrokenOff       = 9
	Unclaimed       = 10
	UnclaimedEnd    = 11
)

// Ed25519 is the one algorithm of statement keys.
const Ed25519 = 1

var (
	algorithms  = []string{"ALGORITHM_UNSPECIFIED", "ED25519"}
	differences = []string{
		"KIND_UNSPECIFIED", "UNSEEN", "UNRECORDED", "UNOPENED", "OPENED_OTHERWISE", "ENDED_OTHERWISE", "REUSED", "UNENDED", "DENIED",
		"BROKEN_OFF", "UNCLAIMED", "UNCLAIMED_END",
	}
)

// What two gateways state, and what that is made of.
var (
	chain     = wire.New("Chain", wire.Text(1, "egress"), wire.Text(2, "ingress"), wire.Text(3, "run"))
	roots     = wire.New("Roots", wire.Bytes(1, "opened"), wire.Bytes(2, "closed"))
	agreed    = wire.New("Agreed", wire.Bytes(1, "opened"), wire.Bytes(2, "closed"))
	signature = wire.New("Signature", wire.Enum(1, "algorithm", algorithms), wire.Bytes(2, "key"), wire.Bytes(3, "value"))

	Statement = wire.New("Statement",
		wire.Bytes(1, "claim"), wire.Sub(2, "egress", signature), wire.Bytes(3, "answer"), wire.Sub(4, "ingress", signature))
	Claim = wire.New("Claim",
		wire.Sub(1, "chain", chain), wire.Uint64(2, "epoch"), wire.Bytes(3, "previous"), wire.Bytes(4, "answered"),
		wire.Uint64(5, "first"), wire.Uint64(6, "next"), wire.Many(wire.Uint64(7, "voids")), wire.Many(wire.Uint64(8, "closed")),
		wire.Sub(9, "roots", roots), wire.Sub(10, "agreed", agreed), wire.Uint64(11, "open"), wire.Sub(12, "policy", policyRef),
		wire.Sub(13, "since", wire.Time), wire.Sub(14, "at", wire.Time), wire.Bool(15, "final"), wire.Bool(16, "resumed"))
	difference = wire.New("Difference",
		wire.Enum(1, "kind", differences), wire.Many(wire.Text(2, "fields")), wire.Many(wire.Uint64(3, "numbers")))
	Answer = wire.New("Answer",
		wire.Bytes(1, "claim"), wire.Text(2, "run"), wire.Sub(3, "roots", roots), wire.Many(wire.Sub(4, "differences", difference)),
		wire.Many(wire.Uint64(5, "deferred")), wire.Sub(6, "policy", policyRef), wire.Sub(7, "at", wire.Time), wire.Uint64(8, "missed"),
		wire.Bool(9, "forgot"))
	standing = wire.New("Standing",
		wire.Sub(1, "chain", chain), wire.Uint64(2, "epoch"), wire.Bytes(3, "claim"), wire.Uint64(4, "next"), wire.Bool(5, "answered"),
		wire.Sub(6, "silent", wire.Time))
	Heartbeat = wire.New("Heartbeat",
		wire.Text(1, "gateway"), wire.Text(2, "run"), wire.Sub(3, "at", wire.Time), wire.Many(wire.Sub(4, "standings", standing)),
		wire.Sub(5, "policy", policyRef))
	signedHeartbeat = wire.New("SignedHeartbeat", wire.Bytes(1, "heartbeat"), wire.Sub(2, "signature", signature))
	Announcement    = wire.New("Announcement",
		wire.Text(1, "gateway"), wire.Text(2, "run"), wire.Enum(3, "algorithm", algorithms), wire.Bytes(4, "key"), wire.Sub(5, "at", wire.Time),
		wire.Many(wire.Bytes(6, "chain")), wire.Bytes(7, "signature"))
)

// DifferenceName is the name of a kind of difference.
func DifferenceName(kind uint64) string { return differences[kind] }
