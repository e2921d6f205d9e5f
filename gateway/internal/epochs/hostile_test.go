package epochs

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// dial opens a stream to the far gateway in a tunnel from somebody.
func (w *world) dial(from spiffeid.ID) *pipe {
	near, far := streams(&crossingv1.Header{Kind: crossingv1.Header_STATEMENTS})
	go w.far.keeper.Serve(w.t.Context(), tunnel.Info{Peer: from}, far)
	return near
}

// key is the announcement of the near gateway's key.
func (g *gateway) key() *crossingv1.Announcement {
	g.keeper.keys.mu.Lock()
	defer g.keeper.keys.mu.Unlock()
	return g.keeper.keys.current
}

// claim makes the first claim of a chain of its own, signed with the near gateway's key.
func (w *world) claim(c statement.Chain, at time.Time) *crossingv1.Claimed {
	w.t.Helper()
	book := statement.NewEgress(c, at)
	book.Void(book.Next())
	s := book.Cut(statement.Facts{Now: at, Final: true}, w.near.keeper.keys.signer)
	if s == nil {
		w.t.Fatal("there is nothing to claim")
	}
	return &crossingv1.Claimed{Statement: s, Key: w.near.key()}
}

func (w *world) chain() statement.Chain {
	return statement.Chain{Egress: w.near.id.String(), Ingress: w.far.id.String(), Run: crossing.NewRun()}
}

func (w *world) good() *crossingv1.Claimed { return w.claim(w.chain(), time.Now()) }

// changed is a claim that is not what was signed.
func changed(t testing.TB, c *crossingv1.Claimed, change func(*crossingv1.Claim)) *crossingv1.Claimed {
	t.Helper()
	claim := new(crossingv1.Claim)
	if err := proto.Unmarshal(c.GetStatement().GetClaim(), claim); err != nil {
		t.Fatal(err)
	}
	change(claim)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(claim)
	if err != nil {
		t.Fatal(err)
	}
	c.Statement.Claim = b
	return c
}

func claimed(c *crossingv1.Claimed) *crossingv1.Talk { return &crossingv1.Talk{Claimed: c} }

// TestHostileTalk: what a peer must not say is refused with a reason that names it, is
// counted, and harms nothing else.
func TestHostileTalk(t *testing.T) {
	third := spiffeid.RequireFromString("spiffe://near.test/sallyport/gateway/third")
	beat := func(w *world, change func(*crossingv1.Heartbeat)) *crossingv1.Talk {
		h := &crossingv1.Heartbeat{Gateway: w.near.id.String(), Run: w.near.run, At: timestamppb.Now()}
		change(h)
		return &crossingv1.Talk{Beat: &crossingv1.Beat{Heartbeat: w.near.keeper.keys.signer.Heartbeat(h), Key: w.near.key()}}
	}
	for _, c := range []struct {
		name   string
		from   spiffeid.ID // the near gateway, if zero
		talk   func(w *world) *crossingv1.Talk
		raw    []byte // instead
		reason string
	}{
		{name: "noise", raw: []byte("\x00\x00\x00\x04\xff\xff\xff\xff"), reason: malformed},
		{name: "nothing", raw: []byte("\x00\x00\x00\x00"), reason: malformed},
		{name: "ten megabytes", raw: append(binary.BigEndian.AppendUint32(nil, 10<<20), make([]byte, 10<<20)...), reason: malformed},
		{name: "four gigabytes", raw: binary.BigEndian.AppendUint32(nil, math.MaxUint32), reason: malformed},
		{name: "half a message", raw: []byte("\x00\x00\x01\x00abc"), reason: malformed},
		{name: "an answer to nothing", reason: malformed, talk: func(*world) *crossingv1.Talk {
			return &crossingv1.Talk{Answered: &crossingv1.Answered{Statement: &crossingv1.Statement{}}}
		}},
		{name: "an empty claim", reason: malformed, talk: func(*world) *crossingv1.Talk {
			return claimed(&crossingv1.Claimed{Statement: &crossingv1.Statement{}})
		}},
		{name: "another egress gateway's claim", from: third, reason: strange, talk: func(w *world) *crossingv1.Talk {
			return claimed(w.good())
		}},
		{name: "a claim on what another one received", reason: strange, talk: func(w *world) *crossingv1.Talk {
			c := w.chain()
			c.Ingress = third.String()
			return claimed(w.claim(c, time.Now()))
		}},
		{name: "an impossible range", reason: malformed, talk: func(w *world) *crossingv1.Talk {
			return claimed(changed(t, w.good(), func(c *crossingv1.Claim) { c.First, c.Next = 9, 3 }))
		}},
		{name: "an endless range", reason: malformed, talk: func(w *world) *crossingv1.Talk {
			return claimed(changed(t, w.good(), func(c *crossingv1.Claim) { c.Next = math.MaxUint64 }))
		}},
		{name: "a changed claim", reason: unsigned, talk: func(w *world) *crossingv1.Talk {
			return claimed(changed(t, w.good(), func(c *crossingv1.Claim) { c.Open++ }))
		}},
		{name: "from the future", reason: unsound, talk: func(w *world) *crossingv1.Talk {
			return claimed(w.claim(w.chain(), time.Now().Add(time.Hour)))
		}},
		{name: "no key", reason: unsigned, talk: func(w *world) *crossingv1.Talk {
			c := w.good()
			c.Key = nil
			return claimed(c)
		}},
		{name: "another one's key", reason: unsigned, talk: func(w *world) *crossingv1.Talk {
			c := w.good()
			c.Key = w.far.key()
			return claimed(c)
		}},
		{name: "a key under nobody's SVID", reason: unsigned, talk: func(w *world) *crossingv1.Talk {
			c := w.good()
			c.Key = proto.CloneOf(c.GetKey())
			c.Key.Signature[0] ^= 1
			return claimed(c)
		}},
		{name: "another one's heartbeat", from: third, reason: unsigned, talk: func(w *world) *crossingv1.Talk {
			return beat(w, func(*crossingv1.Heartbeat) {})
		}},
		{name: "a changed heartbeat", reason: unsigned, talk: func(w *world) *crossingv1.Talk {
			b := beat(w, func(*crossingv1.Heartbeat) {})
			b.Beat.Heartbeat.Signature.Value[3] ^= 1
			return b
		}},
		{name: "a heartbeat from the future", reason: unsound, talk: func(w *world) *crossingv1.Talk {
			return beat(w, func(h *crossingv1.Heartbeat) { h.At = timestamppb.New(time.Now().Add(time.Hour)) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				synctest.Wait()
				from := c.from
				if from.IsZero() {
					from = w.near.id
				}
				s := w.dial(from)
				go func() {
					if c.raw != nil {
						s.Write(c.raw)
					} else if err := statement.WriteTalk(s, c.talk(w)); err != nil {
						t.Errorf("WriteTalk: %v", err)
					}
					s.CloseWrite()
				}()
				io.Copy(io.Discard, s)
				synctest.Wait()
				w.wantRefused(t, from, c.reason)
				w.cross(3)
				pass(5 * time.Second)
				w.wantAgreed(3)
			})
		})
	}
}

