package crossing

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestCheckFrameAccepts(t *testing.T) {
	foreign := ingressHalf()
	foreign.Source = "spiffe://elsewhere.example/thief"
	foreign.End.Decision, foreign.End.Reason = crossingv1.Decision_DENY, crossingv1.Reason_FOREIGN_IDENTITY
	unknown := refusedHalf()
	unknown.Destination, unknown.End.Reason = "", crossingv1.Reason_UNKNOWN_DESTINATION
	unknown.Transition = &crossingv1.Transition{From: "onprem", Owner: "infra"}
	unarmed := refusedHalf()
	unarmed.Destination, unarmed.End.Reason, unarmed.End.Policy = "", crossingv1.Reason_NO_POLICY, nil
	unarmed.Transition = &crossingv1.Transition{From: "onprem"}
	asked := refusedHalf()
	asked.Operation.Authority, asked.End.Detail = Authority("no such\x00host"), Detail("no\nsuch host")
	named := ingressHalf()
	named.End.Named = &crossingv1.PolicyRef{Serial: 40, Revision: revision("8")}
	tests := []struct {
		name  string
		frame *crossingv1.Frame
	}{
		{"opened at egress", egressFrame(egressHalf(), nil)},
		{"closed at egress", egressFrame(nil, closing(crossingv1.Side_EGRESS))},
		{"opened at ingress", ingressFrame(ingressHalf(), nil)},
		{"closed at ingress", ingressFrame(nil, closing(crossingv1.Side_INGRESS))},
		{"refused at egress", egressFrame(refusedHalf(), nil)},
		{"refused for want of a destination", egressFrame(unknown, nil)},
		{"refused for want of a policy", egressFrame(unarmed, nil)},
		{"allowed, and no way out", egressFrame(unreachableHalf(), nil)},
		{"said what was asked for", egressFrame(asked, nil)},
		{"denied at ingress for its source", ingressFrame(foreign, nil)},
		{"decided under two policies", ingressFrame(named, nil)},
		{"refusals counted", refusal()},
		{"an act applied", applied()},
		{"progress at egress", progress(crossingv1.Side_EGRESS)},
		{"progress at ingress", progress(crossingv1.Side_INGRESS)},
		{"progress of nothing yet", badProgress(func(p *crossingv1.Progress) { p.RequestBytes, p.ResponseBytes = 0, 0 })},
		{"an outage that has ended", outage()},
		{"an outage of no length", badOutage(func(o *crossingv1.Outage) { o.Ended = o.Began })},
		{"an outage without details", badOutage(func(o *crossingv1.Outage) { o.Detail = "" })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := egressID
			if tt.frame.GetGateway() == ingressGateway {
				id = ingressID
			}
			if err := CheckFrame(tt.frame, id); err != nil {
				t.Error(err)
			}
		})
	}
}

// edit is a frame that was good before it was changed.
func edit(f *crossingv1.Frame, change func(*crossingv1.Frame)) *crossingv1.Frame {
	change(f)
	return f
}

func badOpen(change func(h *crossingv1.Half)) *crossingv1.Frame {
	return edit(egressFrame(egressHalf(), nil), func(f *crossingv1.Frame) { change(f.Open) })
}

func badIngress(change func(h *crossingv1.Half)) *crossingv1.Frame {
	return edit(ingressFrame(ingressHalf(), nil), func(f *crossingv1.Frame) { change(f.Open) })
}

func badClose(change func(c *crossingv1.Close)) *crossingv1.Frame {
	return edit(egressFrame(nil, closing(crossingv1.Side_EGRESS)), func(f *crossingv1.Frame) { change(f.Close) })
}

func badRefused(change func(h *crossingv1.Half)) *crossingv1.Frame {
	return edit(egressFrame(refusedHalf(), nil), func(f *crossingv1.Frame) { change(f.Open) })
}

func badRefusal(change func(r *crossingv1.Refusal)) *crossingv1.Frame {
	return edit(refusal(), func(f *crossingv1.Frame) { change(f.Refusal) })
}

