package tunnel

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// moving is a crossing that was opened by TCP, beside a tunnel by QUIC.
type moving struct {
	*carriers
	Stream
	tcp, quic *fakeTunnel
	old       *talker
	moves     []string
}

// inMotion runs a test of a crossing that has no answer yet.
func inMotion(t *testing.T, f func(t *testing.T, m *moving)) {
	t.Helper()
	m := &moving{}
	cfg := PoolConfig{Moved: func(carrier string, c Class) { m.moves = append(m.moves, carrier+" "+c.String()) }}
	twoCarriers(t, cfg, func(t *testing.T, p *carriers) {
		p.SetPeers([]Peer{peerAt("azure", "azure:1")})
		synctest.Wait()
		m.carriers, m.tcp, m.quic = p, p.tcp.last("azure:1"), p.quic.last("azure:1")
		m.tcp.talks, m.quic.talks = make(chan *talker, 16), make(chan *talker, 16)
		m.Stream, m.old = m.open(t)
		f(t, m)
	})
}

// open opens a crossing, and gives it and the stream below it.
func (m *moving) open(t *testing.T) (Stream, *talker) {
	t.Helper()
	tun, err := m.Pick(t.Context(), "azure", Interactive)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tun.Open(t.Context(), &crossingv1.Header{Id: "x"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Reset(CallerGone) })
	return s, <-m.tcp.talks
}

// silence lets TCP fall silent, and gives the stream in which the crossing is
// said again; nil if it is not.
func (m *moving) silence() *talker {
	set(m.tcp, func() { m.tcp.silent = silentFor + 1 })
	pass(2 * watchInterval)
	synctest.Wait()
	select {
	case s := <-m.quic.talks:
		return s
	default:
		return nil
	}
}

func (m *moving) says(t *testing.T, text string) {
	t.Helper()
	if n, err := m.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write(%.20q) = %d, %v", text, n, err)
	}
}

// hears holds what is read, to the end if it has a full stop.
func (m *moving) hears(t *testing.T, want string) {
	t.Helper()
	text, all := strings.CutSuffix(want, ".")
	got := make([]byte, len(text))
	if _, err := io.ReadFull(m, got); err != nil || string(got) != text {
		t.Fatalf("Read = %q, %v, want %q", got, err, text)
	}
	if !all {
		return
	}
	if n, err := m.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("Read = %d, %v, want the end", n, err)
	}
}

// told holds what a stream was told.
func told(t *testing.T, s *talker, want string) {
	t.Helper()
	synctest.Wait()
	if got := s.told(); got != want {
		t.Errorf("the stream by %s was told %.80q (%d bytes), want %.80q (%d)", s.tunnel.carrier, got, len(got), want, len(want))
	}
}

func wasReset(t *testing.T, s *talker, code ResetCode) {
	t.Helper()
	select {
	case <-s.done:
		if s.code != code {
			t.Errorf("the stream by %s was reset: %s, want %s", s.tunnel.carrier, s.code, code)
		}
	default:
		t.Errorf("the stream by %s was not reset", s.tunnel.carrier)
	}
}

// settledIn holds that nothing is left between the caller and a stream.
func (m *moving) settledIn(t *testing.T, s *talker) {
	t.Helper()
	synctest.Wait()
	u := m.Stream.(*unsettled)
	if got := Settled(m.Stream); got != s {
		t.Errorf("settled in %v, want the stream by %s", got, s.tunnel.carrier)
	}
	if u.kept != nil || u.header != nil {
		t.Error("something is kept for a stream that is settled")
	}
	for _, f := range []*fakeTunnel{m.tcp, m.quic} {
		for _, x := range m.Pool.members {
			if x.Tunnel == f && !x.open.empty() {
				t.Errorf("the tunnel by %s has streams without an answer", f.carrier)
			}
		}
	}
	info, moved := Moved(m.Stream)
	if moved != (s.tunnel == m.quic) || moved && (info.Carrier != QUIC || info.Choice != Failover) {
		t.Errorf("Moved = %+v, %t", info, moved)
	}
}

