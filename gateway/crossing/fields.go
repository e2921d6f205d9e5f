package crossing

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// fields refuses unknown fields and values, texts that are too long, and times
// that no clock could have read, at any depth: each could keep a whole record
// from being shown. Every message that a frame may hold has a method that names
// all its fields; reflection, which finds them by itself, takes longer than all
// the rest of encoding and decoding.
type fields struct {
	utf8  bool  // texts are held to be UTF-8, too; a decoder has done that
	made  bool  // messages were made here, not decoded: nothing of them was skipped
	fault error // the first one
}

func checkFields(f *crossingv1.Frame) error {
	var c fields
	c.frame(f)
	return c.fault
}

// CheckFields refuses, at any depth of a message of a statement that was decoded,
// what UnmarshalFrame refuses of a frame.
func CheckFields(m proto.Message) error {
	var c fields
	c.rare(m)
	return c.fault
}

func (c *fields) fail(format string, args ...any) {
	if c.fault == nil {
		c.fault = fmt.Errorf(format, args...)
	}
}

// known holds that nothing of a message was skipped.
func (c *fields) known(m proto.Message) {
	if c.made {
		return
	}
	if r := m.ProtoReflect(); len(r.GetUnknown()) > 0 {
		c.fail("%s has fields that this version does not know", r.Descriptor().Name())
	}
}

func (c *fields) text(name, s string) {
	if len(s) > maxText {
		c.fail("%s is %d bytes long, the most is %d", name, len(s), maxText)
	}
	if c.utf8 && !utf8.ValidString(s) {
		c.fail("%s is not UTF-8", name)
	}
}

// value holds that an enumeration, whose values have no gaps, has one.
func value[E ~int32](c *fields, name string, v E, names map[int32]string) {
	if v < 0 || int(v) >= len(names) {
		c.fail("%s has the unknown value %d", name, v)
	}
}

func (c *fields) time(t *timestamppb.Timestamp) {
	if t == nil {
		return
	}
	c.known(t)
	if err := t.CheckValid(); err != nil && c.fault == nil {
		c.fault = err
	}
}

func (c *fields) duration(d *durationpb.Duration) {
	if d == nil {
		return
	}
	c.known(d)
	if err := d.CheckValid(); err != nil && c.fault == nil {
		c.fault = err
	}
}

func (c *fields) frame(f *crossingv1.Frame) {
	if f == nil {
		return
	}
	c.known(f)
	c.text("gateway", f.Gateway)
	c.text("run", f.Run)
	c.half(f.Open)
	c.close(f.Close)
	c.refusal(f.Refusal)
	c.applied(f.Applied)
	c.rare(f.Progress)
	c.rare(f.Outage)
	c.rare(f.Statement)
	c.rare(f.Heartbeat)
	c.rare(f.Announcement)
}

// rare does the same by reflection, for messages of which there are few.
func (c *fields) rare(m proto.Message) {
	r := m.ProtoReflect()
	if !r.IsValid() {
		return
	}
	c.known(m)
	switch t := m.(type) {
	case *timestamppb.Timestamp:
		c.time(t)
	case *durationpb.Duration:
		c.duration(t)
	}
	r.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch f.Kind() {
		case protoreflect.MessageKind, protoreflect.StringKind, protoreflect.EnumKind:
		default:
			return true // nothing to refuse, and of numbers there may be thousands
		}
		if f.IsList() {
			for i := range v.List().Len() {
				c.single(f, v.List().Get(i))
			}
		} else {
			c.single(f, v)
		}
		return c.fault == nil
	})
}

func (c *fields) single(f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		c.rare(v.Message().Interface())
	case protoreflect.StringKind:
		c.text(f.TextName(), v.String())
	case protoreflect.EnumKind:
		if f.Enum().Values().ByNumber(v.Enum()) == nil {
			c.fail("%s has the unknown value %d", f.TextName(), v.Enum())
		}
	}
}

func (c *fields) half(h *crossingv1.Half) {
	if h == nil {
		return
	}
	c.known(h)
	c.text("id", h.Id)
	c.key(h.Key)
	value(c, "side", h.Side, crossingv1.Side_name)
	c.transition(h.Transition)
	c.text("source", h.Source)
	c.text("destination", h.Destination)
	c.text("trace", h.Trace)
	c.text("span", h.Span)
	c.operation(h.Operation)
	c.end(h.End)
	c.tunnel(h.Tunnel)
}

