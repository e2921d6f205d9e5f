package crossing

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Numbers of the fields of Frame.
const (
	frameGateway = 1
	frameRun     = 2
	frameOpen    = 3
	frameClose   = 4
	frameRefusal = 5
	frameApplied = 6

	frameProgress     = 7
	frameOutage       = 8
	frameStatement    = 9
	frameHeartbeat    = 10
	frameAnnouncement = 11
)

// Encoder encodes the frames of one run of one gateway, of messages that the
// gateway has made: fields that the schema does not know, which only a decoder puts
// into one, are left out. It may be used concurrently.
type Encoder struct {
	begin []byte // gateway and run, as every frame begins
}

// NewEncoder makes the encoder of a gateway's run. It fails where AppendFrame
// would.
func NewEncoder(gateway, run string) (*Encoder, error) {
	begin, err := AppendFrame(nil, &crossingv1.Frame{Gateway: gateway, Run: run})
	if err != nil {
		return nil, err
	}
	return &Encoder{begin: begin}, nil
}

// AppendOpen appends what AppendFrame does for a frame with that opening. It
// keeps nothing of it.
func (e *Encoder) AppendOpen(b []byte, h *crossingv1.Half) ([]byte, error) {
	c := fields{utf8: true, made: true}
	if c.half(h); c.fault != nil {
		return encoded(b, b, c.fault)
	}
	return encoded(b, appendHalf(append(b, e.begin...), frameOpen, h), nil)
}

// AppendClose appends what AppendFrame does for a frame with that end. It keeps
// nothing of it.
func (e *Encoder) AppendClose(b []byte, c *crossingv1.Close) ([]byte, error) {
	check := fields{utf8: true, made: true}
	if check.close(c); check.fault != nil {
		return encoded(b, b, check.fault)
	}
	return encoded(b, appendClose(append(b, e.begin...), frameClose, c), nil)
}

// AppendFrame appends what MarshalFrame gives; after an error, nothing.
func AppendFrame(b []byte, f *crossingv1.Frame) ([]byte, error) {
	c := fields{utf8: true}
	if c.frame(f); c.fault != nil {
		return encoded(b, b, c.fault)
	}
	return encoded(b, appendFrame(b, f), nil)
}

// encoded is b with a frame behind it, or b and why there can be none.
func encoded(b, longer []byte, fault error) ([]byte, error) {
	if n := len(longer) - len(b); n > MaxFrame {
		fault = fmt.Errorf("%d bytes, the most is %d", n, MaxFrame)
	}
	if fault != nil {
		return b, fmt.Errorf("encode frame: %w", fault)
	}
	return longer, nil
}

// The functions below append a message as the protobuf library encodes it: a
// field of that number, if it is there, of fields in the order of their numbers,
// without those that have their default value. Fields that the schema does not
// know have been refused.

func appendFrame(b []byte, f *crossingv1.Frame) []byte {
	b = appendText(b, frameGateway, f.GetGateway())
	b = appendText(b, frameRun, f.GetRun())
	b = appendHalf(b, frameOpen, f.GetOpen())
	b = appendClose(b, frameClose, f.GetClose())
	b = appendRefusal(b, frameRefusal, f.GetRefusal())
	b = appendApplied(b, frameApplied, f.GetApplied())
	b = appendRare(b, frameProgress, f.GetProgress())
	b = appendRare(b, frameOutage, f.GetOutage())
	b = appendRare(b, frameStatement, f.GetStatement())
	b = appendRare(b, frameHeartbeat, f.GetHeartbeat())
	return appendRare(b, frameAnnouncement, f.GetAnnouncement())
}

// appendRare appends a message of which there are few: the library encodes it.
func appendRare(b []byte, n protowire.Number, m proto.Message) []byte {
	if !m.ProtoReflect().IsValid() {
		return b
	}
	b, began := enter(b, n)
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, m)
	if err != nil {
		panic(err) // its texts were held to be UTF-8, and nothing else can fail
	}
	return leave(b, began)
}

