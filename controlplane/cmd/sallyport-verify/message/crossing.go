// Package message is the tables of what gateways and logs write, by the documents that
// specify it: gateway/crossing/FORMAT.md, gateway/statement/FORMAT.md, and the .proto files
// that they name. It knows of them by their text alone.
package message

import "github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"

// Values of enumerations, by number.
var (
	decisions = []string{"DECISION_UNSPECIFIED", "ALLOW", "DENY"}
	sides     = []string{"SIDE_UNSPECIFIED", "EGRESS", "INGRESS"}
	reasons   = []string{
		"REASON_UNSPECIFIED", "NO_INTENT", "DENIED_BY_INTENT", "NO_TRANSITION", "NO_POLICY", "POLICY_MISMATCH", "NO_IDENTITY",
		"BAD_IDENTITY", "EXPIRED_IDENTITY", "FOREIGN_IDENTITY", "UNKNOWN_PEER", "UNKNOWN_DESTINATION", "UNKNOWN_SERVICE",
		"MALFORMED", "TOO_LARGE", "UNREACHABLE", "NOT_RECORDED", "NOT_ENFORCEABLE", "DRAINING", "OVER_LIMIT", "DISAGREES",
		"NO_PROOF", "BAD_PROOF", "QUARANTINED", "REVOKED_GATEWAY", "UNKNOWN_SOURCE",
		"UNREADABLE", "OVER_BUDGET", "FORBIDDEN_ANSWER", "BAD_LABEL", "TOOL_CHANGED",
		"DIGEST_NOT_ALLOWED", "GUARD_REFUSED", "GUARD_UNAVAILABLE",
	}
	guardVerdicts = []string{"VERDICT_UNSPECIFIED", "PASS", "REFUSE"}
	attaches      = []string{"ATTACH_UNSPECIFIED", "MTLS", "JWT", "PLAINTEXT", "LOCAL"}
	causes        = []string{
		"CAUSE_UNSPECIFIED", "DONE", "REFUSED", "REFUSED_BY_PEER", "CALLER_GONE", "DESTINATION_FAILED", "PEER_LOST",
		"GATEWAY_STOPPED", "PROTOCOL_ERROR",
	}
	classes      = []string{"CLASS_UNSPECIFIED", "INTERACTIVE", "BULK"}
	choices      = []string{"CHOICE_UNSPECIFIED", "USUAL", "LOSSY", "FAILOVER"}
	anonymous    = []string{"ANONYMOUS_UNSPECIFIED", "NOT_ANSWERED", "NO_VALIDATOR", "NO_SIZE", "UNCLEAR_QUERY", "BAD_RANGE"}
	directions   = []string{"DIRECTION_UNSPECIFIED", "DOWNLOAD", "UPLOAD"}
	extents      = []string{"EXTENT_UNSPECIFIED", "WHOLE", "RANGE", "RANGES", "PART", "NONE"}
	verdicts     = []string{"VERDICT_UNSPECIFIED", "NOT_COMPARABLE", "MATCH", "MISMATCH"}
	actKinds     = []string{"KIND_UNSPECIFIED", "QUARANTINE", "REVOKE_GATEWAY", "LIFT"}
	classSources = []string{"DATA_CLASS_SOURCE_UNSPECIFIED", "WORKLOAD", "LABEL", "DEFAULT"}
	tokenSources = []string{"SOURCE_UNSPECIFIED", "REPORTED", "COUNTED"}
	outageCauses = []string{"CAUSE_UNSPECIFIED", "FULL", "FAILED", "STALLED"}
)

// Sides of a crossing.
const (
	Egress  = 1
	Ingress = 2
)

// Numbers of values that decide something.
const (
	Deny          = 2
	Done          = 1
	Refused       = 2
	RefusedByPeer = 3
	CallerGone    = 4
	PeerLost      = 6
	Stopped       = 7
	ProtocolError = 8
	Reported      = 1
)

