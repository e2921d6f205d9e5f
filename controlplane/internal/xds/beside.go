package xds

import (
	"iter"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// A gateway that is restarted runs twice for a while: the process that drains
// must hear of a deny as the one that takes its place. Each has a stream, and is
// waited for. Which process a stream is of, it says by its run: another stream of
// the same run takes the place of one that the process gave up.

const (
	// maxElders is how many streams a gateway may have beside the one that came last.
	maxElders = 7
	// runField of a node's metadata is the run of the process.
	runField = "run"
)

// open is all sessions there are. The caller holds mu.
func (s *Server) open() iter.Seq[*session] {
	return func(yield func(*session) bool) {
		for _, one := range s.sessions {
			if !yield(one) {
				return
			}
		}
		for _, elders := range s.elders {
			for _, one := range elders {
				if !yield(one) {
					return
				}
			}
		}
	}
}

// stepAside makes room for another session of a gateway. The caller holds mu.
func (s *Server) stepAside(id spiffeid.ID) {
	last := s.sessions[id]
	if last == nil {
		return
	}
	s.elders[id] = append(s.elders[id], last)
	if elders := s.elders[id]; len(elders) > maxElders {
		elders[0].end(errReplaced)
		s.elders[id] = elders[1:]
	}
}

// replace ends the sessions of a gateway's process that came before this one.
// The caller holds mu.
func (s *Server) replace(by *session) {
	s.elders[by.id] = slices.DeleteFunc(s.elders[by.id], func(one *session) bool {
		same := one != by && one.run == by.run
		if same {
			one.end(errReplaced)
		}
		return same
	})
	if len(s.elders[by.id]) == 0 {
		delete(s.elders, by.id)
	}
}

// enforced says whether all processes of a gateway that are connected enforce a
// policy, or a later one. The caller holds mu.
func (s *Server) enforced(id spiffeid.ID, o *object) bool {
	last := s.sessions[id]
	return last != nil && last.record.enforces(o) &&
		!slices.ContainsFunc(s.elders[id], func(one *session) bool { return !one.record.enforces(o) })
}

// close forgets a session. If it came last, one before it speaks for the gateway
// again. The caller holds mu.
func (s *Server) close(one *session) {
	elders := slices.DeleteFunc(s.elders[one.id], func(o *session) bool { return o == one })
	if s.sessions[one.id] == one {
		delete(s.sessions, one.id)
		if n := len(elders); n > 0 {
			s.sessions[one.id], s.records[one.id] = elders[n-1], elders[n-1].record
			elders = elders[:n-1]
		}
	}
	s.elders[one.id] = elders
	if len(elders) == 0 {
		delete(s.elders, one.id)
	}
	s.notify()
}
