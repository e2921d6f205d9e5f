package crossing

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	// MaxFrame is the largest encoded frame, in bytes.
	MaxFrame = 64 << 10
	// maxText bounds every string of a frame, in bytes.
	maxText = 4 << 10
)

// MarshalFrame encodes a frame; the same frame always gives the same bytes. It
// fails where UnmarshalFrame would.
func MarshalFrame(f *crossingv1.Frame) ([]byte, error) { return AppendFrame(nil, f) }

// UnmarshalFrame decodes a frame. Fields and values that this version does not
// know are refused: a record says nothing that nobody read. So are texts of
// more than 4 KiB and times that are none.
func UnmarshalFrame(b []byte) (*crossingv1.Frame, error) {
	if len(b) > MaxFrame {
		return nil, fmt.Errorf("decode frame: %d bytes, the most is %d", len(b), MaxFrame)
	}
	f := new(crossingv1.Frame)
	if err := proto.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("decode frame: %w", err)
	}
	if err := checkFields(f); err != nil {
		return nil, fmt.Errorf("decode frame: %w", err)
	}
	return f, nil
}

// CheckFrame says whether a frame that UnmarshalFrame gave may have come from
// that gateway: it is well formed, and it speaks for nobody else. The error says
// what is wrong, in words that the gateway may read.
func CheckFrame(f *crossingv1.Frame, gateway spiffeid.ID) error {
	if gateway.IsZero() || f.GetGateway() != gateway.String() {
		return fmt.Errorf("the frame says it is of %.256q", f.GetGateway())
	}
	if err := CheckRun(f.GetRun()); err != nil {
		return err
	}
	set := 0
	var err error
	if f.GetOpen() != nil {
		set, err = set+1, checkHalf(f.GetOpen(), f, gateway)
	}
	if f.GetClose() != nil {
		set, err = set+1, errors.Join(err, checkClose(f.GetClose(), f, gateway))
	}
	if f.GetRefusal() != nil {
		set, err = set+1, errors.Join(err, checkRefusal(f.GetRefusal()))
	}
	if f.GetApplied() != nil {
		set, err = set+1, errors.Join(err, checkApplied(f.GetApplied()))
	}
	if f.GetProgress() != nil {
		set, err = set+1, errors.Join(err, checkProgress(f.GetProgress(), f, gateway))
	}
	if f.GetOutage() != nil {
		set, err = set+1, errors.Join(err, checkOutage(f.GetOutage()))
	}
	for _, there := range [...]bool{f.GetStatement() != nil, f.GetHeartbeat() != nil, f.GetAnnouncement() != nil} {
		if there {
			set++ // what it says is checked where statements are understood
		}
	}
	if set != 1 {
		return fmt.Errorf("the frame says %d things, want one", set)
	}
	return err
}

func checkHalf(h *crossingv1.Half, f *crossingv1.Frame, gateway spiffeid.ID) error {
	end := h.GetEnd()
	egress, err := checkKey(h.GetId(), h.GetKey(), h.GetSide(), f, gateway)
	switch {
	case err != nil:
		return err
	case end.GetGateway() != gateway.String():
		return fmt.Errorf("the half says it is of gateway %.256q", end.GetGateway())
	case !lowerHex(h.GetTrace(), 32):
		return fmt.Errorf("trace %.64q is not 32 hex digits", h.GetTrace())
	case !lowerHex(h.GetSpan(), 16):
		return fmt.Errorf("span %.64q is not 16 hex digits", h.GetSpan())
	case h.GetSide() == crossingv1.Side_EGRESS && end.GetNamed() != nil:
		return errors.New("an egress gateway's half names a policy of its peer's")
	case end.GetDecision() != crossingv1.Decision_ALLOW && end.GetDecision() != crossingv1.Decision_DENY:
		return errors.New("the half has no decision")
	case !fits(end.GetDecision(), end.GetReason()):
		return fmt.Errorf("decision %s with reason %s", end.GetDecision(), end.GetReason())
	case !validTime(end.GetOpen()):
		return errors.New("the half has no valid time of opening")
	case !validDurations(end.GetDuration(), end.GetFirstByte(), h.GetTunnel().GetRoundTrip()):
		return errors.New("the half has an impossible duration")
	case end.GetTransfer() != nil || end.GetSaid() != nil || end.GetKept() != nil || end.GetThrottled() != nil,
		end.GetAnswerClass() != "" || end.GetAnswerLabeler() != "":
		return errors.New("a transfer or an answer before its end")
	}
	return errors.Join(checkRefusedAtEgress(h), checkSource(h, egress), checkOwner(h), checkPolicies(end), checkTexts(h), checkProof(end), checkGuarded(end.GetGuarded()))
}