// TestFinishedMoves: what was said with its end is said again with it, and what
// moved before is ended where it is.
func TestFinishedMoves(t *testing.T) {
	for _, before := range []bool{true, false} {
		inMotion(t, func(t *testing.T, m *moving) {
			m.says(t, "a ")
			var again *talker
			if !before {
				again = m.silence()
			}
			if n, err := Finish(m.Stream, []byte("question")); n != 8 || err != nil {
				t.Fatalf("Finish = %d, %v", n, err)
			}
			if before {
				again = m.silence()
			}
			if again == nil {
				t.Fatal("it was not said again")
			}
			told(t, again, "a question.")
			again.answers <- "answer"
			m.hears(t, "answer")
			m.settledIn(t, again)
		})
	}
}

func TestUnansweredMovesAndIsAnsweredOnce(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		m.says(t, "question")
		m.CloseWrite()
		var heard []byte
		read := make(chan error)
		go func() {
			b := make([]byte, 100)
			n, err := m.Read(b)
			heard = b[:n]
			read <- err
		}()
		began := time.Now()
		again := m.silence()
		if again == nil {
			t.Fatal("the crossing was not said again")
		}
		told(t, again, "question.")
		if !proto.Equal(again.header, m.old.header) {
			t.Error("with another header")
		}
		if m.old.over() {
			t.Error("the first stream was reset before there was an answer")
		}
		again.answers <- "answer"
		if err := <-read; err != nil || string(heard) != "a" {
			t.Fatalf("Read = %q, %v", heard, err)
		}
		m.hears(t, "nswer")
		wasReset(t, m.old, Repeated)
		m.settledIn(t, again)
		close(again.answers)
		m.hears(t, ".")
		if d := time.Since(began); d > 2*watchInterval {
			t.Errorf("it took %s", d)
		}
		if len(m.moves) != 1 || m.moves[0] != "QUIC interactive" {
			t.Errorf("moves that were told of: %q", m.moves)
		}
	})
}

func TestTheOldStreamAnswersAfterAll(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		m.says(t, "ques")
		again := m.silence()
		m.says(t, "tion") // until somebody answers it goes where somebody may
		m.CloseWrite()
		told(t, again, "question.")
		told(t, m.old, "ques")
		m.old.answers <- "answer"
		m.hears(t, "answer")
		wasReset(t, again, Repeated)
		told(t, m.old, "question.")
		m.settledIn(t, m.old)
		if len(m.moves) != 0 {
			t.Errorf("moves that were told of: %q", m.moves)
		}
	})
}

// TestTheSecondIsRefusedAsRepeated: the peer has the first one, so it is there
// that the answer comes, and the rest of the question is wanted.
func TestTheSecondIsRefusedAsRepeated(t *testing.T) {
	for _, code := range []ResetCode{Repeated, TunnelClosed, Refused} {
		inMotion(t, func(t *testing.T, m *moving) {
			m.says(t, "ques")
			again := m.silence()
			m.says(t, "ti")
			again.Reset(code)
			m.says(t, "on")
			m.CloseWrite()
			told(t, m.old, "question.")
			if m.old.over() {
				t.Error("the first stream was reset")
			}
			m.settledIn(t, m.old)
			m.old.answers <- "answer"
			m.hears(t, "answer")
			set(m.tcp, func() { m.tcp.silent = 2 * silentFor })
			if again := m.silence(); again != nil {
				t.Error("the crossing was said a third time")
			}
		})
	}
}

// TestThePeerEndsTheSecond: what it says of the crossing itself is an answer.
func TestThePeerEndsTheSecond(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		again := m.silence()
		again.Reset(DestinationGone)
		_, err := m.Read(make([]byte, 1))
		if reset, ok := errors.AsType[*ResetError](err); !ok || reset.Code != DestinationGone {
			t.Errorf("Read: %v", err)
		}
		wasReset(t, m.old, Repeated)
	})
}

