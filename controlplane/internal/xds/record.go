package xds

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Status is what is known of a gateway.
type Status struct {
	ID          spiffeid.ID
	Name        string
	Environment string // empty before there is a policy
	Connected   bool   // it holds a stream now
	// Serial and Revision of the policy that it last said is in force; 0 and
	// empty if it never said so.
	Serial   uint64
	Revision string
	// Acks are its last answers, by type URL. They outlast the stream, and the API
	// has them outlast this process.
	Acks []Ack
}

// Ack is a gateway's last answer for a type of resource.
type Ack struct {
	TypeURL string
	Version string    // of the response, as xDS defines it
	Nack    string    // the gateway's error; empty for an ACK
	At      time.Time // when it answered
}

// record is what one gateway answered. The server's mu guards it.
//
// It stands beside the cache's own account because that takes a NACKed version
// for one that the gateway holds.
type record struct {
	held    map[string]map[string]string // type URL, name: the version that it accepted
	refused map[string]map[string]string // likewise, that it refused
	acks    map[string]Ack
	inForce *object // that it last said is in force
}

func newRecord() *record {
	return &record{
		held:    map[string]map[string]string{},
		refused: map[string]map[string]string{},
		acks:    map[string]Ack{},
	}
}

// successor is the record of another session of the gateway: what it holds, it
// will say. Until it answers, the last answers of the session before it are known.
func (r *record) successor() *record {
	next := newRecord()
	if r != nil {
		next.inForce = r.inForce
		maps.Copy(next.acks, r.acks)
	}
	return next
}

// answered takes an answer to a response. Of a response that was refused,
// nothing counts as held: the answer does not say which part was at fault.
func (r *record) answered(ack Ack, to *sent) {
	typ := ack.TypeURL
	r.acks[typ] = ack
	if r.held[typ] == nil {
		r.held[typ] = map[string]string{}
	}
	for name := range to.versions {
		delete(r.held[typ], name)
	}
	for _, name := range to.removed {
		delete(r.held[typ], name)
	}
	r.refused[typ] = nil
	if ack.Nack != "" {
		r.refused[typ] = to.versions
		return
	}
	maps.Copy(r.held[typ], to.versions)
}

// prepared says whether the gateway accepted the signed policy.
func (r *record) prepared(o *object) bool {
	return r.held[TypePolicy][o.revision] == o.version
}

// refusedPolicy says whether it refused the policy in its last answer.
func (r *record) refusedPolicy(o *object) bool {
	return r.refused[TypePolicy][o.revision] == o.version
}

// settle notes the policy that a gateway's answers say is in force there. Both
// answers count: that of the state alone could speak of an earlier policy with
// the same revision. The caller holds mu.
func (s *Server) settle(r *record) {
	version := r.held[TypeState][stateName]
	if s.current != nil && version != "" && s.revisions[version] == s.current.revision && r.prepared(s.current) {
		r.inForce = s.current
	}
}

// refusedState says whether the gateway refused, in its last answer, to put a
// revision in force. The caller holds mu.
func (s *Server) refusedState(r *record, o *object) bool {
	version := r.refused[TypeState][stateName]
	return version != "" && s.revisions[version] == o.revision
}

// Gateways are the gateways of the policy in force, and any other that is
// connected, by environment and name.
func (s *Server) Gateways() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Status
	for id, g := range s.roster.all() {
		all = append(all, s.status(id, g))
	}
	for id := range s.sessions {
		if _, ok := s.roster.all()[id]; !ok {
			all = append(all, s.status(id, gateway{name: gatewayName(id)}))
		}
	}
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID.String(), b.ID.String()))
	})
	return all
}

func (s *Server) status(id spiffeid.ID, g gateway) Status {
	st := Status{ID: id, Name: g.name, Environment: g.environment, Connected: s.sessions[id] != nil}
	r := s.records[id]
	if r == nil {
		return st
	}
	if r.inForce != nil {
		st.Serial, st.Revision = r.inForce.serial, r.inForce.revision
	}
	for _, typ := range slices.Sorted(maps.Keys(r.acks)) {
		st.Acks = append(st.Acks, r.acks[typ])
	}
	return st
}