func (c *fields) close(e *crossingv1.Close) {
	if e == nil {
		return
	}
	c.known(e)
	c.text("id", e.Id)
	c.key(e.Key)
	value(c, "side", e.Side, crossingv1.Side_name)
	c.duration(e.Duration)
	c.duration(e.FirstByte)
	value(c, "cause", e.Cause, crossingv1.Cause_name)
	value(c, "reason", e.Reason, crossingv1.Reason_name)
	c.peer(e.Peer)
	c.tunnel(e.Tunnel)
	c.text("detail", e.Detail)
	c.text("message", e.Message)
	c.transfer(e.Transfer)
	c.said(e.Said)
	c.kept(e.Kept)
	c.duration(e.Throttled)
	c.text("answer_class", e.AnswerClass)
	c.text("answer_labeler", e.AnswerLabeler)
}

func (c *fields) refusal(r *crossingv1.Refusal) {
	if r == nil {
		return
	}
	c.known(r)
	value(c, "reason", r.Reason, crossingv1.Reason_name)
	c.text("prefix", r.Prefix)
	c.time(r.Second)
	c.text("detail", r.Detail)
	c.text("listener", r.Listener)
}

func (c *fields) applied(a *crossingv1.Applied) {
	if a == nil {
		return
	}
	c.known(a)
	c.text("act", a.Act)
	value(c, "kind", a.Kind, policyv1.Act_Kind_name)
	c.text("subject", a.Subject)
	c.time(a.At)
}

func (c *fields) key(k *crossingv1.Key) {
	if k == nil {
		return
	}
	c.known(k)
	c.text("egress", k.Egress)
	c.text("ingress", k.Ingress)
	c.text("run", k.Run)
}

func (c *fields) transition(t *crossingv1.Transition) {
	if t == nil {
		return
	}
	c.known(t)
	c.text("from", t.From)
	c.text("to", t.To)
	c.text("owner", t.Owner)
	c.text("sink", t.Sink)
}

func (c *fields) operation(o *crossingv1.Operation) {
	if o == nil {
		return
	}
	c.known(o)
	c.text("protocol", o.Protocol)
	c.text("name", o.Name)
	c.text("service", o.Service)
	if tells(o) {
		c.service(o)
	}
	c.text("authority", o.Authority)
}

func (c *fields) end(e *crossingv1.End) {
	if e == nil {
		return
	}
	c.known(e)
	c.text("gateway", e.Gateway)
	value(c, "decision", e.Decision, crossingv1.Decision_name)
	c.policy(e.Policy)
	c.policy(e.Named)
	c.text("intent", e.Intent)
	value(c, "reason", e.Reason, crossingv1.Reason_name)
	c.peer(e.Peer)
	c.time(e.Open)
	c.duration(e.Duration)
	c.duration(e.FirstByte)
	value(c, "close", e.Close, crossingv1.Cause_name)
	c.text("detail", e.Detail)
	c.text("message", e.Message)
	c.transfer(e.Transfer)
	c.text("proof", e.Proof)
	c.said(e.Said)
	c.kept(e.Kept)
	for _, g := range e.Guarded {
		c.guarded(g)
	}
	c.duration(e.Throttled)
	c.text("answer_class", e.AnswerClass)
	c.text("answer_labeler", e.AnswerLabeler)
}

func (c *fields) transfer(t *crossingv1.Transfer) {
	if t == nil {
		return
	}
	c.known(t)
	c.text("id", t.Id)
	value(c, "anonymous", t.Anonymous, crossingv1.Transfer_Anonymous_name)
	value(c, "direction", t.Direction, crossingv1.Transfer_Direction_name)
	c.text("object", t.Object)
	value(c, "extent", t.Extent, crossingv1.Transfer_Extent_name)
	c.text("content_sha256", t.ContentSha256)
	value(c, "declared", t.Declared, crossingv1.Transfer_Verdict_name)
	c.text("declared_by", t.DeclaredBy)
	c.text("declared_sha256", t.DeclaredSha256)
	c.text("format", t.Format)
	c.texts("dtypes", t.Dtypes)
	c.text("kind", t.Kind)
}

func (c *fields) policy(p *crossingv1.PolicyRef) {
	if p == nil {
		return
	}
	c.known(p)
	c.text("revision", p.Revision)
}

func (c *fields) peer(p *crossingv1.Peer) {
	if p == nil {
		return
	}
	c.known(p)
	value(c, "attach", p.Attach, crossingv1.Attach_name)
	c.text("svid", p.Svid)
	c.text("tls", p.Tls)
	c.text("address", p.Address)
}

func (c *fields) tunnel(t *crossingv1.Tunnel) {
	if t == nil {
		return
	}
	c.known(t)
	c.text("carrier", t.Carrier)
	c.text("tls", t.Tls)
	c.duration(t.RoundTrip)
	if t.Clock != nil {
		c.known(t.Clock)
		c.duration(t.Clock.Offset)
		c.duration(t.Clock.Error)
	}
	value(c, "class", t.Class, crossingv1.Tunnel_Class_name)
	value(c, "choice", t.Choice, crossingv1.Tunnel_Choice_name)
}
