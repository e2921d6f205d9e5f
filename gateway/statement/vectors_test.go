package statement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var update = flag.Bool("update", false, "rewrite testdata")

// vectors is testdata/statements.json.
type vectors struct {
	Keys         vectorKeys        `json:"keys"`
	Announcement vectorMessage     `json:"announcement"`
	Heartbeat    vectorMessage     `json:"heartbeat"`
	Statements   []vectorStatement `json:"statements"`
}

// vectorKeys are seeds of Ed25519 keys: of the two statement keys, and of the egress
// gateway's SVID.
type vectorKeys struct {
	Egress  string `json:"egress"`
	Ingress string `json:"ingress"`
	SVID    string `json:"svid"`
}

// vectorMessage is a message, what it is encoded as, and its signature.
type vectorMessage struct {
	Message   json.RawMessage `json:"message"`
	Hex       string          `json:"hex"`
	Signature string          `json:"signature"`
}

// vectorStatement is one epoch: the frames that were written in it, and what both
// signed.
type vectorStatement struct {
	About  string        `json:"about"`
	Frames []vectorFrame `json:"frames"`
	Claim  vectorMessage `json:"claim"`
	Talk   []vectorTalk  `json:"talk"`
	Answer vectorMessage `json:"answer"`
}

// vectorTalk is one message between claim and answer: a question, or what was told.
type vectorTalk struct {
	Message json.RawMessage `json:"message"`
	Hex     string          `json:"hex"`
}

type vectorFrame struct {
	Hex  string `json:"hex"`
	Leaf string `json:"leaf"`
}

func seeded(b byte) (*Signer, string) {
	seed := bytes.Repeat([]byte{b}, ed25519.SeedSize)
	private := ed25519.NewKeyFromSeed(seed)
	return &Signer{private: private, id: sha256.Sum256(private.Public().(ed25519.PublicKey))}, hex.EncodeToString(seed)
}

func message(t *testing.T, m proto.Message, signature []byte) vectorMessage {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil { // protojson's own spacing is random by design
		t.Fatal(err)
	}
	if text, err = json.Marshal(v); err != nil {
		t.Fatal(err)
	}
	return vectorMessage{text, hex.EncodeToString(encode(m)), hex.EncodeToString(signature)}
}

// scenes are what happens before each of the claims.
var scenes = []struct {
	about string
	run   func(p *pair)
	final bool
}{
	{"three crossings, of which one goes on", func(p *pair) {
		p.cross()
		h := p.out()
		p.in(opening(testChain, ingressSide, h.GetKey().GetSequence()))
		p.cross()
	}, false},
	{"one void, one never came, one was denied, one opened otherwise, one ended otherwise and one was broken off; what went on has ended at egress", func(p *pair) {
		p.egress.Void(p.egress.Next())
		p.endOut(ending(p.out(), crossingv1.Cause_PEER_LOST))
		h := p.out()
		i := opening(testChain, ingressSide, h.GetKey().GetSequence())
		i.End.Decision, i.End.Reason, i.Operation = crossingv1.Decision_DENY, crossingv1.Reason_POLICY_MISMATCH, nil
		p.in(i)
		p.endIn(ending(i, crossingv1.Cause_REFUSED))
		p.endOut(ending(h, crossingv1.Cause_REFUSED_BY_PEER))
		for _, change := range []func(i *crossingv1.Half) *crossingv1.Close{
			func(i *crossingv1.Half) *crossingv1.Close { i.Transition.Owner = "nobody"; return ending(i, done) },
			func(i *crossingv1.Half) *crossingv1.Close { c := ending(i, done); c.Status = 500; return c },
			func(i *crossingv1.Half) *crossingv1.Close { return ending(i, crossingv1.Cause_GATEWAY_STOPPED) },
		} {
			h := p.out()
			i := opening(testChain, ingressSide, h.GetKey().GetSequence())
			end := change(i)
			p.in(i)
			p.endOut(ending(h, done))
			p.endIn(end)
		}
		p.endOut(ending(opening(testChain, egressSide, 2), done))
	}, false},
	{"what was put off has ended; the run is over, and the egress gateway has no record of one", func(p *pair) {
		p.endIn(ending(opening(testChain, ingressSide, 2), done))
		p.in(opening(testChain, ingressSide, p.egress.counter.Load()+1))
	}, true},
}

