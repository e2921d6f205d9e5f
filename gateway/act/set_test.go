package act

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func with(t *testing.T, s *Set, more ...*Act) *Set {
	t.Helper()
	next, err := s.With(more...)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestNilSetDeniesNothing(t *testing.T) {
	var s *Set
	if s.Quarantined(planner) != nil || s.Revoked(gw) != nil || s.Has("") || len(s.All()) != 0 || len(s.Message().GetActs()) != 0 {
		t.Error("there is something in no set")
	}
	if next, err := s.With(); next != nil || err != nil {
		t.Errorf("With nothing = %v, %v", next, err)
	}
}

func TestOnlyALiftThatNamesItBringsBack(t *testing.T) {
	first := verified(t, quarantine())
	said := quarantine()
	said.Made = timestamppb.New(noon.Add(time.Minute))
	again := verified(t, said)
	s := with(t, nil, again, first)
	if got := s.Quarantined(planner); got != first {
		t.Fatalf("quarantined by %v, want the first act", got)
	}
	if s.Quarantined(gw) != nil || s.Revoked(planner) != nil {
		t.Error("others are denied too")
	}
	if same := with(t, s, first); same != s {
		t.Error("an act that is known makes another set")
	}
	s = with(t, s, verified(t, lift(first)))
	if got := s.Quarantined(planner); got != again {
		t.Fatalf("with the first act lifted, quarantined by %v, want the second", got)
	}
	s = with(t, s, verified(t, lift(again)))
	if s.Quarantined(planner) != nil || s.LiftOf(again.ID) == nil {
		t.Error("it is quarantined though both acts are lifted")
	}
	if s = with(t, s, first); s.Quarantined(planner) != nil {
		t.Error("an act that was lifted came back")
	}
}

// TestLiftFirst: in whatever order acts come, the outcome is one.
func TestLiftFirst(t *testing.T) {
	a := verified(t, quarantine())
	s := with(t, with(t, nil, verified(t, lift(a))), a)
	if s.Quarantined(planner) != nil {
		t.Error("it is quarantined by an act whose LIFT came before it")
	}
}

func TestALiftIsOfOneSubjectAndOfNoLift(t *testing.T) {
	a := verified(t, quarantine())
	foreign := lift(a)
	foreign.Subject = gw.String()
	up := verified(t, lift(a))
	s := with(t, nil, a, verified(t, foreign))
	if s.Quarantined(planner) != a {
		t.Error("lifted by an act about somebody else")
	}
	s = with(t, s, up, verified(t, lift(up)))
	if s.Quarantined(planner) != nil {
		t.Error("a LIFT of a LIFT has an effect")
	}
}

// numbered are so many acts, each about another identity.
func numbered(t *testing.T, n int) []*Act {
	t.Helper()
	acts := make([]*Act, n)
	for i := range acts {
		said := quarantine()
		said.Subject = fmt.Sprintf("%s-%d", planner, i)
		var err error
		if acts[i], err = Read(signedAct(t, said)); err != nil {
			t.Fatal(err)
		}
	}
	return acts
}

func TestLiftedActsMakeRoom(t *testing.T) {
	acts := numbered(t, Max)
	full := with(t, nil, acts...)
	if _, err := full.With(verified(t, quarantine())); !errors.Is(err, ErrFull) {
		t.Fatalf("one act more than there may be: %v", err)
	}
	lifted, err := full.With(verified(t, lift(acts[7])))
	if err != nil || lifted.Quarantined(acts[7].Subject) != nil || lifted.Quarantined(acts[8].Subject) == nil {
		t.Fatalf("no room for a LIFT: %v", err)
	}
	if next := with(t, lifted, verified(t, quarantine())); next.Quarantined(planner) == nil {
		t.Error("what was lifted made no room")
	}
}

func TestMessageKeepsAll(t *testing.T) {
	a := verified(t, quarantine())
	s := with(t, nil, a, verified(t, lift(a)))
	var again *Set
	for _, sa := range s.Message().GetActs() {
		read, err := Read(sa)
		if err != nil {
			t.Fatal(err)
		}
		again = with(t, again, read)
	}
	if len(again.All()) != 2 || again.All()[0].Kind != policyv1.Act_QUARANTINE || again.LiftOf(a.ID) == nil {
		t.Errorf("a set came back as %v", again.Message())
	}
}