// fits says that a reason may stand beside a decision: a denial has one, and a
// crossing that was allowed has at most one that is no decision. What the policy could
// not decide yet, it did not allow.
func fits(d crossingv1.Decision, r crossingv1.Reason) bool {
	if d == crossingv1.Decision_ALLOW {
		return r == crossingv1.Reason_REASON_UNSPECIFIED || Outage(r) || r == crossingv1.Reason_TOO_LARGE
	}
	return r != crossingv1.Reason_REASON_UNSPECIFIED && (!Outage(r) || early(r))
}

// checkKey holds id and key, and that this gateway is the party that the side
// says. It gives the egress gateway's id.
func checkKey(id string, k *crossingv1.Key, side crossingv1.Side, f *crossingv1.Frame, gateway spiffeid.ID) (spiffeid.ID, error) {
	if err := errors.Join(CheckID(id), CheckRun(k.GetRun())); err != nil {
		return spiffeid.ID{}, err
	}
	egress, err := spiffeid.FromString(k.GetEgress())
	if err != nil {
		return egress, fmt.Errorf("egress gateway: %w", err)
	}
	ingress := k.GetIngress()
	if ingress != "" {
		if _, err := spiffeid.FromString(ingress); err != nil {
			return egress, fmt.Errorf("ingress gateway: %w", err)
		}
	}
	switch {
	case k.GetSequence() == 0:
		return egress, errors.New("sequence is missing")
	case side != crossingv1.Side_EGRESS && side != crossingv1.Side_INGRESS:
		return egress, errors.New("side is missing")
	case side == crossingv1.Side_EGRESS && egress != gateway,
		side == crossingv1.Side_INGRESS && ingress != gateway.String():
		return egress, fmt.Errorf("%s is not the %s gateway of the crossing", gateway, side)
	case side == crossingv1.Side_EGRESS && k.GetRun() != f.GetRun():
		return egress, errors.New("the crossing is of another run than its gateway")
	case ingress == k.GetEgress():
		return egress, errors.New("both gateways are one")
	}
	return egress, nil
}

// checkRefusedAtEgress: a half without an ingress gateway is the egress
// gateway's own chain of crossings that it refused, and only that.
func checkRefusedAtEgress(h *crossingv1.Half) error {
	alone := h.GetKey().GetIngress() == ""
	refused := h.GetSide() == crossingv1.Side_EGRESS && h.GetEnd().GetReason() != crossingv1.Reason_REASON_UNSPECIFIED
	outage := Outage(h.GetEnd().GetReason())
	if alone != refused || outage && !alone {
		return fmt.Errorf("side %s, reason %s and ingress gateway %.256q contradict one another",
			h.GetSide(), h.GetEnd().GetReason(), h.GetKey().GetIngress())
	}
	want := crossingv1.Cause_CAUSE_UNSPECIFIED // it ends in a frame of its own
	if alone {
		want = crossingv1.Cause_REFUSED // it has ended where it began
	}
	if got := h.GetEnd().GetClose(); got != want {
		return fmt.Errorf("the half's end is %s, want %s", got, want)
	}
	return nil
}

// checkSource: a gateway speaks for identities of its own trust domain. One
// that denied, perhaps for that very reason, says what it was shown.
func checkSource(h *crossingv1.Half, egress spiffeid.ID) error {
	source, err := spiffeid.FromString(h.GetSource())
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	denied := h.GetEnd().GetDecision() == crossingv1.Decision_DENY
	if source.TrustDomain() != egress.TrustDomain() && !denied {
		return fmt.Errorf("source %s is not of the trust domain of %s", source, egress)
	}
	if h.GetDestination() == "" && denied {
		return nil
	}
	if _, err := spiffeid.FromString(h.GetDestination()); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	return nil
}

// checkOwner: somebody answers for every crossing. What the policy was asked
// about has a transition, and with it an owner; what came before has at least
// the owner of an environment. Only without a policy is nobody known.
func checkOwner(h *crossingv1.Half) error {
	t, end := h.GetTransition(), h.GetEnd()
	judged := Judged(end.GetReason())
	switch {
	case judged && (t.GetOwner() == "" || t.GetFrom() == "" || t.GetTo() == "" || end.GetPolicy() == nil):
		return errors.New("a decision without transition, owner or policy")
	case end.GetPolicy() != nil && t.GetOwner() == "":
		return errors.New("a half under a policy without owner")
	case end.GetPolicy() == nil && (t.GetOwner() != "" || t.GetSink() != "" || otherEnd(h) != ""):
		return errors.New("an owner, a sink or another environment without a policy that names them")
	}
	return nil
}

// otherEnd is the environment on the side where the writer is not.
func otherEnd(h *crossingv1.Half) string {
	if h.GetSide() == crossingv1.Side_INGRESS {
		return h.GetTransition().GetFrom()
	}
	return h.GetTransition().GetTo()
}

