package statement

import (
	"crypto/sha256"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// answered is a statement with everything in it, and the pair that made it.
func answered(t testing.TB) (*pair, *Stated) {
	t.Helper()
	p := newPair(t)
	p.cross()
	p.epoch(false)
	h := p.out()
	p.in(opening(testChain, ingressSide, h.GetKey().GetSequence()))
	p.egress.Void(p.egress.Next())
	p.endOut(ending(h, done)) // and it goes on at the ingress gateway
	p.cross()
	p.endOut(ending(p.out(), crossingv1.Cause_PEER_LOST))
	return p, p.epoch(false)
}

// resigned is a claim, and an answer if there is one, signed as they are.
func resigned(p *pair, c *crossingv1.Claim, a *crossingv1.Answer) *crossingv1.Statement {
	claim := encode(c)
	s := &crossingv1.Statement{Claim: claim, Egress: p.near.signer.sign(claimContext, sha256.Sum256(claim))}
	if a != nil {
		sum := sha256.Sum256(claim)
		if len(a.GetClaim()) == sha256.Size && a.GetClaim()[0] != 'x' {
			a.Claim = sum[:]
		}
		s.Answer = encode(a)
		s.Ingress = p.far.signer.sign(answerContext, sum, sha256.Sum256(s.Answer))
	}
	return s
}

func TestRead(t *testing.T) {
	p, st := answered(t)
	got, err := Read(overWire(t, st.Statement))
	if err != nil {
		t.Fatal(err)
	}
	if got.VerifyEgress(p.near.key) != nil || got.VerifyIngress(p.far.key) != nil || got.EgressKey() != p.near.key.ID || got.IngressKey() != p.far.key.ID {
		t.Error("its signatures are not right")
	}
	if got.VerifyEgress(p.far.key) == nil || got.VerifyIngress(p.near.key) == nil {
		t.Error("signed by the other gateway")
	}
	if !slices.Equal(got.Voids(), []uint64{3}) || !slices.Equal(got.Closed(), []uint64{2, 4, 5}) || !slices.Equal(got.Deferred(), []uint64{2}) {
		t.Errorf("voids %v, closed %v, deferred %v", got.Voids(), got.Closed(), got.Deferred())
	}
	claim, err := Read(&crossingv1.Statement{Claim: st.Statement.Claim, Egress: st.Statement.Egress})
	if err != nil || claim.Answer != nil || claim.IngressKey() != (Hash{}) || claim.VerifyIngress(p.far.key) == nil {
		t.Errorf("a claim alone: %v, %v", claim, err)
	}
	another := proto.CloneOf(st.Statement)
	another.Answer = encode(&crossingv1.Answer{
		Claim: st.ClaimHash[:], Run: farRun, Roots: st.Answer.GetRoots(), At: st.Answer.GetAt(),
	})
	if s, err := Read(another); err != nil || s.VerifyIngress(p.far.key) == nil {
		t.Errorf("another answer is signed: %v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	p, st := answered(t)
	long := make([]uint64, MaxOpened+1)
	for at := range long {
		long[at] = 1
	}
	tests := []struct {
		name   string
		change func(c *crossingv1.Claim, a *crossingv1.Answer)
		want   string
	}{
		{"without epoch", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Epoch = 0 }, "begin with 1"},
		{"from number 0", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.First = 0 }, "begin with 1"},
		{"of no chain", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Chain = nil }, "chain"},
		{"of no egress gateway", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Chain.Egress = "" }, "chain"},
		{"of one gateway", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Chain.Ingress = nearGateway }, "both gateways are one"},
		{"epoch 1 with a claim before", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Epoch = 1 }, "claim before"},
		{"epoch 2 without one", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Previous = nil }, "claim before"},
		{"a short hash", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Answered = c.Answered[1:] }, "hash"},
		{"backwards", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Next = c.First - 1 }, "numbers from"},
		{"too many opened", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Next = c.First + MaxOpened + 1 }, "the most are"},
		{"an impossible range", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Next = math.MaxUint64 }, "the most are"},
		{"no root", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Roots.Closed = nil }, "root"},
		{"no digest", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Agreed = nil }, "digest"},
		{"no time", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.At = nil }, "time"},
		{"an impossible time", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Since = timestamppb.New(time.Unix(0, 0)) }, "time"},
		{"no timestamp", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Since.Nanos = -1 }, "nanos"},
		{"a void above", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Voids = []uint64{9} }, "not given out"},
		{"an end above", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Closed = []uint64{c.Next} }, "not given out"},
		{"an end of 0", func(c *crossingv1.Claim, a *crossingv1.Answer) { c.Closed, a.Deferred = []uint64{0, 1}, nil }, "cannot have ended"},
		{"ends that do not rise", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Closed = []uint64{1, 0} }, "rise"},
		{"ends that wrap", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Closed = []uint64{2, math.MaxUint64} }, "rise"},
		{"too many ends", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Closed = long }, "the most is"},
		{"ends of refused crossings", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Chain.Ingress = "" }, "cannot have ended"},
		{"a claim with unknown fields", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.ProtoReflect().SetUnknown([]byte{0xf8, 0x7f, 1}) }, "does not know"},
		{"a policy with a long revision", func(c *crossingv1.Claim, _ *crossingv1.Answer) { c.Policy.Revision = strings.Repeat("x", 5000) }, "the most is"},

		{"an answer to another claim", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Claim = []byte(strings.Repeat("x", 32)) }, "another claim"},
		{"an answer of no run", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Run = "x" }, "run"},
		{"an answer without roots", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Roots = nil }, "root"},
		{"an answer of no time", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.At = nil }, "time"},
		{"more missed than there were", func(c *crossingv1.Claim, a *crossingv1.Answer) { a.Missed = c.Epoch }, "missed"},
		{"put off and not claimed", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Deferred = []uint64{1} }, "put off"},
		{"a difference of no kind", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Differences[0].Kind = 0 }, "kind"},
		{"a difference of an unknown kind", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Differences[0].Kind = 99 }, "unknown value"},
		{"a difference of nothing", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Differences[0].Numbers = nil }, "no number"},
		{"a difference of 0", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Differences[0].Numbers = []uint64{0} }, "no number"},
		{"a difference that does not rise", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Differences[0].Numbers = []uint64{1, 0} }, "rise"},
		{"many fields", func(_ *crossingv1.Claim, a *crossingv1.Answer) { a.Differences[0].Fields = make([]string, maxFields+1) }, "fields"},
		{"a long field", func(_ *crossingv1.Claim, a *crossingv1.Answer) {
			a.Differences[0].Fields = []string{strings.Repeat("x", maxField+1)}
		}, "long one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, a := proto.CloneOf(st.Claim), proto.CloneOf(st.Answer)
			tt.change(c, a)
			if got, err := Read(resigned(p, c, a)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read = %v, %v; want %q", got, err, tt.want)
			}
		})
	}
	large := proto.CloneOf(st.Statement)
	large.Answer = make([]byte, MaxStatement)
	signed := proto.CloneOf(st.Statement)
	signed.Answer = nil
	short := proto.CloneOf(st.Statement)
	short.Egress.Value = short.Egress.Value[1:]
	unknown := proto.CloneOf(st.Statement)
	unknown.ProtoReflect().SetUnknown([]byte{0xf8, 0x7f, 1})
	for name, s := range map[string]*crossingv1.Statement{"large": large, "signed by nobody": signed, "short": short, "unknown": unknown, "nil": nil} {
		if _, err := Read(s); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

// TestReviewRefuses what is no claim to this gateway.
func TestReviewRefuses(t *testing.T) {
	p, st := answered(t)
	next := func() *crossingv1.Claim {
		c := proto.CloneOf(st.Claim)
		c.Epoch, c.Previous, c.Answered = 3, st.ClaimHash[:], st.AnswerHash[:]
		c.First, c.Voids, c.Closed = st.Claim.GetNext(), nil, nil
		c.Next = c.First
		return c
	}
	tests := []struct {
		name   string
		change func(c *crossingv1.Claim)
		code   crossingv1.Refused_Code
		want   string
	}{
		{"of another chain", func(c *crossingv1.Claim) { c.Chain.Run = farRun }, 0, "another chain"},
		{"from the future", func(c *crossingv1.Claim) { c.At = timestamppb.New(p.now.Add(MaxSkew + time.Minute + time.Second)) }, 0, "future"},
		{"another claim before", func(c *crossingv1.Claim) { c.Previous = make([]byte, 32) }, 0, "another one"},
		{"a gap", func(c *crossingv1.Claim) { c.First++; c.Next++ }, 0, "begins with"},
		{"going back", func(c *crossingv1.Claim) { c.First--; c.Next-- }, 0, "begins with"},
		{"going back after a gap of epochs", func(c *crossingv1.Claim) { c.First--; c.Next--; c.Epoch = 9 }, 0, "begins with"},
		{"an epoch that was", func(c *crossingv1.Claim) { c.Epoch = 2 }, crossingv1.Refused_BEHIND, "was claimed"},
	}
	means := p.means()
	means.Offset = time.Minute
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := next()
			tt.change(c)
			r, err := p.ingress.Review(resigned(p, c, nil), p.near.key, means, p.now)
			refused, ok := err.(*RefusedError) //nolint:errorlint // it is never wrapped
			if !ok || refused.Code != tt.code || !strings.Contains(refused.Why, tt.want) || (refused.Last != nil) != (tt.code == crossingv1.Refused_BEHIND) {
				t.Errorf("Review = %v, %v; want %q", r, err, tt.want)
			}
		})
	}
	for name, review := range map[string]func() (*Review, error){
		"with an answer":    func() (*Review, error) { return p.ingress.Review(st.Statement, p.near.key, means, p.now) },
		"signed by another": func() (*Review, error) { return p.ingress.Review(resigned(p, next(), nil), p.far.key, means, p.now) },
		"no claim":          func() (*Review, error) { return p.ingress.Review(nil, p.near.key, means, p.now) },
		"a first epoch of 2 on": func() (*Review, error) {
			c := next()
			c.Epoch, c.Previous, c.Answered, c.First, c.Next = 1, nil, nil, 2, 2
			return NewIngress(testChain).Review(resigned(p, c, nil), p.near.key, means, p.now)
		},
	} {
		if _, err := review(); err == nil {
			t.Errorf("a claim %s is reviewed", name)
		}
	}
	good, err := p.ingress.Review(resigned(p, next(), nil), p.near.key, means, p.now)
	if err != nil {
		t.Fatal(err)
	}
	good.Drop()
}

