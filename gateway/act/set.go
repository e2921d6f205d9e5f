package act

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Max is how many acts there may be, lifted ones among them. Of those that were
// lifted, the ones that were lifted first make room.
const Max = 1000

// ErrFull says that there are as many acts in force as there may be.
var ErrFull = errors.New("too many acts are in force: lift what is no longer needed")

// Set is acts and what follows from them. It does not change. A nil Set has none;
// all methods may be called on it.
type Set struct {
	acts        map[string]*Act      // by id
	lifts       map[string]*Act      // the LIFT, by the id of what it takes back
	quarantined map[spiffeid.ID]*Act // the first that is in force
	revoked     map[spiffeid.ID]*Act
}

// Quarantined is the act that quarantines an identity; nil if none does.
func (s *Set) Quarantined(id spiffeid.ID) *Act {
	if s == nil {
		return nil
	}
	return s.quarantined[id]
}

// Revoked is the act that revokes a gateway; nil if none does.
func (s *Set) Revoked(id spiffeid.ID) *Act {
	if s == nil {
		return nil
	}
	return s.revoked[id]
}

// Has says whether an act is in the set.
func (s *Set) Has(id string) bool { return s.Get(id) != nil }

// Get is the act of that id; nil if there is none.
func (s *Set) Get(id string) *Act {
	if s == nil {
		return nil
	}
	return s.acts[id]
}

// LiftOf is the act that takes back the one of that id; nil if none does.
func (s *Set) LiftOf(id string) *Act {
	if s == nil {
		return nil
	}
	return s.lifts[id]
}

// All are the acts, by the time when they were made.
func (s *Set) All() []*Act {
	if s == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(s.acts), byMade)
}

func byMade(a, b *Act) int { return cmp.Or(a.Made.Compare(b.Made), cmp.Compare(a.ID, b.ID)) }

// Message is the set as it travels and as it is kept.
func (s *Set) Message() *policyv1.ActSet {
	m := &policyv1.ActSet{}
	for _, a := range s.All() {
		m.Acts = append(m.Acts, a.signed)
	}
	return m
}

// With is the set with more acts, and s itself if it has them all. Nothing that s
// denies is allowed in it but by a LIFT among them. It fails with ErrFull.
func (s *Set) With(more ...*Act) (*Set, error) {
	acts := map[string]*Act{}
	if s != nil {
		maps.Copy(acts, s.acts)
	}
	for _, a := range more {
		acts[a.ID] = a
	}
	if s != nil && len(acts) == len(s.acts) || len(acts) == 0 {
		return s, nil
	}
	if prune(acts); len(acts) > Max {
		return s, fmt.Errorf("%w: %d", ErrFull, Max)
	}
	return newSet(acts), nil
}

func newSet(acts map[string]*Act) *Set {
	s := &Set{acts: acts, lifts: liftsOf(acts), quarantined: map[spiffeid.ID]*Act{}, revoked: map[spiffeid.ID]*Act{}}
	for _, a := range acts {
		if s.lifts[a.ID] != nil {
			continue
		}
		into := s.quarantined
		switch a.Kind {
		case policyv1.Act_REVOKE_GATEWAY:
			into = s.revoked
		case policyv1.Act_LIFT:
			continue
		}
		if first := into[a.Subject]; first == nil || byMade(a, first) < 0 {
			into[a.Subject] = a
		}
	}
	return s
}

// liftsOf are the acts that take others back. A LIFT cannot be lifted, and is only
// of what has its subject.
func liftsOf(acts map[string]*Act) map[string]*Act {
	lifts := map[string]*Act{}
	for _, a := range acts {
		if a.Kind != policyv1.Act_LIFT {
			continue
		}
		if of := acts[a.Lifts]; of != nil && (of.Kind == policyv1.Act_LIFT || of.Subject != a.Subject) {
			continue
		}
		if first := lifts[a.Lifts]; first == nil || byMade(a, first) < 0 {
			lifts[a.Lifts] = a
		}
	}
	return lifts
}

// prune takes away what was lifted, with what lifted it, as far as it must.
func prune(acts map[string]*Act) {
	if len(acts) <= Max {
		return
	}
	for _, a := range slices.SortedFunc(maps.Values(liftsOf(acts)), byMade) {
		if len(acts) <= Max {
			return
		}
		delete(acts, a.Lifts)
		delete(acts, a.ID)
	}
}