func badApplied(change func(a *crossingv1.Applied)) *crossingv1.Frame {
	return edit(applied(), func(f *crossingv1.Frame) { change(f.Applied) })
}

func badProgress(change func(p *crossingv1.Progress)) *crossingv1.Frame {
	return edit(progress(crossingv1.Side_EGRESS), func(f *crossingv1.Frame) { change(f.Progress) })
}

func badOutage(change func(o *crossingv1.Outage)) *crossingv1.Frame {
	return edit(outage(), func(f *crossingv1.Frame) { change(f.Outage) })
}

func TestCheckFrameRefuses(t *testing.T) {
	tests := []struct {
		name  string
		frame *crossingv1.Frame
		want  string
	}{
		{"nothing", egressFrame(nil, nil), "says 0 things"},
		{"two at once", egressFrame(egressHalf(), closing(crossingv1.Side_EGRESS)), "says 2 things"},
		{"an act beside something else", edit(applied(), func(f *crossingv1.Frame) { f.Refusal = refusal().Refusal }), "says 2 things"},
		{"an act that is no digest", badApplied(func(a *crossingv1.Applied) { a.Act = "sha256:3F" }), "no sha256 digest"},
		{"an act of no kind", badApplied(func(a *crossingv1.Applied) { a.Kind = 0 }), "no kind"},
		{"an act about nobody", badApplied(func(a *crossingv1.Applied) { a.Subject = "" }), "subject of the act"},
		{"an act at no time", badApplied(func(a *crossingv1.Applied) { a.At = nil }), "no valid time"},
		{"progress beside an end", edit(progress(crossingv1.Side_EGRESS), func(f *crossingv1.Frame) { f.Close = closing(crossingv1.Side_EGRESS) }), "says 2 things"},
		{"progress without id", badProgress(func(p *crossingv1.Progress) { p.Id = "x" }), "UUIDv7"},
		{"progress without key", badProgress(func(p *crossingv1.Progress) { p.Key = nil }), "run"},
		{"progress without side", badProgress(func(p *crossingv1.Progress) { p.Side = 0 }), "side is missing"},
		{"progress of the other side", badProgress(func(p *crossingv1.Progress) { p.Side = crossingv1.Side_INGRESS }), "not the INGRESS gateway"},
		{"progress of another run", badProgress(func(p *crossingv1.Progress) { p.Key.Run = ingressRun }), "another run"},
		{"progress of what was refused", badProgress(func(p *crossingv1.Progress) { p.Key.Ingress = "" }), "refused at egress"},
		{"progress at no time", badProgress(func(p *crossingv1.Progress) { p.At = nil }), "no valid time"},
		{"progress in another millennium", badProgress(func(p *crossingv1.Progress) { p.At.Seconds = 0 }), "no valid time"},
		{"an outage beside an act", edit(outage(), func(f *crossingv1.Frame) { f.Applied = applied().Applied }), "says 2 things"},
		{"an outage without cause", badOutage(func(o *crossingv1.Outage) { o.Cause = 0 }), "no cause"},
		{"an outage that never began", badOutage(func(o *crossingv1.Outage) { o.Began = nil }), "no valid times"},
		{"an outage that has not ended", badOutage(func(o *crossingv1.Outage) { o.Ended = nil }), "no valid times"},
		{"an outage backwards", badOutage(func(o *crossingv1.Outage) { o.Began, o.Ended = o.Ended, o.Began }), "before it began"},
		{"an outage in control characters", badOutage(func(o *crossingv1.Outage) { o.Detail = "a\x1b[2J" }), "visible ASCII"},
		{"an outage that is a tale", badOutage(func(o *crossingv1.Outage) { o.Detail = strings.Repeat("x", maxEndDetail+1) }), "short"},
		{"another gateway's", edit(egressFrame(egressHalf(), nil), func(f *crossingv1.Frame) { f.Gateway = ingressGateway }), "it is of"},
		{"no run", edit(egressFrame(egressHalf(), nil), func(f *crossingv1.Frame) { f.Run = "" }), "run"},
		{"a number of another run", edit(egressFrame(egressHalf(), nil), func(f *crossingv1.Frame) { f.Run = ingressRun }), "another run"},
		{"no id", badOpen(func(h *crossingv1.Half) { h.Id = "" }), "UUIDv7"},
		{"no key", badOpen(func(h *crossingv1.Half) { h.Key = nil }), "run"},
		{"no sequence", badOpen(func(h *crossingv1.Half) { h.Key.Sequence = 0 }), "sequence"},
		{"no side", badOpen(func(h *crossingv1.Half) { h.Side = 0 }), "side is missing"},
		{"an unknown side", badOpen(func(h *crossingv1.Half) { h.Side = 7 }), "side is missing"},
		{"the other side", badOpen(func(h *crossingv1.Half) { h.Side = crossingv1.Side_INGRESS }), "not the INGRESS gateway"},
		{"another egress gateway", badOpen(func(h *crossingv1.Half) { h.Key.Egress = egressGateway + "0" }), "not the EGRESS gateway"},
		{"another ingress gateway", badIngress(func(h *crossingv1.Half) { h.Key.Ingress = ingressGateway + "0" }), "not the INGRESS gateway"},
		{"an egress gateway without SPIFFE ID", badOpen(func(h *crossingv1.Half) { h.Key.Egress = "onprem-1" }), "egress gateway"},
		{"an ingress gateway without SPIFFE ID", badOpen(func(h *crossingv1.Half) { h.Key.Ingress = "azure-1" }), "ingress gateway"},
		{"a crossing with itself", badOpen(func(h *crossingv1.Half) { h.Key.Ingress = h.Key.Egress }), "both gateways"},
		{"an account of another gateway", badOpen(func(h *crossingv1.Half) { h.End.Gateway = ingressGateway }), "half says"},
		{"no account", badOpen(func(h *crossingv1.Half) { h.End = nil }), "half says"},
		{"no trace", badOpen(func(h *crossingv1.Half) { h.Trace = strings.Repeat("0", 32) }), "trace"},
		{"no span", badOpen(func(h *crossingv1.Half) { h.Span = "" }), "span"},
		{"no decision", badOpen(func(h *crossingv1.Half) { h.End.Decision = 0 }), "no decision"},
		{"an unknown decision", badOpen(func(h *crossingv1.Half) { h.End.Decision = 7 }), "no decision"},
		{"allowed with a reason", badOpen(func(h *crossingv1.Half) { h.End.Reason = crossingv1.Reason_NO_INTENT }), "reason"},
		{"denied without a reason", badRefused(func(h *crossingv1.Half) { h.End.Reason = 0 }), "reason"},
		{"denied at egress and yet carried", badRefused(func(h *crossingv1.Half) { h.Key.Ingress = ingressGateway }), "contradict"},
		{"allowed at egress and not carried", badOpen(func(h *crossingv1.Half) { h.Key.Ingress = "" }), "contradict"},
		{"denied by an outage", badRefused(func(h *crossingv1.Half) { h.End.Reason = crossingv1.Reason_UNREACHABLE }), "reason UNREACHABLE"},
		{"allowed against the policy", badRefused(func(h *crossingv1.Half) { h.End.Decision = crossingv1.Decision_ALLOW }), "reason NO_INTENT"},
		{"an outage, and yet carried", badOpen(func(h *crossingv1.Half) { h.End.Reason = crossingv1.Reason_UNREACHABLE }), "contradict"},
		{"an outage at ingress", badIngress(func(h *crossingv1.Half) { h.End.Reason = crossingv1.Reason_DRAINING }), "contradict"},
		{"an outage of a crossing that nobody answers for", edit(egressFrame(unreachableHalf(), nil), func(f *crossingv1.Frame) { f.Open.Transition.Owner = "" }), "owner"},
		{"malformed and nobody's", badRefused(func(h *crossingv1.Half) {
			h.End.Reason, h.Transition.Owner = crossingv1.Reason_MALFORMED, ""
		}), "without owner"},
		{"an owner of no policy", badRefused(func(h *crossingv1.Half) {
			h.End.Reason, h.End.Policy = crossingv1.Reason_NO_POLICY, nil
		}), "without a policy"},
		{"a way of no policy", badRefused(func(h *crossingv1.Half) {
			h.End.Reason, h.End.Policy = crossingv1.Reason_NO_POLICY, nil
			h.Transition = &crossingv1.Transition{From: "onprem", To: "azure"}
		}), "without a policy"},
		{"an authority that is no text", badOpen(func(h *crossingv1.Half) { h.Operation.Authority = "a\nb" }), "authority"},
		{"an endless authority", badOpen(func(h *crossingv1.Half) { h.Operation.Authority = strings.Repeat("a", 321) }), "authority"},
		{"a detail that is no text", badRefused(func(h *crossingv1.Half) { h.End.Detail = "\x1b[2J" }), "detail"},
		{"an end's detail that is no text", badClose(func(c *crossingv1.Close) { c.Detail = "\x1b[2J" }), "detail"},
		{"a message that moves a cursor", badClose(func(c *crossingv1.Close) { c.Message = "\x1b[2J" }), "message"},
		{"an endless message", badClose(func(c *crossingv1.Close) { c.Message = strings.Repeat("a", 1025) }), "message"},
		{"an opening's message", badRefused(func(h *crossingv1.Half) { h.End.Message = "\u0085" }), "message"},
		{"an endless detail", badRefused(func(h *crossingv1.Half) { h.End.Detail = strings.Repeat("a", 513) }), "detail"},
		{"refused without an end", badRefused(func(h *crossingv1.Half) { h.End.Close = 0 }), "end is"},
		{"opened with an end", badOpen(func(h *crossingv1.Half) { h.End.Close = crossingv1.Cause_DONE }), "end is"},
		{"egress names its peer's policy", badOpen(func(h *crossingv1.Half) { h.End.Named = h.End.Policy }), "names a policy"},
		{"no time", badOpen(func(h *crossingv1.Half) { h.End.Open = nil }), "time of opening"},
		{"a time before time", badOpen(func(h *crossingv1.Half) { h.End.Open = &timestamppb.Timestamp{Seconds: -1 << 60} }), "time of opening"},
		{"a time in 1999", badOpen(func(h *crossingv1.Half) { h.End.Open = timestamppb.New(time.Unix(940000000, 0)) }), "time of opening"},
		{"no source", badOpen(func(h *crossingv1.Half) { h.Source = "" }), "source"},
		{"an identity of another's", badOpen(func(h *crossingv1.Half) { h.Source = "spiffe://azure.acme.example/ai/llm" }), "trust domain"},
		{"an identity of another's let in", badIngress(func(h *crossingv1.Half) { h.Source = "spiffe://azure.acme.example/ai/llm" }), "trust domain"},
		{"no destination", badOpen(func(h *crossingv1.Half) { h.Destination = "" }), "destination"},
		{"no owner", badOpen(func(h *crossingv1.Half) { h.Transition.Owner = "" }), "owner"},
		{"no transition", badOpen(func(h *crossingv1.Half) { h.Transition = nil }), "owner"},
		{"no policy", badOpen(func(h *crossingv1.Half) { h.End.Policy = nil }), "policy"},
		{"denied by a policy without owner", badRefused(func(h *crossingv1.Half) { h.Transition.Owner = "" }), "owner"},
		{"a policy without serial", badOpen(func(h *crossingv1.Half) { h.End.Policy.Serial = 0 }), "serial"},
		{"a policy without digest", badOpen(func(h *crossingv1.Half) { h.End.Policy.Revision = "sha256:9d1c" }), "revision"},
		{"a proof that is the token itself", badOpen(func(h *crossingv1.Half) { h.End.Proof = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln" }), "proof"},
		{"a proof without digest", badRefused(func(h *crossingv1.Half) { h.End.Proof = "sha256:9d1c" }), "proof"},
		{"a proof that denied, of no policy", badRefused(func(h *crossingv1.Half) { h.End.Reason, h.Transition.To = crossingv1.Reason_BAD_PROOF, "" }), "owner or policy"},
		{"no proof, and yet allowed", badOpen(func(h *crossingv1.Half) { h.End.Reason = crossingv1.Reason_NO_PROOF }), "reason NO_PROOF"},
		{"a time in 2200", badOpen(func(h *crossingv1.Half) { h.End.Open = timestamppb.New(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)) }), "time of opening"},
		{"a negative duration of a refusal", badRefused(func(h *crossingv1.Half) { h.End.Duration = durationpb.New(-1) }), "impossible duration"},
		{"a negative round trip", badOpen(func(h *crossingv1.Half) { h.Tunnel.RoundTrip = durationpb.New(-1) }), "impossible duration"},
		{"a source that is no SPIFFE ID", badRefused(func(h *crossingv1.Half) { h.Source = "orchestrator" }), "source"},
		{"a destination that is no SPIFFE ID", badRefused(func(h *crossingv1.Half) { h.Destination = "llm" }), "destination"},
		{"a run of zeros", badClose(func(c *crossingv1.Close) { c.Key.Run = strings.Repeat("0", 32) }), "run"},
		{"done with a reason", badClose(func(c *crossingv1.Close) { c.Reason = crossingv1.Reason_DRAINING }), "reason DRAINING"},
		{"refused without a reason", badClose(func(c *crossingv1.Close) { c.Cause = crossingv1.Cause_REFUSED }), "cause REFUSED"},
		{"no cause", badClose(func(c *crossingv1.Close) { c.Cause = 0 }), "no cause"},
		{"an end of another's", badClose(func(c *crossingv1.Close) { c.Side = crossingv1.Side_INGRESS }), "not the INGRESS gateway"},
		{"an end of what never opened", badClose(func(c *crossingv1.Close) { c.Key.Ingress = "" }), "refused at egress"},
		{"a negative duration", badClose(func(c *crossingv1.Close) { c.Duration = durationpb.New(-1) }), "duration"},
		{"a duration of years", badClose(func(c *crossingv1.Close) { c.Duration = durationpb.New(9000 * time.Hour) }), "duration"},
		{"an invalid first byte", badClose(func(c *crossingv1.Close) { c.FirstByte = &durationpb.Duration{Nanos: -5, Seconds: 5} }), "duration"},
		{"a negative wait", badClose(func(c *crossingv1.Close) { c.Throttled = durationpb.New(-1) }), "duration"},
		{"a wait before the end", badOpen(func(h *crossingv1.Half) { h.End.Throttled = durationpb.New(1) }), "before its end"},
		{"an answer's class before the end", badOpen(func(h *crossingv1.Half) { h.End.AnswerClass = "internal" }), "before its end"},
		{"an answer's labeler before the end", badOpen(func(h *crossingv1.Half) { h.End.AnswerLabeler = "spiffe://azure.acme.example/dlp" }), "before its end"},
		{"a class that nobody signed", badClose(func(c *crossingv1.Close) { c.AnswerClass = "internal" }), "nobody signed"},
		{"a labeler of nothing", badClose(func(c *crossingv1.Close) { c.AnswerLabeler = "spiffe://azure.acme.example/dlp" }), "of none"},
		{"a labeler that is nobody", badClose(func(c *crossingv1.Close) { c.AnswerClass, c.AnswerLabeler = "internal", "dlp" }), "scheme"},
		{"a class of two lines", badClose(func(c *crossingv1.Close) { c.AnswerClass, c.AnswerLabeler = "a\nb", "spiffe://azure.acme.example/dlp" }), "name"},
		{"an impossible round trip", badClose(func(c *crossingv1.Close) {
			c.Tunnel = &crossingv1.Tunnel{RoundTrip: durationpb.New(-1)}
		}), "duration"},
		{"moved at an ingress gateway", &crossingv1.Frame{Gateway: ingressGateway, Run: ingressRun, Close: &crossingv1.Close{
			Id: crossingID, Key: key(), Side: crossingv1.Side_INGRESS, Cause: crossingv1.Cause_DONE, Tunnel: &crossingv1.Tunnel{},
		}}, "moved"},
		{"refused for nothing", badRefusal(func(r *crossingv1.Refusal) { r.Reason = 0 }), "no reason"},
		{"refused never", badRefusal(func(r *crossingv1.Refusal) { r.Count = 0 }), "counts nothing"},
		{"refused at no time", badRefusal(func(r *crossingv1.Refusal) { r.Second = nil }), "time"},
		{"refused nowhere", badRefusal(func(r *crossingv1.Refusal) { r.Listener = "" }), "listener"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := egressID
			if tt.frame.Refusal != nil || tt.frame.Run == ingressRun && tt.frame.Gateway == ingressGateway {
				id = ingressID
			}
			if err := CheckFrame(tt.frame, id); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("CheckFrame = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestCheckFrameBeyondLimits: what the policy allowed and a limit of the gateway's
// stopped is no denial.
func TestCheckFrameBeyondLimits(t *testing.T) {
	for _, reason := range []crossingv1.Reason{crossingv1.Reason_OVER_LIMIT, crossingv1.Reason_TOO_LARGE, crossingv1.Reason_DISAGREES} {
		f := badRefused(func(h *crossingv1.Half) {
			h.End.Decision, h.End.Reason = crossingv1.Decision_ALLOW, reason
			h.Destination = "spiffe://azure.demo/ai/llm"
		})
		if err := CheckFrame(f, egressID); err != nil {
			t.Errorf("%s: %v", reason, err)
		}
	}
	for reason, undecided := range map[crossingv1.Reason]bool{
		crossingv1.Reason_OVER_LIMIT: true, crossingv1.Reason_DISAGREES: true,
		crossingv1.Reason_UNREACHABLE: false, crossingv1.Reason_NOT_RECORDED: false, crossingv1.Reason_DRAINING: false,
	} {
		f := badRefused(func(h *crossingv1.Half) {
			h.End.Decision, h.End.Reason = crossingv1.Decision_DENY, reason
			h.Destination = "spiffe://azure.demo/ai/llm"
		})
		if err := CheckFrame(f, egressID); (err == nil) != undecided {
			t.Errorf("%s as a denial: %v", reason, err)
		}
	}
}

// TestCheckFrameWithoutGateway: who is not known writes nothing, not even as
// nobody.
func TestCheckFrameWithoutGateway(t *testing.T) {
	f := refusal()
	f.Gateway = ""
	if err := CheckFrame(f, spiffeid.ID{}); err == nil {
		t.Error("a frame of nobody's was accepted")
	}
	if err := CheckFrame(nil, egressID); err == nil {
		t.Error("no frame was accepted")
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, f := range []*crossingv1.Frame{
		egressFrame(egressHalf(), nil), egressFrame(refusedHalf(), nil),
		ingressFrame(nil, closing(crossingv1.Side_INGRESS)), refusal(), applied(),
		progress(crossingv1.Side_EGRESS), outage(),
	} {
		b, err := MarshalFrame(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := UnmarshalFrame(b)
		if err != nil || !proto.Equal(got, f) {
			t.Errorf("UnmarshalFrame(MarshalFrame(f)) = %v, %v, want %v", got, err, f)
		}
		again, err := MarshalFrame(got)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("the same frame has two encodings: %x and %x", b, again)
		}
	}
}

// fill makes every text of a half as long as a text may be.
func fill(h *crossingv1.Half) {
	long := strings.Repeat("x", maxText)
	h.Key = &crossingv1.Key{Egress: long, Ingress: long, Run: long}
	h.Transition = &crossingv1.Transition{From: long, To: long, Owner: long, Sink: long}
	h.Operation = &crossingv1.Operation{Protocol: long, Name: long, Service: long}
	h.End.Peer = &crossingv1.Peer{Svid: long, Tls: long, Address: long}
	h.Source, h.Destination, h.Trace, h.Span = long, long, long, long
}

func TestMarshalFrameRefuses(t *testing.T) {
	tests := []struct {
		name  string
		frame *crossingv1.Frame
	}{
		{"what is not text", badOpen(func(h *crossingv1.Half) { h.Operation.Name = "GET /\xff" })},
		{"an impossible time", badOpen(func(h *crossingv1.Half) { h.End.Open.Nanos = -1 })},
		{"an impossible offset", badOpen(func(h *crossingv1.Half) {
			h.Tunnel.Clock = &crossingv1.Clock{Offset: &durationpb.Duration{Seconds: 1, Nanos: -1}}
		})},
		{"an unknown value", badOpen(func(h *crossingv1.Half) { h.Side = 7 })},
		{"more than a frame holds", badOpen(fill)},
		{"what is too long a text", badOpen(func(h *crossingv1.Half) { h.Operation.Name = strings.Repeat("x", maxText+1) })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if b, err := MarshalFrame(tt.frame); err == nil {
				t.Errorf("MarshalFrame gave %d bytes", len(b))
			}
		})
	}
}

func TestUnmarshalFrameRefuses(t *testing.T) {
	good, err := MarshalFrame(egressFrame(nil, closing(crossingv1.Side_EGRESS)))
	if err != nil {
		t.Fatal(err)
	}
	unknown := protowire.AppendTag(bytes.Clone(good), 99, protowire.VarintType)
	unknown = protowire.AppendVarint(unknown, 1)
	nested := protowire.AppendTag(nil, 4, protowire.BytesType) // Frame.close, which merges with another
	nested = protowire.AppendBytes(nested, unknown[len(good):])
	cause := protowire.AppendTag(nil, 10, protowire.VarintType) // Close.cause
	cause = protowire.AppendVarint(cause, 77)
	value := protowire.AppendTag(bytes.Clone(good), 4, protowire.BytesType)
	value = protowire.AppendBytes(value, cause)
	nanos := protowire.AppendTag(nil, 2, protowire.VarintType) // Duration.nanos
	nanos = protowire.AppendVarint(nanos, 1<<31-1)
	took := protowire.AppendTag(nil, 4, protowire.BytesType) // Close.duration
	took = protowire.AppendBytes(took, nanos)
	impossible := protowire.AppendTag(bytes.Clone(good), 4, protowire.BytesType)
	impossible = protowire.AppendBytes(impossible, took)
	tests := []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"an impossible duration", impossible, "nanos"},
		{"too large", make([]byte, MaxFrame+1), "the most is"},
		{"cut short", good[:len(good)-1], "decode frame"},
		{"an unknown field", unknown, "does not know"},
		{"an unknown field within", append(bytes.Clone(good), nested...), "does not know"},
		{"an unknown value", value, "unknown value 77"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if f, err := UnmarshalFrame(tt.bytes); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("UnmarshalFrame = %v, %v, want an error with %q", f, err, tt.want)
			}
		})
	}
}

func FuzzUnmarshalFrame(f *testing.F) {
	for _, frame := range []*crossingv1.Frame{
		egressFrame(egressHalf(), nil), egressFrame(refusedHalf(), nil), ingressFrame(ingressHalf(), nil),
		ingressFrame(nil, closing(crossingv1.Side_INGRESS)), refusal(), applied(), new(crossingv1.Frame),
		progress(crossingv1.Side_INGRESS), outage(),
	} {
		b, err := MarshalFrame(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := UnmarshalFrame(b)
		if err != nil {
			return
		}
		again, err := MarshalFrame(frame)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		if got, err := UnmarshalFrame(again); err != nil || !proto.Equal(got, frame) {
			t.Fatalf("decoded %v, then %v, %v", frame, got, err)
		}
		if CheckFrame(frame, egressID) != nil {
			return
		}
		// What is accepted can be joined, alone and with itself.
		a := &Account{Open: frame.GetOpen(), Close: frame.GetClose()}
		for _, r := range []*crossingv1.Record{Join(a, nil), Join(nil, a), Join(a, a)} {
			if _, err := proto.Marshal(r); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkCheckedRoundTrip(b *testing.B) {
	f := egressFrame(egressHalf(), nil)
	b.ReportAllocs()
	for b.Loop() {
		data, err := MarshalFrame(f)
		if err != nil {
			b.Fatal(err)
		}
		got, err := UnmarshalFrame(data)
		if err != nil {
			b.Fatal(err)
		}
		if err := CheckFrame(got, egressID); err != nil {
			b.Fatal(err)
		}
	}
}
