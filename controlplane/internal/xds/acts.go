package xds

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	// TypeActs is a sallyport.policy.v1.ActSet, named "acts".
	TypeActs = "type.googleapis.com/sallyport.policy.v1.ActSet"
	// actsName is the name of the one ActSet.
	actsName = "acts"
	// actsWait bounds the wait for gateways to apply an act.
	actsWait = 5 * time.Second
)

// actsKept is how many versions of the set are known: a gateway may answer for one
// while later ones are on their way.
const actsKept = 64

// SetActs sends a set of operators' acts, which the caller has made durable, to every
// gateway at once: nothing is waited for first.
func (s *Server) SetActs(set *policyv1.ActSet) error {
	_, err := s.serveActs(set)
	return err
}

// serveActs gives the place of the set among those that were served.
func (s *Server) serveActs(set *policyv1.ActSet) (place int, err error) {
	set = proto.CloneOf(set)
	version, err := versionOf(set)
	if err != nil {
		return 0, err
	}
	s.updating.Lock()
	defer s.updating.Unlock()
	s.mu.Lock()
	s.actsServed++
	place = s.actsServed
	s.actsPlaces[version] = place
	maps.DeleteFunc(s.actsPlaces, func(_ string, at int) bool { return at <= place-actsKept })
	s.mu.Unlock()
	if err := s.acts.UpdateResources(map[string]types.Resource{actsName: set}, nil); err != nil {
		return 0, fmt.Errorf("serve acts: %w", err)
	}
	return place, nil
}

// Apply is SetActs which waits until every connected gateway has answered for the
// set, or for a later one, for at most five seconds or until ctx ends. A gateway's ACK
// says that it has applied, recorded and kept all of it.
func (s *Server) Apply(ctx context.Context, set *policyv1.ActSet) (Result, error) {
	start := time.Now()
	place, err := s.serveActs(set)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, actsWait)
	defer cancel()
	for {
		result, settled, changed := s.applied(place)
		if result.Took = time.Since(start); settled {
			return result, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return result, nil // who is behind, it tells
		}
	}
}

// applied says where a set is in force, and whether all who are connected have
// answered for it. changed is closed when that may be different.
func (s *Server) applied(place int) (result Result, settled bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	behind := map[spiffeid.ID]bool{}
	settled = true
	for one := range s.open() {
		applies := s.actsPlaces[one.record.held[TypeActs][actsName]] >= place
		refuses := s.actsPlaces[one.record.refused[TypeActs][actsName]] >= place
		behind[one.id] = behind[one.id] || !applies
		settled = settled && (applies || refuses)
	}
	for id, g := range s.roster.all() {
		if late, connected := behind[id]; !connected || late {
			result.Behind = append(result.Behind, g.name)
		} else {
			result.InForce = append(result.InForce, g.name)
		}
	}
	slices.Sort(result.InForce)
	slices.Sort(result.Behind)
	return result, settled, s.changed
}