// TestCheckRefuses what is no answer to the outstanding claim.
func TestCheckRefuses(t *testing.T) {
	p, st := answered(t)
	if _, err := p.egress.Check(st.Statement, p.far.key); err == nil {
		t.Error("an answer when no claim is outstanding")
	}
	p.cross()
	s, err := p.review(p.claim(false))
	if err != nil {
		t.Fatal(err)
	}
	for name, check := range map[string]func() (*Stated, error){
		"to the claim before": func() (*Stated, error) { return p.egress.Check(st.Statement, p.far.key) },
		"signed by another":   func() (*Stated, error) { return p.egress.Check(s, p.near.key) },
		"that is no answer":   func() (*Stated, error) { return p.egress.Check(p.egress.Pending(), p.far.key) },
		"with another's words": func() (*Stated, error) {
			return p.egress.Check(&crossingv1.Statement{Answer: s.Answer, Ingress: st.Statement.Ingress}, p.far.key)
		},
	} {
		if _, err := check(); err == nil {
			t.Errorf("an answer %s is taken", name)
		}
	}
	p.answered(s)
}

// TestRootsOf: whoever has the frames comes to the roots that both signed.
func TestRootsOf(t *testing.T) {
	p, st := answered(t)
	of := func(s *spool, side crossingv1.Side) *crossingv1.Roots {
		find := func(n uint64, end bool) []byte {
			for _, w := range s.frames {
				h, _ := w.of.(*crossingv1.Half)
				c, _ := w.of.(*crossingv1.Close)
				if !end && h.GetKey().GetSequence() == n || end && c.GetKey().GetSequence() == n && !(side == ingressSide && has(st.Deferred(), n)) {
					return w.frame
				}
			}
			return nil
		}
		return st.RootsOf(func(n uint64) []byte { return find(n, false) }, func(n uint64) []byte { return find(n, true) })
	}
	if got := of(p.near.spool, egressSide); !proto.Equal(got, st.Claim.GetRoots()) {
		t.Errorf("egress: %v", got)
	}
	if got := of(p.far.spool, ingressSide); !proto.Equal(got, st.Answer.GetRoots()) {
		t.Errorf("ingress: %v", got)
	}
}

