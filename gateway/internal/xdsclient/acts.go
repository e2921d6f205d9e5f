package xdsclient

import (
	"errors"
	"fmt"
	"slices"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	// typeActs is a sallyport.policy.v1.ActSet.
	typeActs = "type.googleapis.com/sallyport.policy.v1.ActSet"
	// actsName is the name of the one ActSet.
	actsName = "acts"
	// actsFile keeps the acts that were seen here: a sallyport.policy.v1.ActSet.
	actsFile = "acts.pb"
)

// ledger is the operators' acts that this gateway has seen. An act is in force the
// moment it was verified. Its ACK comes when that is in the record and the act on
// stable storage. One goroutine uses it at a time.
type ledger struct {
	files  files
	record func(*crossingv1.Applied) error
	show   func(*act.Set) // is told of each change before anything else is done

	set        *act.Set
	unrecorded []*crossingv1.Applied
	unsaved    bool

	version string                            // of the resource that was taken last; "" if none was
	owed    *discovery.DeltaDiscoveryResponse // the one that has no ACK yet; nil if it has
	nack    string                            // what was said of it last
}

// load takes up the acts of earlier runs. They were verified when they came, under
// keys that may have been rotated since. A file that cannot be read is an error for a
// person to look at: without it, somebody might be let through who is denied.
func (l *ledger) load() error {
	set, err := l.read()
	if err != nil {
		return fmt.Errorf("%w; without it this gateway does not know whom operators have quarantined and revoked, so it does not start", err)
	}
	l.set = set
	return nil
}

func (l *ledger) read() (*act.Set, error) {
	content, err := l.files.load(actsFile)
	if err != nil || content == nil {
		return nil, err
	}
	kept := &policyv1.ActSet{}
	if err := proto.Unmarshal(content, kept); err != nil {
		return nil, fmt.Errorf("%s is not readable: %w", actsFile, err)
	}
	var acts []*act.Act
	for _, sa := range kept.GetActs() {
		a, err := act.Read(sa)
		if err != nil {
			return nil, fmt.Errorf("%s is not readable: act %s: %w", actsFile, act.Short(act.ID(sa)), err)
		}
		acts = append(acts, a)
	}
	var none *act.Set
	return none.With(acts...)
}

// take puts in force what is new in the response that is owed an answer, and keeps
// it. What is good is in force whatever is wrong with the rest; the error names that.
// mesh is the name of the policy, "" if there is none yet.
func (l *ledger) take(keys *policyv1.KeySet, mesh string) error {
	var acts []*act.Act
	var errs []error
	for _, r := range l.owed.GetResources() {
		sent := &policyv1.ActSet{}
		if err := unpack(r.GetResource(), sent); err != nil {
			return fmt.Errorf("acts: %w", err)
		}
		if r.GetName() != actsName || len(sent.GetActs()) > act.Max {
			return fmt.Errorf("acts: resource %.80q of %d, want %q of at most %d", r.GetName(), len(sent.GetActs()), actsName, act.Max)
		}
		fresh, err := l.verify(sent, keys, mesh)
		acts, errs = append(acts, fresh...), append(errs, err)
	}
	return errors.Join(append(errs, l.apply(acts), l.keep())...)
}

// verify gives the acts that are good, of those that are not known.
func (l *ledger) verify(sent *policyv1.ActSet, keys *policyv1.KeySet, mesh string) ([]*act.Act, error) {
	var good []*act.Act
	var errs []error
	for _, sa := range sent.GetActs() {
		if l.set.Has(act.ID(sa)) {
			continue
		}
		a, err := act.Verify(sa, keys)
		if err == nil && mesh != "" && a.Said().GetPolicy() != mesh {
			err = fmt.Errorf("act %s is of policy %.256q; this gateway enforces policy %q", a.Short(), a.Said().GetPolicy(), mesh)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		good = append(good, a)
	}
	return good, errors.Join(errs...)
}

// apply puts acts in force.
func (l *ledger) apply(acts []*act.Act) error {
	next, err := l.set.With(acts...)
	if err != nil || next == l.set {
		return err
	}
	before := l.set
	l.set, l.unsaved = next, true
	l.show(next)
	now := time.Now()
	for _, a := range acts {
		if !next.Has(a.ID) || before.Has(a.ID) {
			continue
		}
		l.unrecorded = append(l.unrecorded, &crossingv1.Applied{
			Act: a.ID, Kind: a.Kind, Subject: a.Subject.String(), At: timestamppb.New(now),
		})
	}
	return nil
}

// keep records what was applied, and then keeps it: after a crash between the two it
// is recorded twice, and not never.
func (l *ledger) keep() error {
	for len(l.unrecorded) > 0 {
		if err := l.record(l.unrecorded[0]); err != nil {
			return fmt.Errorf("act %s is in force and not recorded: %w", act.Short(l.unrecorded[0].GetAct()), err)
		}
		l.unrecorded = slices.Delete(l.unrecorded, 0, 1)
	}
	if !l.unsaved {
		return nil
	}
	if err := l.save(); err != nil {
		return fmt.Errorf("acts are in force and not kept: %w", err)
	}
	l.unsaved = false
	return nil
}

// save keeps the acts with those that are kept already: another process of this
// gateway may have seen more.
func (l *ledger) save() error {
	kept, err := l.read()
	if err != nil {
		return err
	}
	all, err := kept.With(l.set.All()...)
	if err != nil {
		return err
	}
	content, err := proto.Marshal(all.Message())
	if err != nil {
		return fmt.Errorf("encode acts: %w", err)
	}
	return l.files.save(actsFile, content)
}

// Acts are the operators' acts that this gateway has seen; nil if there are none.
func (c *Client) Acts() *act.Set { return c.acts.Load() }

// showActs makes acts count.
func (c *Client) showActs(s *act.Set) {
	before := c.acts.Swap(s)
	for _, a := range s.All() {
		if !before.Has(a.ID) {
			c.log.Warn("operator's act in force", zap.Stringer("kind", a.Kind), zap.Stringer("subject", a.Subject), zap.String("act", a.ID))
		}
	}
	c.tellChanged()
}

// takeActs answers the acts that came last, once they are in force and kept. It is
// called again whenever that might have become possible: an act may have come before
// the policy whose keys have signed it.
func (s *session) takeActs() error {
	l := s.ledger
	if l.owed == nil {
		return nil
	}
	mesh := ""
	if s.book.inForce != nil {
		mesh = s.book.inForce.name
	}
	err := l.take(s.book.keys, mesh)
	if err != nil {
		s.timer.Reset(stateWait)
		if err.Error() == l.nack {
			return nil
		}
		l.nack = err.Error()
		return s.answer(l.owed, err)
	}
	resp := l.owed
	l.owed = nil
	for _, r := range resp.GetResources() {
		l.version = r.GetVersion()
	}
	return s.answer(resp, nil)
}

// owe takes a response with acts, which takeActs answers.
func (l *ledger) owe(resp *discovery.DeltaDiscoveryResponse) {
	l.owed, l.nack = resp, ""
	if len(resp.GetResources()) > 0 {
		l.version = ""
	}
}

// versions are for the control plane to compare.
func (l *ledger) versions() map[string]string {
	if l.version == "" {
		return nil
	}
	return map[string]string{actsName: l.version}
}