// Key and what a crossing is made of.
var (
	Key        = wire.New("Key", wire.Text(1, "egress"), wire.Text(2, "ingress"), wire.Text(3, "run"), wire.Uint64(4, "sequence"))
	policyRef  = wire.New("PolicyRef", wire.Uint64(1, "serial"), wire.Text(2, "revision"))
	transition = wire.New("Transition",
		wire.Text(1, "from"), wire.Text(2, "to"), wire.Text(3, "owner"), wire.Text(4, "sink"), wire.Bool(5, "delivered"))
	tokens = wire.New("Tokens",
		wire.Optional(wire.Uint32(1, "input")), wire.Optional(wire.Uint32(2, "output")), wire.Optional(wire.Uint32(3, "cacheRead")),
		wire.Optional(wire.Uint32(4, "cacheWritten")), wire.Optional(wire.Uint32(5, "reasoning")), wire.Enum(6, "source", tokenSources))
	ask = wire.New("Message",
		wire.Text(1, "name"), wire.Text(2, "tool"), wire.Text(3, "intent"), wire.Enum(4, "decision", decisions),
		wire.Text(5, "model"))
	tensor = wire.New("Tensor",
		wire.Text(1, "name"), wire.Text(2, "datatype"), wire.Many(wire.Int64(3, "shape")), wire.Optional(wire.Uint64(4, "bytes")))
	artifact  = wire.New("Artifact", wire.Text(1, "name"), wire.Text(2, "reference"), wire.Text(3, "kind"), wire.Text(4, "source"))
	operation = wire.New("Operation",
		wire.Text(1, "protocol"), wire.Text(2, "name"), wire.Text(3, "service"), wire.Bool(4, "streamed"), wire.Text(5, "modelRequested"),
		wire.Text(6, "modelServed"), wire.Text(7, "finishReason"), wire.Text(8, "dataClass"), wire.Enum(9, "dataClassSource", classSources),
		wire.Sub(10, "tokens", tokens), wire.Text(11, "authority"), wire.Sub(12, "firstToken", wire.Duration), wire.Text(13, "tool"),
		wire.Text(14, "agent"), wire.Optional(wire.Uint32(15, "maxTokens")), wire.Many(wire.Text(16, "offered")),
		wire.Many(wire.Sub(17, "messages", ask)), wire.Text(18, "session"), wire.Text(19, "request"), wire.Text(20, "labeler"),
		wire.Text(21, "modelVersion"), wire.Many(wire.Sub(22, "inputs", tensor)), wire.Sub(23, "artifact", artifact))
	said = wire.New("Said",
		wire.Text(1, "id"), wire.Text(2, "modelServed"), wire.Text(3, "finishReason"), wire.Sub(4, "tokens", tokens),
		wire.Sub(5, "firstToken", wire.Duration), wire.Sub(6, "longestGap", wire.Duration), wire.Uint64(7, "pieces"), wire.Bool(8, "failed"),
		wire.Text(9, "fault"), wire.Uint64(10, "toolsListed"), wire.Uint64(11, "toolsHidden"), wire.Many(wire.Text(12, "toolsChanged")),
		wire.Uint64(13, "messagesStopped"), wire.Optional(wire.Uint64(14, "cost")), wire.Many(wire.Sub(15, "outputs", tensor)))
	kept    = wire.New("Kept", wire.Text(1, "request"), wire.Text(2, "answer"), wire.Bool(3, "cut"), wire.Bool(4, "broken"))
	guarded = wire.New("Guarded",
		wire.Text(1, "guard"), wire.Enum(2, "verdict", guardVerdicts), wire.Text(3, "rule"), wire.Many(wire.Text(4, "findings")),
		wire.Sub(5, "took", wire.Duration), wire.Text(6, "fault"))
	peer = wire.New("Peer",
		wire.Enum(1, "attach", attaches), wire.Text(2, "svid"), wire.Text(3, "tls"), wire.Text(4, "address"))
	clock  = wire.New("Clock", wire.Sub(1, "offset", wire.Duration), wire.Sub(2, "error", wire.Duration))
	tunnel = wire.New("Tunnel",
		wire.Text(1, "carrier"), wire.Text(2, "tls"), wire.Sub(3, "roundTrip", wire.Duration), wire.Sub(4, "clock", clock),
		wire.Enum(5, "class", classes), wire.Enum(6, "choice", choices))
	transfer = wire.New("Transfer",
		wire.Text(1, "id"), wire.Enum(2, "anonymous", anonymous), wire.Enum(3, "direction", directions), wire.Text(4, "object"),
		wire.Enum(5, "extent", extents), wire.Uint64(6, "first"), wire.Uint64(7, "length"), wire.Uint64(8, "size"),
		wire.Uint32(9, "part"), wire.Text(10, "contentSha256"), wire.Uint64(11, "digested"), wire.Bool(12, "partial"),
		wire.Enum(13, "declared", verdicts), wire.Text(14, "declaredBy"), wire.Text(15, "declaredSha256"), wire.Bool(16, "coded"),
		wire.Text(17, "format"), wire.Optional(wire.Uint64(18, "tensors")), wire.Optional(wire.Uint64(19, "lines")), wire.Bool(20, "pickle"),
		wire.Many(wire.Text(21, "dtypes")), wire.Optional(wire.Uint64(22, "data")), wire.Bool(23, "inconsistent"), wire.Text(24, "kind"))
	end = wire.New("End",
		wire.Text(1, "gateway"), wire.Enum(2, "decision", decisions), wire.Sub(3, "policy", policyRef), wire.Sub(4, "named", policyRef),
		wire.Text(5, "intent"), wire.Enum(6, "reason", reasons), wire.Sub(7, "peer", peer), wire.Bool(8, "contentSeen"),
		wire.Sub(9, "open", wire.Time), wire.Sub(10, "duration", wire.Duration), wire.Sub(11, "firstByte", wire.Duration),
		wire.Uint64(12, "requestBytes"), wire.Uint64(13, "responseBytes"), wire.Uint32(14, "status"), wire.Enum(15, "close", causes),
		wire.Text(16, "detail"), wire.Uint32(17, "tries"), wire.Text(18, "message"), wire.Sub(19, "transfer", transfer),
		wire.Text(20, "proof"), wire.Sub(21, "said", said), wire.Sub(22, "kept", kept),
		wire.Many(wire.Sub(23, "guarded", guarded)), wire.Sub(24, "throttled", wire.Duration),
		wire.Text(25, "answerClass"), wire.Text(26, "answerLabeler"))
	half = wire.New("Half",
		wire.Text(1, "id"), wire.Sub(2, "key", Key), wire.Enum(3, "side", sides), wire.Sub(4, "transition", transition),
		wire.Text(5, "source"), wire.Text(6, "destination"), wire.Text(7, "trace"), wire.Text(8, "span"),
		wire.Sub(9, "operation", operation), wire.Sub(10, "end", end), wire.Sub(11, "tunnel", tunnel))
	closing = wire.New("Close",
		wire.Text(1, "id"), wire.Sub(2, "key", Key), wire.Enum(3, "side", sides), wire.Sub(4, "duration", wire.Duration),
		wire.Sub(5, "firstByte", wire.Duration), wire.Uint64(6, "requestBytes"), wire.Uint64(7, "responseBytes"), wire.Uint32(8, "status"),
		wire.Bool(9, "streamed"), wire.Enum(10, "cause", causes), wire.Enum(11, "reason", reasons), wire.Sub(12, "peer", peer),
		wire.Sub(13, "tunnel", tunnel), wire.Text(14, "detail"), wire.Uint32(15, "tries"), wire.Text(16, "message"),
		wire.Sub(17, "transfer", transfer), wire.Sub(18, "said", said), wire.Sub(19, "kept", kept),
		wire.Sub(21, "throttled", wire.Duration), wire.Text(22, "answerClass"), wire.Text(23, "answerLabeler"))
	refusal = wire.New("Refusal",
		wire.Enum(1, "reason", reasons), wire.Text(2, "prefix"), wire.Sub(3, "second", wire.Time), wire.Uint64(4, "count"),
		wire.Text(5, "detail"), wire.Text(6, "listener"))
	applied = wire.New("Applied",
		wire.Text(1, "act"), wire.Enum(2, "kind", actKinds), wire.Text(3, "subject"), wire.Sub(4, "at", wire.Time))
	progress = wire.New("Progress",
		wire.Text(1, "id"), wire.Sub(2, "key", Key), wire.Enum(3, "side", sides), wire.Sub(4, "at", wire.Time),
		wire.Uint64(5, "requestBytes"), wire.Uint64(6, "responseBytes"))
	outage = wire.New("Outage",
		wire.Sub(1, "began", wire.Time), wire.Sub(2, "ended", wire.Time), wire.Enum(3, "cause", outageCauses), wire.Text(4, "detail"),
		wire.Uint64(5, "refused"), wire.Uint64(6, "unrecorded"))
)

// Frame is what a gateway writes down.
var Frame = wire.New("Frame",
	wire.Text(1, "gateway"), wire.Text(2, "run"), wire.Sub(3, "open", half), wire.Sub(4, "close", closing),
	wire.Sub(5, "refusal", refusal), wire.Sub(6, "applied", applied), wire.Sub(7, "progress", progress), wire.Sub(8, "outage", outage),
	wire.Sub(9, "statement", Statement), wire.Sub(10, "heartbeat", signedHeartbeat), wire.Sub(11, "announcement", Announcement))

// Said are the fields of a Frame of which it has exactly one.
var Said = []string{"open", "close", "refusal", "applied", "progress", "outage", "statement", "heartbeat", "announcement"}