func makeVectors(t *testing.T) *vectors {
	t.Helper()
	v, p := new(vectors), newPair(t)
	p.near.signer, v.Keys.Egress = seeded(1)
	p.far.signer, v.Keys.Ingress = seeded(2)
	p.near.key, p.far.key = p.near.signer.Key(nearGateway, nearRun), p.far.signer.Key(farGateway, farRun)
	owner, seed := seeded(3)
	v.Keys.SVID = seed
	a := must[*crossingv1.Announcement](t)(p.near.signer.Announce(nearGateway, nearRun, certificate(t, nearGateway, owner.private), owner.private, began))
	v.Announcement = message(t, a, a.GetSignature())
	near, far := 0, 0
	for _, scene := range scenes {
		scene.run(p)
		s := vectorStatement{About: scene.about, Talk: []vectorTalk{}}
		for _, w := range slices.Concat(p.near.spool.frames[near:], p.far.spool.frames[far:]) {
			if w.frame != nil {
				leaf := Leaf(w.frame)
				s.Frames = append(s.Frames, vectorFrame{hex.EncodeToString(w.frame), hex.EncodeToString(leaf[:])})
			}
		}
		st := p.epoch(scene.final)
		near, far = len(p.near.spool.frames), len(p.far.spool.frames)
		s.Claim = message(t, st.Claim, st.Statement.GetEgress().GetValue())
		for _, said := range p.talk {
			m := message(t, said, nil)
			s.Talk = append(s.Talk, vectorTalk{m.Message, m.Hex})
		}
		s.Answer = message(t, st.Answer, st.Statement.GetIngress().GetValue())
		v.Statements = append(v.Statements, s)
	}
	beat := &crossingv1.Heartbeat{Gateway: nearGateway, Run: nearRun, At: a.GetAt(), Standings: []*crossingv1.Standing{p.egress.Standing()}}
	v.Heartbeat = message(t, beat, p.near.signer.Heartbeat(beat).GetSignature().GetValue())
	return v
}