func appendHalf(b []byte, n protowire.Number, h *crossingv1.Half) []byte {
	if h == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, h.Id)
	b = appendKey(b, 2, h.Key)
	b = appendSigned(b, 3, int64(h.Side))
	b = appendTransition(b, 4, h.Transition)
	b = appendText(b, 5, h.Source)
	b = appendText(b, 6, h.Destination)
	b = appendText(b, 7, h.Trace)
	b = appendText(b, 8, h.Span)
	b = appendOperation(b, 9, h.Operation)
	b = appendEnd(b, 10, h.End)
	b = appendTunnel(b, 11, h.Tunnel)
	return leave(b, began)
}

func appendClose(b []byte, n protowire.Number, c *crossingv1.Close) []byte {
	if c == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, c.Id)
	b = appendKey(b, 2, c.Key)
	b = appendSigned(b, 3, int64(c.Side))
	b = appendDuration(b, 4, c.Duration)
	b = appendDuration(b, 5, c.FirstByte)
	b = appendNumber(b, 6, c.RequestBytes)
	b = appendNumber(b, 7, c.ResponseBytes)
	b = appendNumber(b, 8, uint64(c.Status))
	b = appendFlag(b, 9, c.Streamed)
	b = appendSigned(b, 10, int64(c.Cause))
	b = appendSigned(b, 11, int64(c.Reason))
	b = appendPeer(b, 12, c.Peer)
	b = appendTunnel(b, 13, c.Tunnel)
	b = appendText(b, 14, c.Detail)
	b = appendNumber(b, 15, uint64(c.Tries))
	b = appendText(b, 16, c.Message)
	b = appendTransfer(b, 17, c.Transfer)
	b = appendSaid(b, 18, c.Said)
	b = appendKept(b, 19, c.Kept)
	b = appendDuration(b, 21, c.Throttled)
	b = appendText(b, 22, c.AnswerClass)
	b = appendText(b, 23, c.AnswerLabeler)
	return leave(b, began)
}

func appendRefusal(b []byte, n protowire.Number, r *crossingv1.Refusal) []byte {
	if r == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendSigned(b, 1, int64(r.Reason))
	b = appendText(b, 2, r.Prefix)
	b = appendTime(b, 3, r.Second)
	b = appendNumber(b, 4, r.Count)
	b = appendText(b, 5, r.Detail)
	b = appendText(b, 6, r.Listener)
	return leave(b, began)
}

func appendApplied(b []byte, n protowire.Number, a *crossingv1.Applied) []byte {
	if a == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, a.Act)
	b = appendSigned(b, 2, int64(a.Kind))
	b = appendText(b, 3, a.Subject)
	b = appendTime(b, 4, a.At)
	return leave(b, began)
}

func appendKey(b []byte, n protowire.Number, k *crossingv1.Key) []byte {
	if k == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, k.Egress)
	b = appendText(b, 2, k.Ingress)
	b = appendText(b, 3, k.Run)
	b = appendNumber(b, 4, k.Sequence)
	return leave(b, began)
}

func appendTransition(b []byte, n protowire.Number, t *crossingv1.Transition) []byte {
	if t == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, t.From)
	b = appendText(b, 2, t.To)
	b = appendText(b, 3, t.Owner)
	b = appendText(b, 4, t.Sink)
	b = appendFlag(b, 5, t.Delivered)
	return leave(b, began)
}

func appendOperation(b []byte, n protowire.Number, o *crossingv1.Operation) []byte {
	if o == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, o.Protocol)
	b = appendText(b, 2, o.Name)
	b = appendText(b, 3, o.Service)
	b = appendFlag(b, 4, o.Streamed)
	if !tells(o) { // it is no AI service's
		return leave(appendText(b, 11, o.Authority), began)
	}
	b = appendModels(b, o)
	b = appendText(b, 11, o.Authority)
	b = appendParts(b, o)
	return leave(b, began)
}