// wantRefused checks that the far gateway has refused one thing, whose it was and why.
func (w *world) wantRefused(t *testing.T, whose spiffeid.ID, reason string) {
	t.Helper()
	if n := w.far.counted("refused " + reason); n != 1 {
		t.Errorf("%d things were refused as %s, want 1: %v, %v", n, reason, w.far.counts, w.far.refused)
	}
	if len(w.far.refused) != 1 || !strings.HasPrefix(w.far.refused[0], listener+": "+whose.String()+": ") {
		t.Errorf("the record has %q", w.far.refused)
	}
}

// TestReplayed: a claim that comes again gets the very same answer.
func TestReplayed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		synctest.Wait()
		c := w.good()
		var answers [2]*crossingv1.Talk
		for i := range answers {
			answers[i] = w.exchange(t, claimed(c))
		}
		if answers[0].GetAnswered() == nil || !proto.Equal(answers[0], answers[1]) {
			t.Errorf("answers %v", answers)
		}
		if n := len(w.far.statements()); n != 1 {
			t.Errorf("%d statements", n)
		}
	})
}

// exchange says one thing and hears one.
func (w *world) exchange(t *testing.T, talk *crossingv1.Talk) *crossingv1.Talk {
	t.Helper()
	s := w.dial(w.near.id)
	if err := statement.WriteTalk(s, talk); err != nil {
		t.Fatal(err)
	}
	answer, err := statement.ReadTalk(s)
	if err != nil {
		t.Fatal(err)
	}
	s.CloseWrite()
	io.Copy(io.Discard, s)
	return answer
}

// TestForked: another claim of the same epoch is refused, with the first.
func TestForked(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		synctest.Wait()
		chain := w.chain()
		first := w.claim(chain, time.Now())
		w.exchange(t, claimed(first))
		answer := w.exchange(t, claimed(w.claim(chain, time.Now().Add(time.Second)))).GetRefused()
		if answer.GetCode() != crossingv1.Refused_BEHIND || string(answer.GetLast().GetClaim()) != string(first.GetStatement().GetClaim()) {
			t.Errorf("a second claim of an epoch was answered with %v", answer)
		}
		synctest.Wait()
		w.wantRefused(t, w.near.id, diverges)
	})
}

// TestTooSlow: who opens a stream and says nothing is let go of.
func TestTooSlow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := w.dial(w.near.id)
		pass(11 * time.Second)
		if _, err := s.Read(make([]byte, 1)); !errors.As(err, new(*tunnel.ResetError)) {
			t.Errorf("Read: %v, want a reset", err)
		}
		w.wantRefused(t, w.near.id, tooSlow)
	})
}

func TestStreamsAreBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for range maxStreams {
			defer w.dial(w.near.id).Reset(tunnel.CallerGone)
		}
		synctest.Wait()
		io.Copy(io.Discard, w.dial(w.near.id))
		synctest.Wait()
		w.wantRefused(t, w.near.id, tooMuch)
	})
}

// TestChainsAreBounded: a peer that makes runs up fills nothing.
func TestChainsAreBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		synctest.Wait()
		for range 2 * maxChains { // of which nothing is left to state
			if w.exchange(t, claimed(w.good())).GetAnswered() == nil {
				t.Fatal("a claim was not answered")
			}
		}
		for range maxChains + 1 {
			h := w.far.half(1, crossing.NewID(time.Now()), crossingv1.Side_INGRESS)
			h.Key.Run = crossing.NewRun()
			w.far.open(h) // one crossing too many is recorded all the same
		}
		if n := w.far.heldPlaces(); n != maxChains {
			t.Errorf("%d places are held of %d chains", n, maxChains)
		}
		w.far.disk.counts["refused "+tooMuch] = 0
		s := w.dial(w.near.id)
		go statement.WriteTalk(s, claimed(w.good()))
		io.Copy(io.Discard, s)
		synctest.Wait()
		if w.far.counted("refused "+tooMuch) == 0 || len(w.far.refused) != 1 {
			t.Errorf("one claim too many: %v", w.far.refused)
		}
	})
}

// TestHostileAnswer: an ingress gateway that does not answer what was claimed is as one
// that does not answer, and is counted.
func TestHostileAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		says   func(w *world, said *crossingv1.Claimed) *crossingv1.Talk
		reason string
	}{
		{"something else", func(*world, *crossingv1.Claimed) *crossingv1.Talk {
			return &crossingv1.Talk{Told: &crossingv1.Told{}}
		}, malformed},
		{"an impossible question", func(_ *world, said *crossingv1.Claimed) *crossingv1.Talk {
			claim := sha256.Sum256(said.GetStatement().GetClaim())
			return &crossingv1.Talk{Ask: &crossingv1.Ask{List: crossingv1.Ask_OPENED, Numbers: []uint64{1 << 40}, Turn: 1, Claim: claim[:]}}
		}, malformed},
		{"nobody's key", func(_ *world, said *crossingv1.Claimed) *crossingv1.Talk {
			return &crossingv1.Talk{Answered: &crossingv1.Answered{Statement: said.GetStatement()}}
		}, unsigned},
		{"no answer", func(w *world, said *crossingv1.Claimed) *crossingv1.Talk {
			return &crossingv1.Talk{Answered: &crossingv1.Answered{Statement: said.GetStatement(), Key: w.far.key()}}
		}, unsound},
		{"a refusal", func(*world, *crossingv1.Claimed) *crossingv1.Talk {
			return &crossingv1.Talk{Refused: &crossingv1.Refused{Why: "so"}}
		}, refusedByPeer},
		{"a later claim that nobody made", func(_ *world, said *crossingv1.Claimed) *crossingv1.Talk {
			last := proto.CloneOf(said.GetStatement())
			last.Claim = append(last.Claim, 0)
			return &crossingv1.Talk{Refused: &crossingv1.Refused{Code: crossingv1.Refused_BEHIND, Last: last}}
		}, diverges},
		{"a later claim that it made itself", func(w *world, said *crossingv1.Claimed) *crossingv1.Talk {
			last := changed(w.t, said, func(c *crossingv1.Claim) { c.Epoch, c.Previous, c.First = 2, make([]byte, 32), c.GetNext() }).GetStatement()
			return &crossingv1.Talk{Refused: &crossingv1.Refused{
				Code: crossingv1.Refused_BEHIND, Last: w.far.keeper.keys.signer.Claim(last), Key: w.far.key(),
			}}
		}, diverges},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.mu.Lock()
				w.speaks = func(s tunnel.Stream) {
					if talk, err := statement.ReadTalk(s); err == nil && talk.GetClaimed() != nil {
						statement.WriteTalk(s, c.says(w, talk.GetClaimed()))
					}
					s.CloseWrite()
					io.Copy(io.Discard, s)
				}
				w.mu.Unlock()
				w.cross(2)
				pass(2 * time.Second)
				if n := w.near.counted("refused " + c.reason); n == 0 {
					t.Errorf("nothing was refused as %s: %v", c.reason, w.near.counts)
				}
				w.mu.Lock()
				w.speaks = nil
				w.mu.Unlock()
				pass(10 * time.Second)
				w.wantAgreed(2)
			})
		})
	}
}

// FuzzServe: nothing that a peer writes breaks more than its own stream.
func FuzzServe(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02\x0a\x00"))
	f.Add([]byte("\x00\x00\x00\x02\x32\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		inWorld(t, func(t *testing.T, w *world) {
			s := w.dial(w.near.id)
			go func() {
				s.Write(b)
				s.CloseWrite()
			}()
			io.Copy(io.Discard, s)
			if n := len(w.far.statements()); n > 0 {
				t.Errorf("%d statements came of noise", n)
			}
		})
	})
}