func TestCheckFrame(t *testing.T) {
	p, st := answered(t)
	near, far := spiffeid.RequireFromString(nearGateway), spiffeid.RequireFromString(farGateway)
	claim := &crossingv1.Statement{Claim: st.Statement.Claim, Egress: st.Statement.Egress}
	tests := []struct {
		name    string
		frame   *crossingv1.Frame
		gateway spiffeid.ID
		ok      bool
	}{
		{"a claim", &crossingv1.Frame{Statement: claim}, near, true},
		{"an answer at egress", &crossingv1.Frame{Statement: st.Statement}, near, true},
		{"an answer", &crossingv1.Frame{Statement: st.Statement}, far, true},
		{"a claim at ingress", &crossingv1.Frame{Statement: claim}, far, false},
		{"a claim between others", &crossingv1.Frame{Statement: claim}, spiffeid.RequireFromString("spiffe://x.example/y"), false},
		{"no claim", &crossingv1.Frame{Statement: &crossingv1.Statement{}}, near, false},
		{"a heartbeat", &crossingv1.Frame{Heartbeat: p.near.signer.Heartbeat(heartbeat(nearGateway))}, near, true},
		{"another's heartbeat", &crossingv1.Frame{Heartbeat: p.near.signer.Heartbeat(heartbeat(nearGateway))}, far, false},
		{"no heartbeat", &crossingv1.Frame{Heartbeat: &crossingv1.SignedHeartbeat{}}, near, false},
		{"an announcement", &crossingv1.Frame{Announcement: announce(t, p.near.signer, nearGateway)}, near, true},
		{"another's announcement", &crossingv1.Frame{Announcement: announce(t, p.near.signer, nearGateway)}, far, false},
		{"something else", &crossingv1.Frame{}, near, true},
	}
	for _, tt := range tests {
		if err := CheckFrame(tt.frame, tt.gateway); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
