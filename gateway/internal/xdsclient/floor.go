package xdsclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// floor is the newest policy that was ever in force here. Nothing older is,
// again: an old policy stays well signed for ever.
type floor struct {
	Policy   string `json:"policy"`
	Serial   uint64 `json:"serial"`
	Revision string `json:"revision"`
}

// check refuses a manifest that is older, or of another policy, whose serials
// say nothing about this one's.
func (f floor) check(m *policyv1.Manifest) error {
	if f.Serial == 0 {
		return nil
	}
	if m.GetPolicy() != f.Policy {
		return fmt.Errorf("it is of policy %q; this gateway enforces policy %q", m.GetPolicy(), f.Policy)
	}
	return f.below(policy.Ref{Serial: m.GetSerial(), Revision: m.GetRevision()})
}

func (f floor) below(ref policy.Ref) error {
	switch {
	case ref.Serial < f.Serial:
		return fmt.Errorf("its serial %d is lower than %d, which was in force here", ref.Serial, f.Serial)
	case ref.Serial == f.Serial && ref.Revision != f.Revision:
		return fmt.Errorf("its serial %d was in force here with revision %s", ref.Serial, f.Revision)
	}
	return nil
}

func (b *book) saveFloor(f floor) error {
	content, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode floor: %w", err)
	}
	return b.files.save(floorFile, append(content, '\n'))
}

// load takes the last good policy from the state directory. An error says that
// there is one which may not be in force; then none is.
func (b *book) load() error {
	floorErr := b.loadFloor()
	content, err := b.files.load(policyFile)
	if err != nil || content == nil {
		return errors.Join(floorErr, err)
	}
	sp := &policyv1.SignedPolicy{}
	if err := proto.Unmarshal(content, sp); err != nil {
		return errors.Join(floorErr, fmt.Errorf("last good policy: it is not readable: %w", err))
	}
	h, err := b.verify(sp)
	if err != nil {
		return errors.Join(floorErr, fmt.Errorf("last good policy: %w", err))
	}
	if b.keys, err = signed.Keys(sp, b.keys); err != nil {
		return errors.Join(floorErr, fmt.Errorf("last good policy: %w", err))
	}
	b.inForce = h
	b.floor = floor{Policy: h.name, Serial: h.ref().Serial, Revision: h.ref().Revision}
	return errors.Join(floorErr, b.loadEarlier(time.Now()))
}

// loadFloor reads the floor. One that is not readable is an error for a person
// to look at, not a reason to enforce nothing: the policy beside it is a floor
// as well.
func (b *book) loadFloor() error {
	content, err := b.files.load(floorFile)
	if err != nil || content == nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	var f floor
	if err := d.Decode(&f); err != nil || f.Serial == 0 || f.Policy == "" {
		return fmt.Errorf("%s is not readable: %w", floorFile, errors.Join(err, errors.New("want policy, serial and revision")))
	}
	b.floor = f
	return nil
}