// checkPolicies holds the form of the references, where there are any. What an
// ingress gateway was told is as it was told.
func checkPolicies(end *crossingv1.End) error {
	p := end.GetPolicy()
	if p == nil {
		return nil
	}
	digest, ok := strings.CutPrefix(p.GetRevision(), "sha256:")
	if !ok || p.GetSerial() == 0 || !lowerHex(digest, 64) {
		return errors.New("the policy is not a serial and a sha256 revision")
	}
	return nil
}

func checkClose(c *crossingv1.Close, f *crossingv1.Frame, gateway spiffeid.ID) error {
	if _, err := checkKey(c.GetId(), c.GetKey(), c.GetSide(), f, gateway); err != nil {
		return err
	}
	if c.GetKey().GetIngress() == "" {
		return errors.New("an end of a crossing that was refused at egress")
	}
	switch refused := c.GetReason() != crossingv1.Reason_REASON_UNSPECIFIED; {
	case c.GetCause() == crossingv1.Cause_CAUSE_UNSPECIFIED:
		return errors.New("the end has no cause")
	case c.GetCause() == crossingv1.Cause_DONE && refused, c.GetCause() == crossingv1.Cause_REFUSED && !refused:
		return fmt.Errorf("cause %s with reason %s", c.GetCause(), c.GetReason())
	}
	if !validDurations(c.GetDuration(), c.GetFirstByte(), c.GetTunnel().GetRoundTrip(), c.GetThrottled()) {
		return errors.New("the end has no valid duration")
	}
	if c.GetTunnel() != nil && c.GetSide() != crossingv1.Side_EGRESS {
		return errors.New("a crossing that moved, at an ingress gateway")
	}
	return errors.Join(checkDetail(c.GetDetail()), checkMessage(c.GetMessage()), checkTransfer(c.GetTransfer()), checkSaid(c.GetSaid()), checkKept(c.GetKept()), checkLabelled(c))
}

func checkRefusal(r *crossingv1.Refusal) error {
	switch {
	case r.GetReason() == crossingv1.Reason_REASON_UNSPECIFIED:
		return errors.New("the refusal has no reason")
	case r.GetCount() == 0:
		return errors.New("the refusal counts nothing")
	case !validTime(r.GetSecond()):
		return errors.New("the refusal has no valid time")
	case r.GetListener() == "":
		return errors.New("the refusal has no listener")
	}
	for _, text := range [...]string{r.GetListener(), r.GetPrefix(), r.GetDetail()} {
		if len(text) > maxDetail || !visible(text) {
			return errors.New("the refusal has a text that is not short, visible ASCII")
		}
	}
	return nil
}

func checkApplied(a *crossingv1.Applied) error {
	digest, ok := strings.CutPrefix(a.GetAct(), "sha256:")
	switch {
	case !ok || !lowerHex(digest, 64):
		return fmt.Errorf("act %.80q is no sha256 digest", a.GetAct())
	case a.GetKind() == policyv1.Act_KIND_UNSPECIFIED:
		return errors.New("the act has no kind")
	case !validTime(a.GetAt()):
		return errors.New("the act was applied at no valid time")
	}
	if _, err := spiffeid.FromString(a.GetSubject()); err != nil {
		return fmt.Errorf("subject of the act: %w", err)
	}
	return nil
}

func checkProgress(p *crossingv1.Progress, f *crossingv1.Frame, gateway spiffeid.ID) error {
	if _, err := checkKey(p.GetId(), p.GetKey(), p.GetSide(), f, gateway); err != nil {
		return err
	}
	switch {
	case p.GetKey().GetIngress() == "":
		return errors.New("progress of a crossing that was refused at egress")
	case !validTime(p.GetAt()):
		return errors.New("the progress has no valid time")
	}
	return nil
}

func checkOutage(o *crossingv1.Outage) error {
	switch {
	case o.GetCause() == crossingv1.Outage_CAUSE_UNSPECIFIED:
		return errors.New("the outage has no cause")
	case !validTime(o.GetBegan()) || !validTime(o.GetEnded()):
		return errors.New("the outage has no valid times")
	case o.GetEnded().AsTime().Before(o.GetBegan().AsTime()):
		return errors.New("the outage ended before it began")
	}
	return checkDetail(o.GetDetail())
}

// validTime bounds a clock's reading: a wrong clock is recorded, an impossible
// one is not a reading.
func validTime(t *timestamppb.Timestamp) bool {
	if t == nil || !t.IsValid() {
		return false
	}
	year := t.AsTime().Year()
	return year >= 2000 && year < 2200
}

// validDurations accepts absent ones, and others up to a year.
func validDurations(ds ...*durationpb.Duration) bool {
	const year = 366 * 24 * time.Hour
	for _, d := range ds {
		if d == nil {
			continue
		}
		if !d.IsValid() || d.AsDuration() < 0 || d.AsDuration() > year {
			return false
		}
	}
	return true
}
