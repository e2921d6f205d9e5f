package xds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// ErrSuperseded says that a policy with a higher serial is in force already.
var ErrSuperseded = errors.New("a later policy is in force")

// Result says where a policy is in force. Gateways are named as in the policy.
type Result struct {
	InForce []string
	// Behind are the policy's other gateways, those without a stream among them.
	Behind []string
	// Took is the time from taking the policy on to the last gateway's answer,
	// or to the end of the wait.
	Took time.Duration
}

// object is a signed policy that is served.
type object struct {
	revision string
	serial   uint64
	version  string // of the resource, as xDS defines it
	signed   *policyv1.SignedPolicy
	roster   *roster
}

// newObject reads a policy whose signatures the caller has verified.
func newObject(sp *policyv1.SignedPolicy) (*object, error) {
	m := &policyv1.Manifest{}
	if err := protojson.Unmarshal(sp.GetManifest(), m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	revision := signed.Revision(sp.GetPolicy())
	if m.GetRevision() != revision {
		return nil, fmt.Errorf("manifest names revision %q, the policy's is %q", m.GetRevision(), revision)
	}
	p, err := signed.Decode(sp.GetPolicy())
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	r, err := newRoster(p)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	sp = proto.CloneOf(sp)
	version, err := versionOf(sp)
	return &object{revision: revision, serial: m.GetSerial(), version: version, signed: sp, roster: r}, err
}

// versionOf is the version that the cache will give a resource.
func versionOf(r types.Resource) (string, error) {
	b, err := cache.MarshalResource(r)
	if err != nil {
		return "", fmt.Errorf("encode resource: %w", err)
	}
	return cache.HashResource(b), nil
}

// Publish brings a policy, whose signatures the caller has verified and which
// it has made durable, to the gateways: it is prepared, waits for the connected
// ones (unless it is urgent), is put in force, and waits again. It returns when
// it is in force at every connected gateway, else after the bounded waits.
//
// The end of ctx ends the waits, not the publish. The error is for a policy
// that cannot be served, and ErrSuperseded if a later one overtook it.
func (s *Server) Publish(ctx context.Context, sp *policyv1.SignedPolicy, m *policyv1.Manifest) (Result, error) {
	start := time.Now()
	revision, err := s.Prepare(sp)
	if err != nil {
		return Result{}, err
	}
	if m.GetRevision() != revision {
		return Result{}, fmt.Errorf("publish policy: manifest names revision %q, the policy's is %q", m.GetRevision(), revision)
	}
	if !m.GetUrgent() {
		s.waitAtMost(ctx, func(ctx context.Context) error { return s.WaitPrepared(ctx, revision) })
	}
	if err := s.Commit(revision); err != nil {
		return Result{}, err
	}
	s.waitAtMost(ctx, func(ctx context.Context) error { return s.WaitInForce(ctx, revision) })
	result := s.result(revision)
	result.Took = time.Since(start)
	s.log.Info("policy published", zap.Uint64("serial", m.GetSerial()), zap.String("revision", revision),
		zap.Strings("in_force", result.InForce), zap.Strings("behind", result.Behind), zap.Duration("took", result.Took))
	return result, s.retire()
}

// waitAtMost waits no longer than the server's bound: gateways that are behind
// then are what the result tells.
func (s *Server) waitAtMost(ctx context.Context, wait func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	_ = wait(ctx) // its one error is the end of ctx
}

// Prepare puts a signed policy before the gateways, which verify it and keep it
// ready. The error says why it cannot be served.
func (s *Server) Prepare(sp *policyv1.SignedPolicy) (revision string, err error) {
	o, err := newObject(sp)
	if err != nil {
		return "", fmt.Errorf("prepare policy: %w", err)
	}
	s.updating.Lock()
	defer s.updating.Unlock()
	s.mu.Lock()
	if s.current != nil && o.serial < s.current.serial {
		defer s.mu.Unlock()
		return "", fmt.Errorf("prepare policy of serial %d: %w: serial %d", o.serial, ErrSuperseded, s.current.serial)
	}
	if same := s.objects[o.revision]; same != nil && same.version == o.version {
		o = same
	}
	s.objects[o.revision] = o
	s.mu.Unlock()
	if err := s.policies.UpdateResources(map[string]types.Resource{o.revision: o.signed}, nil); err != nil {
		return "", fmt.Errorf("serve policy: %w", err)
	}
	return o.revision, s.serveState()
}

// Commit puts a prepared policy in force. Gateways that the policy does not
// name lose their streams. The error is ErrSuperseded if a policy with a higher
// serial is in force, another if the policy was not prepared.
func (s *Server) Commit(revision string) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	s.mu.Lock()
	o := s.objects[revision]
	switch {
	case o == nil && s.current != nil:
		s.mu.Unlock()
		return fmt.Errorf("commit policy %s: %w, or it was not prepared", revision, ErrSuperseded)
	case o == nil:
		s.mu.Unlock()
		return fmt.Errorf("commit policy %s: it was not prepared", revision)
	case s.current != nil && o.serial < s.current.serial:
		s.mu.Unlock()
		return fmt.Errorf("commit policy of serial %d: %w", o.serial, ErrSuperseded)
	}
	gone := s.outdated()
	s.current, s.roster = o, o.roster
	s.expel()
	orphans := s.orphans()
	s.mu.Unlock()
	err := s.serveState()
	for _, a := range orphans {
		err = errors.Join(err, a.replace(nil))
	}
	return errors.Join(err, s.remove(gone))
}

