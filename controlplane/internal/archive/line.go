package archive

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// line is a row of a file. What differs from crossing to crossing has a column of its
// own, and is taken out of the record; what is left repeats, and costs next to nothing.
// Figures are the egress gateway's, or the ingress gateway's where that is alone, and
// how much more the ingress gateway says: it says the same, or nearly so.
type line struct {
	Opened      int64  `parquet:"opened,delta,timestamp(microsecond)"`
	ID          string `parquet:"id,delta"`
	Trace       string `parquet:"trace,delta"`
	Egress      string `parquet:"egress,dict"`
	Ingress     string `parquet:"ingress,dict"`
	From        string `parquet:"from,dict"`
	To          string `parquet:"to,dict"`
	Owner       string `parquet:"owner,dict"`
	Service     string `parquet:"service,dict"`
	Source      string `parquet:"source,dict"`
	Destination string `parquet:"destination,dict"`
	State       string `parquet:"state,dict"`
	Denied      bool   `parquet:"denied"`
	Sequence    int64  `parquet:"sequence,delta"`

	EgressOpen    int64  `parquet:"egress_open_ns_after_opened,delta"`
	Duration      int64  `parquet:"duration_ns,delta"`
	First         int64  `parquet:"first_byte_ns,delta"`
	RequestBytes  int64  `parquet:"request_bytes,delta"`
	ResponseBytes int64  `parquet:"response_bytes,delta"`
	EgressSVID    string `parquet:"egress_peer_svid,dict"`
	EgressAddress string `parquet:"egress_peer_address,dict"`
	EgressProof   string `parquet:"egress_proof,dict"`

	IngressOpen     int64  `parquet:"ingress_open_ns_after_opened,delta"`
	IngressDuration int64  `parquet:"ingress_duration_ns_more,delta"`
	IngressFirst    int64  `parquet:"ingress_first_byte_ns_more,delta"`
	IngressRequest  int64  `parquet:"ingress_request_bytes_more,delta"`
	IngressResponse int64  `parquet:"ingress_response_bytes_more,delta"`
	IngressSVID     string `parquet:"ingress_peer_svid,dict"`
	IngressAddress  string `parquet:"ingress_peer_address,dict"`
	IngressProof    string `parquet:"ingress_proof,dict"`

	RoundTrip   int64 `parquet:"round_trip_ns,delta"`
	ClockOffset int64 `parquet:"clock_offset_ns,delta"`
	ClockError  int64 `parquet:"clock_error_ns,delta"`

	Rest []byte `parquet:"rest,dict"` // a sallyport.crossing.v1.Record without what has a column
}

// end is what of one gateway's account has a column, as it is there.
type end struct {
	open, duration, first, request, response int64
	svid, address, proof                     string
}

// lineOf an entry.
func lineOf(e Entry) (line, error) {
	r := proto.CloneOf(e.Record)
	t := r.GetTransition()
	l := line{
		Opened: e.Opened, Egress: e.Egress, Ingress: e.Ingress,
		From: t.GetFrom(), To: t.GetTo(), Owner: t.GetOwner(), Service: r.GetOperation().GetService(), State: r.GetState().String(),
		Denied: r.GetEgress().GetDecision() == crossingv1.Decision_DENY || r.GetIngress().GetDecision() == crossingv1.Decision_DENY,
	}
	l.ID, l.Trace, l.Source, l.Destination = take(&r.Id), take(&r.Trace), take(&r.Source), take(&r.Destination)
	if ev := r.GetEvidence(); ev != nil {
		l.Sequence = int64(take(&ev.Sequence)) //nolint:gosec // turned back in record
	}
	l.RoundTrip = takeDuration(r.GetTunnel().GetRoundTrip(), 0)
	l.ClockOffset = takeDuration(r.GetTunnel().GetClock().GetOffset(), 0)
	l.ClockError = takeDuration(r.GetTunnel().GetClock().GetError(), 0)
	eg, in := takeEnds(r, e.Opened)
	l.EgressOpen, l.Duration, l.First, l.RequestBytes, l.ResponseBytes = eg.open, eg.duration, eg.first, eg.request, eg.response
	l.EgressSVID, l.EgressAddress, l.EgressProof = eg.svid, eg.address, eg.proof
	l.IngressOpen, l.IngressDuration, l.IngressFirst = in.open, in.duration-eg.duration, in.first-eg.first
	l.IngressRequest, l.IngressResponse = in.request-eg.request, in.response-eg.response
	l.IngressSVID, l.IngressAddress, l.IngressProof = in.svid, in.address, in.proof
	var err error
	if l.Rest, err = (proto.MarshalOptions{Deterministic: true}).Marshal(r); err != nil {
		return line{}, fmt.Errorf("crossing %q: %w", l.ID, err)
	}
	return l, nil
}