func TestBothAreLost(t *testing.T) {
	for _, first := range []string{TCP, QUIC} {
		inMotion(t, func(t *testing.T, m *moving) {
			m.says(t, "question")
			m.silence()
			lost := []*fakeTunnel{m.tcp, m.quic}
			if first == QUIC {
				lost[0], lost[1] = m.quic, m.tcp
			}
			done := m.Done()
			lost[0].Close()
			synctest.Wait()
			lost[1].Close()
			_, err := m.Read(make([]byte, 1))
			if reset, ok := errors.AsType[*ResetError](err); !ok || reset.Code != TunnelClosed {
				t.Errorf("Read: %v", err)
			}
			<-done
			<-m.Done()
		})
	}
}

func TestTheFirstIsLostBeforeItMoves(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		m.tcp.Close()
		if _, err := m.Read(make([]byte, 1)); err == nil {
			t.Error("Read gives no error")
		}
		<-m.Done()
	})
}

func TestTheCallerResetsBoth(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		m.says(t, "question")
		again := m.silence()
		read := make(chan error)
		go func() { _, err := m.Read(make([]byte, 1)); read <- err }()
		done := m.Done()
		synctest.Wait()
		m.Reset(CallerGone)
		if err := <-read; err == nil {
			t.Error("Read gives no error")
		}
		<-done
		wasReset(t, m.old, CallerGone)
		wasReset(t, again, CallerGone)
	})
}

func TestWhatIsLongStays(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		long := strings.Repeat("x", mostKept/2)
		m.says(t, long)
		m.says(t, long)
		m.says(t, "x")
		m.settledIn(t, m.old)
		if again := m.silence(); again != nil {
			t.Error("a crossing that has said more than is kept was said again")
		}
		told(t, m.old, long+long+"x")
	})
}

// TestWhatGrowsLongAfterItMoved waits for a while to hear of the first one.
func TestWhatGrowsLongAfterItMoved(t *testing.T) {
	half := strings.Repeat("x", mostKept/2)
	for _, repeated := range []bool{false, true} {
		inMotion(t, func(t *testing.T, m *moving) {
			m.says(t, half)
			again := m.silence()
			m.says(t, half)
			if repeated {
				time.AfterFunc(verdict/2, func() { again.Reset(Repeated) })
			}
			m.says(t, half)
			m.CloseWrite()
			if repeated {
				told(t, m.old, half+half+half+".")
				m.settledIn(t, m.old)
				return
			}
			told(t, again, half+half+half+".")
			wasReset(t, m.old, Repeated)
			again.answers <- "answer"
			m.hears(t, "answer")
			m.settledIn(t, again)
		})
	}
}

// TestAWriteThatIsStuckGoesOnElsewhere: the tunnel that fell silent takes nothing
// more, and whoever writes goes on all the same.
func TestAWriteThatIsStuckGoesOnElsewhere(t *testing.T) {
	for _, back := range []bool{false, true} {
		inMotion(t, func(t *testing.T, m *moving) {
			m.says(t, "a")
			m.old.set(func() { m.old.stuck = true })
			wrote := make(chan error)
			go func() {
				_, err := m.Write([]byte("bcde"))
				wrote <- err
			}()
			synctest.Wait()
			again := m.silence()
			if err := <-wrote; err != nil {
				t.Fatalf("Write: %v", err)
			}
			m.says(t, "f")
			m.CloseWrite()
			told(t, again, "abcdef.")
			told(t, m.old, "abc")
			if back {
				m.old.set(func() { m.old.stuck = false })
				again.Reset(Repeated)
				told(t, m.old, "abcdef.")
				m.settledIn(t, m.old)
				return
			}
			again.answers <- "answer"
			m.hears(t, "answer")
			m.settledIn(t, again)
		})
	}
}