// outdated takes the objects older than the policy in force out of objects, and
// gives their names. The caller holds mu.
func (s *Server) outdated() []string {
	var gone []string
	for revision, o := range s.objects {
		if s.current != nil && o.serial < s.current.serial {
			gone = append(gone, revision)
			delete(s.objects, revision)
		}
	}
	return gone
}

// expel ends the streams of those that the policy in force does not name. The
// caller holds mu.
func (s *Server) expel() {
	for _, one := range slices.Collect(s.open()) {
		if !s.roster.admits(one.id) {
			one.end(errNotGateway)
			s.close(one)
		}
	}
	for id := range s.records {
		if !s.roster.admits(id) {
			delete(s.records, id)
		}
	}
	s.notify()
}

// orphans are the endpoints of trust domains that the policy in force does not
// have. The caller holds mu.
func (s *Server) orphans() []*assignments {
	domains := slices.Collect(maps.Values(s.roster.domains))
	var all []*assignments
	for domain, a := range s.endpoints {
		if !slices.Contains(domains, domain) {
			all = append(all, a)
		}
	}
	return all
}

// retire stops serving the policies before the one in force. Gateways keep the
// one before for their own time of grace.
func (s *Server) retire() error {
	s.updating.Lock()
	defer s.updating.Unlock()
	s.mu.Lock()
	gone := s.outdated()
	s.mu.Unlock()
	return s.remove(gone)
}

func (s *Server) remove(gone []string) error {
	if len(gone) == 0 {
		return nil
	}
	if err := s.policies.UpdateResources(nil, gone); err != nil {
		return fmt.Errorf("stop serving old policies: %w", err)
	}
	return nil
}

// serveState says which policy is in force and which will be. The caller holds
// updating, not mu.
func (s *Server) serveState() error {
	s.mu.Lock()
	state := &configv1.PolicyState{}
	if s.current != nil {
		state.Current = s.current.revision
	}
	var next *object
	for _, o := range s.objects {
		if (s.current == nil || o.serial > s.current.serial) && (next == nil || o.serial > next.serial) {
			next = o
		}
	}
	if next != nil {
		state.Prepared = next.revision
	}
	version, err := versionOf(state)
	maps.DeleteFunc(s.revisions, func(_, revision string) bool { return revision != state.Current })
	s.revisions[version] = state.Current
	s.mu.Unlock()
	if err == nil {
		err = s.states.UpdateResources(map[string]types.Resource{stateName: state}, nil)
	}
	if err != nil {
		return fmt.Errorf("serve policy state: %w", err)
	}
	return nil
}

// WaitPrepared waits until every connected gateway has answered for a prepared
// policy, accepting or refusing it. Its error is the end of ctx.
func (s *Server) WaitPrepared(ctx context.Context, revision string) error {
	return s.waitFor(ctx, revision, func(r *record, o *object) bool {
		return r.prepared(o) || r.refusedPolicy(o)
	})
}

// WaitInForce waits until a policy, or a later one, is in force at every
// connected gateway, or refused there. Its error is the end of ctx.
func (s *Server) WaitInForce(ctx context.Context, revision string) error {
	return s.waitFor(ctx, revision, func(r *record, o *object) bool {
		return r.enforces(o) || s.refusedState(r, o)
	})
}

// enforces says whether a policy, or a later one, is in force at the gateway.
func (r *record) enforces(o *object) bool { return r.inForce != nil && r.inForce.serial >= o.serial }

// waitFor waits until done holds for all sessions. A policy that is no longer
// served is not waited for.
func (s *Server) waitFor(ctx context.Context, revision string, done func(*record, *object) bool) error {
	for {
		s.mu.Lock()
		o, all := s.objects[revision], true
		for one := range s.open() {
			all = all && (o == nil || done(one.record, o))
		}
		changed := s.changed
		s.mu.Unlock()
		if all {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// result says where a policy, or a later one, is in force.
func (s *Server) result(revision string) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	var result Result
	o := cmp.Or(s.objects[revision], s.current)
	for id, g := range o.roster.all() {
		if s.enforced(id, o) {
			result.InForce = append(result.InForce, g.name)
		} else {
			result.Behind = append(result.Behind, g.name)
		}
	}
	slices.Sort(result.InForce)
	slices.Sort(result.Behind)
	return result
}