// TestVectors: what is made is what FORMAT.md's vectors have.
func TestVectors(t *testing.T) {
	const name = "testdata/statements.json"
	got, err := json.MarshalIndent(makeVectors(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("(-want +got; rewrite with -update):\n%s", d)
	}
}

// TestVectorsByFormat reads the vectors by what FORMAT.md says alone, with the
// standard library: hashes, links, roots, digests and signatures.
func TestVectorsByFormat(t *testing.T) {
	text, err := os.ReadFile("testdata/statements.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	unhex := func(s string) []byte { return must[[]byte](t)(hex.DecodeString(s)) }
	public := func(seed string) ed25519.PublicKey {
		return ed25519.NewKeyFromSeed(unhex(seed)).Public().(ed25519.PublicKey)
	}
	verify := func(seed, signature, text string, sums ...[32]byte) {
		t.Helper()
		m := append([]byte("sallyport.statement.v1 "+text), 0)
		for _, sum := range sums {
			m = append(m, sum[:]...)
		}
		if !ed25519.Verify(public(seed), m, unhex(signature)) {
			t.Errorf("the signature of %s is not right", text)
		}
	}
	a := new(crossingv1.Announcement)
	if err := proto.Unmarshal(unhex(v.Announcement.Hex), a); err != nil || !bytes.Equal(a.GetKey(), public(v.Keys.Egress)) {
		t.Fatal(err, a)
	}
	a.Signature = nil
	verify(v.Keys.SVID, v.Announcement.Signature, "announcement", sha256.Sum256(encode(a)))
	verify(v.Keys.Egress, v.Heartbeat.Signature, "heartbeat", sha256.Sum256(unhex(v.Heartbeat.Hex)))

	books := map[crossingv1.Side]map[bool]map[uint64][]byte{
		egressSide: {false: {}, true: {}}, ingressSide: {false: {}, true: {}},
	}
	var before, answer [32]byte
	for at, s := range v.Statements {
		c, r := new(crossingv1.Claim), new(crossingv1.Answer)
		if proto.Unmarshal(unhex(s.Claim.Hex), c) != nil || proto.Unmarshal(unhex(s.Answer.Hex), r) != nil {
			t.Fatal("no claim, or no answer")
		}
		if at > 0 && (!bytes.Equal(c.GetPrevious(), before[:]) || !bytes.Equal(c.GetAnswered(), answer[:])) {
			t.Errorf("epoch %d is not linked", c.GetEpoch())
		}
		before, answer = sha256.Sum256(unhex(s.Claim.Hex)), sha256.Sum256(unhex(s.Answer.Hex))
		verify(v.Keys.Egress, s.Claim.Signature, "claim", before)
		verify(v.Keys.Ingress, s.Answer.Signature, "answer", before, answer)
		turnsByFormat(t, s.Talk, before)
		for _, frame := range s.Frames {
			data := unhex(frame.Hex)
			if sum := sha256.Sum256(append([]byte{0}, data...)); hex.EncodeToString(sum[:]) != frame.Leaf {
				t.Errorf("leaf %s", frame.Leaf)
			}
			f := must[*crossingv1.Frame](t)(crossing.UnmarshalFrame(data))
			if h := f.GetOpen(); h != nil {
				books[h.GetSide()][false][h.GetKey().GetSequence()] = data
			} else {
				books[f.GetClose().GetSide()][true][f.GetClose().GetKey().GetSequence()] = data
			}
		}
		opened, closed := byFormat(c)
		for side, roots := range map[crossingv1.Side]*crossingv1.Roots{egressSide: c.GetRoots(), ingressSide: r.GetRoots()} {
			o, e := rootByFormat(books[side][false], opened), rootByFormat(books[side][true], closed)
			if !bytes.Equal(o[:], roots.GetOpened()) || !bytes.Equal(e[:], roots.GetClosed()) {
				t.Errorf("epoch %d: the roots of %s are others", c.GetEpoch(), side)
			}
		}
		if !bytes.Equal(agreedByFormat(t, books[egressSide][false], opened), c.GetAgreed().GetOpened()) ||
			!bytes.Equal(agreedByFormat(t, books[egressSide][true], closed), c.GetAgreed().GetClosed()) {
			t.Errorf("epoch %d: the digests are others", c.GetEpoch())
		}
	}
}

// turnsByFormat holds that questions and what was told to them take turns, from 1, and
// are all of the claim.
func turnsByFormat(t *testing.T, talk []vectorTalk, claim [32]byte) {
	t.Helper()
	for at, said := range talk {
		m := new(crossingv1.Talk)
		if err := proto.Unmarshal(must[[]byte](t)(hex.DecodeString(said.Hex)), m); err != nil {
			t.Fatal(err)
		}
		var one interface {
			GetTurn() uint32
			GetClaim() []byte
		} = m.GetAsk()
		if at%2 == 1 {
			one = m.GetTold()
		}
		if turn := uint32(at/2 + 1); one.GetTurn() != turn || !bytes.Equal(one.GetClaim(), claim[:]) {
			t.Errorf("%v, want turn %d of %x", m, turn, claim)
		}
	}
	if len(talk)%2 == 1 {
		t.Error("a question was not answered")
	}
}

// byFormat are the two lists of a claim.
func byFormat(c *crossingv1.Claim) (opened, closed []uint64) {
	for n := c.GetFirst(); n < c.GetNext(); n++ {
		opened = append(opened, n)
	}
	n := uint64(0)
	for _, d := range c.GetClosed() {
		n += d
		closed = append(closed, n)
	}
	return opened, closed
}

func rootByFormat(frames map[uint64][]byte, numbers []uint64) [32]byte {
	if len(numbers) == 0 {
		return sha256.Sum256(nil)
	}
	var leaves []Hash
	for _, n := range numbers {
		leaves = append(leaves, sha256.Sum256(append([]byte{0}, frames[n]...)))
	}
	return mth(leaves)
}

func agreedByFormat(t *testing.T, frames map[uint64][]byte, numbers []uint64) []byte {
	t.Helper()
	var all []byte
	for _, n := range numbers {
		if frames[n] == nil {
			continue
		}
		f := must[*crossingv1.Frame](t)(crossing.UnmarshalFrame(frames[n]))
		if f.GetOpen() != nil {
			all = crossing.AppendAgreedOpen(all, f.GetOpen())
		} else {
			all = crossing.AppendAgreedClose(all, f.GetClose())
		}
	}
	sum := sha256.Sum256(all)
	return sum[:]
}