// TestWritesWhileItMoves: whatever is written, and whenever it moves, all of it
// arrives in order where the answer comes from.
func TestWritesWhileItMoves(t *testing.T) {
	for seed := range uint64(200) {
		inMotion(t, func(t *testing.T, m *moving) {
			r := rand.New(rand.NewPCG(seed, 0))
			all := make([]byte, r.IntN(2*mostKept))
			for i := range all {
				all[i] = byte('a' + r.IntN(26))
			}
			wrote, pause := make(chan error, 1), time.Duration(r.IntN(3))*10*time.Millisecond
			go func() {
				rest, r := all, rand.New(rand.NewPCG(seed, 1))
				for len(rest) > 0 {
					n := min(len(rest), 1+r.IntN(20_000))
					if _, err := m.Write(rest[:n]); err != nil {
						wrote <- err
						return
					}
					rest = rest[n:]
					pass(pause)
				}
				wrote <- m.CloseWrite()
			}()
			from := m.old
			if again := m.silence(); again != nil && r.IntN(2) == 0 {
				from = again
			} else if again != nil && r.IntN(2) == 0 {
				again.Reset(Repeated)
			}
			pass(time.Duration(r.IntN(100)) * time.Millisecond)
			if r.IntN(2) == 0 {
				from.answers <- "answer"
				m.hears(t, "answer")
			}
			if err := <-wrote; err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			synctest.Wait()
			if u := m.Stream.(*unsettled); u.chosen != nil {
				from = u.chosen.stream.(*talker)
			} else if u.moved {
				from = u.second.stream.(*talker)
			}
			told(t, from, string(all)+".")
		})
	}
}

// TestItMovesOnlyToWhatWasThere: behind a tunnel that is younger may be another
// process, which does not know what the first one has taken.
func TestItMovesOnlyToWhatWasThere(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		m.quic.Close()
		pass(time.Second)
		m.quic = m.carriers.quic.last("azure:1")
		m.quic.talks = make(chan *talker, 16)
		if again := m.silence(); again != nil {
			t.Error("the crossing was said again in a tunnel that is younger")
		}
		set(m.tcp, func() { m.tcp.silent = 0 })
		m.Stream, m.old = m.open(t)
		if again := m.silence(); again == nil {
			t.Error("a crossing that is younger than the tunnel was not said again")
		}
	})
}

// TestItMovesOnlyWithinAProcess: the process that takes another one's place does
// not know what that has taken.
func TestItMovesOnlyWithinAProcess(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		set(m.quic, func() { m.quic.process = 1 })
		if again := m.silence(); again != nil {
			t.Error("the crossing was said again to another process")
		}
		set(m.quic, func() { m.quic.process = 0 })
		pass(2 * watchInterval)
		synctest.Wait()
		select {
		case <-m.quic.talks:
		default:
			t.Error("the crossing was not said again to the same process")
		}
	})
}

// TestItMovesOnceThereIsWhereTo: when all tunnels are silent, and one answers
// again.
func TestItMovesOnceThereIsWhereTo(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		set(m.quic, func() { m.quic.silent = silentFor + 1 })
		if again := m.silence(); again != nil {
			t.Error("the crossing was said where nobody answers")
		}
		set(m.quic, func() { m.quic.silent = 0 })
		if again := m.silence(); again == nil {
			t.Error("the crossing was not said again")
		}
	})
}

func TestItStaysWhereTheOtherTunnelTakesNothing(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		m.says(t, "ques")
		m.Pool.mu.Lock()
		u := m.Stream.(*unsettled)
		u.move(&member{Tunnel: func() Tunnel { f := newFake(m.tcp.peer); f.draining = true; return f }()})
		m.Pool.mu.Unlock()
		m.says(t, "tion")
		told(t, m.old, "question")
		m.settledIn(t, m.old)
	})
}