func appendEnd(b []byte, n protowire.Number, e *crossingv1.End) []byte {
	if e == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, e.Gateway)
	b = appendSigned(b, 2, int64(e.Decision))
	b = appendPolicy(b, 3, e.Policy)
	b = appendPolicy(b, 4, e.Named)
	b = appendText(b, 5, e.Intent)
	b = appendSigned(b, 6, int64(e.Reason))
	b = appendPeer(b, 7, e.Peer)
	b = appendFlag(b, 8, e.ContentSeen)
	b = appendTime(b, 9, e.Open)
	b = appendDuration(b, 10, e.Duration)
	b = appendDuration(b, 11, e.FirstByte)
	b = appendNumber(b, 12, e.RequestBytes)
	b = appendNumber(b, 13, e.ResponseBytes)
	b = appendNumber(b, 14, uint64(e.Status))
	b = appendSigned(b, 15, int64(e.Close))
	b = appendText(b, 16, e.Detail)
	b = appendNumber(b, 17, uint64(e.Tries))
	b = appendText(b, 18, e.Message)
	b = appendTransfer(b, 19, e.Transfer)
	b = appendText(b, 20, e.Proof)
	b = appendSaid(b, 21, e.Said)
	b = appendKept(b, 22, e.Kept)
	for _, g := range e.Guarded {
		b = appendGuarded(b, 23, g)
	}
	b = appendDuration(b, 24, e.Throttled)
	b = appendText(b, 25, e.AnswerClass)
	b = appendText(b, 26, e.AnswerLabeler)
	return leave(b, began)
}

func appendTransfer(b []byte, n protowire.Number, t *crossingv1.Transfer) []byte {
	if t == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, t.Id)
	b = appendSigned(b, 2, int64(t.Anonymous))
	b = appendSigned(b, 3, int64(t.Direction))
	b = appendText(b, 4, t.Object)
	b = appendSigned(b, 5, int64(t.Extent))
	b = appendNumber(b, 6, t.First)
	b = appendNumber(b, 7, t.Length)
	b = appendNumber(b, 8, t.Size)
	b = appendNumber(b, 9, uint64(t.Part))
	b = appendText(b, 10, t.ContentSha256)
	b = appendNumber(b, 11, t.Digested)
	b = appendFlag(b, 12, t.Partial)
	b = appendSigned(b, 13, int64(t.Declared))
	b = appendText(b, 14, t.DeclaredBy)
	b = appendText(b, 15, t.DeclaredSha256)
	b = appendFlag(b, 16, t.Coded)
	b = appendText(b, 17, t.Format)
	b = appendOptional(b, 18, t.Tensors)
	b = appendOptional(b, 19, t.Lines)
	b = appendFlag(b, 20, t.Pickle)
	b = appendTexts(b, 21, t.Dtypes)
	b = appendOptional(b, 22, t.Data)
	b = appendFlag(b, 23, t.Inconsistent)
	b = appendText(b, 24, t.Kind)
	return leave(b, began)
}

func appendPolicy(b []byte, n protowire.Number, p *crossingv1.PolicyRef) []byte {
	if p == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendNumber(b, 1, p.Serial)
	b = appendText(b, 2, p.Revision)
	return leave(b, began)
}

func appendPeer(b []byte, n protowire.Number, p *crossingv1.Peer) []byte {
	if p == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendSigned(b, 1, int64(p.Attach))
	b = appendText(b, 2, p.Svid)
	b = appendText(b, 3, p.Tls)
	b = appendText(b, 4, p.Address)
	return leave(b, began)
}

func appendTunnel(b []byte, n protowire.Number, t *crossingv1.Tunnel) []byte {
	if t == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendText(b, 1, t.Carrier)
	b = appendText(b, 2, t.Tls)
	b = appendDuration(b, 3, t.RoundTrip)
	b = appendClock(b, 4, t.Clock)
	b = appendSigned(b, 5, int64(t.Class))
	b = appendSigned(b, 6, int64(t.Choice))
	return leave(b, began)
}

func appendClock(b []byte, n protowire.Number, c *crossingv1.Clock) []byte {
	if c == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendDuration(b, 1, c.Offset)
	b = appendDuration(b, 2, c.Error)
	return leave(b, began)
}

func appendTime(b []byte, n protowire.Number, t *timestamppb.Timestamp) []byte {
	if t == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendSigned(b, 1, t.Seconds)
	b = appendSigned(b, 2, int64(t.Nanos))
	return leave(b, began)
}

func appendDuration(b []byte, n protowire.Number, d *durationpb.Duration) []byte {
	if d == nil {
		return b
	}
	b, began := enter(b, n)
	b = appendSigned(b, 1, d.Seconds)
	b = appendSigned(b, 2, int64(d.Nanos))
	return leave(b, began)
}