// entry that the line is of.
func (l *line) entry() (Entry, error) {
	r := &crossingv1.Record{}
	if err := proto.Unmarshal(l.Rest, r); err != nil {
		return Entry{}, fmt.Errorf("crossing %q: %w", l.ID, err)
	}
	r.Id, r.Trace, r.Source, r.Destination = l.ID, l.Trace, l.Source, l.Destination
	if ev := r.GetEvidence(); ev != nil {
		ev.Sequence = uint64(l.Sequence) //nolint:gosec // as it was
	}
	giveDuration(r.GetTunnel().GetRoundTrip(), l.RoundTrip)
	giveDuration(r.GetTunnel().GetClock().GetOffset(), l.ClockOffset)
	giveDuration(r.GetTunnel().GetClock().GetError(), l.ClockError)
	giveEnd(r.GetEgress(), l.Opened, end{
		l.EgressOpen, l.Duration, l.First, l.RequestBytes, l.ResponseBytes,
		l.EgressSVID, l.EgressAddress, l.EgressProof,
	})
	giveEnd(r.GetIngress(), l.Opened, end{
		l.IngressOpen, l.IngressDuration + l.Duration, l.IngressFirst + l.First,
		l.IngressRequest + l.RequestBytes, l.IngressResponse + l.ResponseBytes, l.IngressSVID, l.IngressAddress, l.IngressProof,
	})
	return Entry{Opened: l.Opened, Egress: l.Egress, Ingress: l.Ingress, Record: r}, nil
}

// take a field's value, and leave it empty.
func take[T any](field *T) T {
	var none T
	v := *field
	*field = none
	return v
}

// takeEnds takes both ends. The figures of one that is missing are those of the other.
func takeEnds(r *crossingv1.Record, opened int64) (egress, ingress end) {
	if r.GetEgress() == nil {
		ingress = takeEnd(r.GetIngress(), opened, end{})
		egress = ingress
		egress.open, egress.svid, egress.address, egress.proof = 0, "", "", ""
		return egress, ingress
	}
	egress = takeEnd(r.GetEgress(), opened, end{})
	return egress, takeEnd(r.GetIngress(), opened, egress)
}

// takeEnd takes one end. What durations it does not have, and all figures if there is
// none, are the other's.
//
//nolint:gosec // what becomes negative here is turned back in giveEnd
func takeEnd(e *crossingv1.End, opened int64, other end) end {
	if e == nil {
		return end{duration: other.duration, first: other.first, request: other.request, response: other.response}
	}
	taken := end{
		open: takeTime(e.GetOpen(), opened), duration: takeDuration(e.GetDuration(), other.duration), first: takeDuration(e.GetFirstByte(), other.first),
		request: int64(take(&e.RequestBytes)), response: int64(take(&e.ResponseBytes)), proof: take(&e.Proof),
	}
	if p := e.GetPeer(); p != nil {
		taken.svid, taken.address = take(&p.Svid), take(&p.Address)
	}
	return taken
}

//nolint:gosec // as it was
func giveEnd(e *crossingv1.End, opened int64, taken end) {
	if e == nil {
		return
	}
	giveTime(e.GetOpen(), opened, taken.open)
	giveDuration(e.GetDuration(), taken.duration)
	giveDuration(e.GetFirstByte(), taken.first)
	e.RequestBytes, e.ResponseBytes, e.Proof = uint64(taken.request), uint64(taken.response), taken.proof
	if p := e.GetPeer(); p != nil {
		p.Svid, p.Address = taken.svid, taken.address
	}
}

// A time that is further from the opening than maxApart, or a duration longer than it,
// stays in the rest, as does what is none. Its column says so.
const (
	maxApart = 100 * 365 * 24 * time.Hour
	stays    = math.MinInt64
)

// takeTime takes a time as nanoseconds after the opening, and leaves an empty message.
func takeTime(t *timestamppb.Timestamp, opened int64) int64 {
	if t == nil {
		return 0
	}
	apart := t.AsTime().Sub(time.UnixMicro(opened)) // saturates
	if len(t.ProtoReflect().GetUnknown()) > 0 || !t.IsValid() || apart > maxApart || apart < -maxApart {
		return stays
	}
	proto.Reset(t)
	return int64(apart)
}

func giveTime(t *timestamppb.Timestamp, opened, apart int64) {
	if t != nil && apart != stays {
		at := timestamppb.New(time.UnixMicro(opened).Add(time.Duration(apart)))
		t.Seconds, t.Nanos = at.GetSeconds(), at.GetNanos()
	}
}

// takeDuration takes it as nanoseconds; as another's if there is none.
func takeDuration(d *durationpb.Duration, other int64) int64 {
	if d == nil {
		return other
	}
	v := d.AsDuration() // saturates
	if len(d.ProtoReflect().GetUnknown()) > 0 || !d.IsValid() || v > maxApart || v < -maxApart {
		return stays
	}
	proto.Reset(d)
	return int64(v)
}

func giveDuration(d *durationpb.Duration, v int64) {
	if d != nil && v != stays {
		is := durationpb.New(time.Duration(v))
		d.Seconds, d.Nanos = is.GetSeconds(), is.GetNanos()
	}
}