// TestOpeningDoesNotWaitWhereNobodyAnswers: what finds no room in a tunnel that
// fell silent opens in another one, and was said nowhere before.
func TestOpeningDoesNotWaitWhereNobodyAnswers(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		m.silence()
		set(m.tcp, func() { m.tcp.silent, m.tcp.full = 0, make(chan struct{}) })
		tun, err := m.Pick(t.Context(), "azure", Interactive)
		if err != nil {
			t.Fatal(err)
		}
		opened := make(chan Stream)
		go func() {
			s, err := tun.Open(t.Context(), &crossingv1.Header{Id: "y"})
			if err != nil {
				t.Error(err)
			}
			opened <- s
		}()
		synctest.Wait()
		set(m.tcp, func() { m.tcp.silent = silentFor + 1 })
		began := time.Now()
		s := <-opened
		<-m.quic.talks
		if info, ok := Moved(s); !ok || info.Carrier != QUIC || time.Since(began) > 2*watchInterval {
			t.Errorf("Moved = %+v, %t after %s", info, ok, time.Since(began))
		}
		s.Reset(CallerGone)
	})
}

func TestNothingIsWatchedWhereNothingWaits(t *testing.T) {
	inMotion(t, func(t *testing.T, m *moving) {
		m.old.answers <- "answer"
		m.hears(t, "answer")
		m.settledIn(t, m.old)
		pass((watchOn + 2) * watchInterval)
		if !m.watched.asleep.Load() {
			t.Error("the pool looks for streams without an answer, and there are none")
		}
		m.Stream, m.old = m.open(t)
		if again := m.silence(); again == nil {
			t.Error("a crossing that opened while nobody looked was not said again")
		}
	})
}

// free is a stream that costs nothing.
type free struct{ *fakeStream }

func (free) Read(p []byte) (int, error) { return len(p), nil }
func (free) CloseWrite() error          { return nil }

// BenchmarkUnsettled is what a crossing costs that could move, and does not:
// question, end and answer.
func BenchmarkUnsettled(b *testing.B) {
	p := NewPool(PoolConfig{})
	s := free{newFake(gatewayID("azure")).stream(nil)}
	t := &picked{member: &member{}, pool: p}
	question, answer := make([]byte, 600), make([]byte, 5)
	b.ReportAllocs()
	for b.Loop() {
		u := newUnsettled(t, s, nil, 0, 0)
		u.Write(question)
		u.CloseWrite()
		u.Read(answer)
		if !u.settled.Load() {
			b.Fatal("it is not settled")
		}
		u.Release()
	}
}

// TestReleasedOnceSettled: what is said again, or may be soon, is somebody else's too.
func TestReleasedOnceSettled(t *testing.T) {
	p := NewPool(PoolConfig{})
	in := &picked{member: &member{}, pool: p}
	for name, c := range map[string]struct {
		live func(u *unsettled)
		want bool
	}{
		"answered":   {func(u *unsettled) { u.Read(make([]byte, 1)) }, true},
		"unanswered": {func(*unsettled) {}, false},
		"awaited":    {func(u *unsettled) { u.Read(make([]byte, 1)); u.done = make(chan struct{}) }, false},
		"evacuated":  {func(u *unsettled) { in.member.open.all(); u.Read(make([]byte, 1)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &released{free: free{newFake(gatewayID("azure")).stream(nil)}}
			u := newUnsettled(in, s, nil, 0, 0)
			c.live(u)
			Release(u)
			if s.released != c.want {
				t.Errorf("its stream is released: %v, want %v", s.released, c.want)
			}
		})
	}
}

// released is a stream that says whether it was.
type released struct {
	free
	released bool
}

func (r *released) Release() { r.released = true }

// TestAStreamOfACarrierIsItself: only what Pick's tunnels open can move.
func TestAStreamOfACarrierIsItself(t *testing.T) {
	s := newFake(gatewayID("azure")).stream(nil)
	if _, moved := Moved(s); Settled(s) != Stream(s) || moved {
		t.Error("it is not")
	}
}
