package xdsclient

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// saveEarlier keeps the policy that is in force and about to be replaced, so that
// a process which starts within its time of grace judges crossings under it as
// this one does.
func (b *book) saveEarlier() error {
	if b.inForce == nil {
		return nil
	}
	content, err := proto.Marshal(b.inForce.signed)
	if err != nil {
		return fmt.Errorf("encode policy: %w", err)
	}
	return b.files.save(earlierFile, content)
}

// loadEarlier takes the policy before the one in force, for what is left of its
// time of grace. One that the keys of now do not sign is none.
func (b *book) loadEarlier(now time.Time) error {
	replacedAt, err := b.files.modified(earlierFile)
	if err != nil || now.Sub(replacedAt) >= Grace {
		return err
	}
	content, err := b.files.load(earlierFile)
	if err != nil || content == nil {
		return err
	}
	sp := &policyv1.SignedPolicy{}
	if err := proto.Unmarshal(content, sp); err != nil {
		return fmt.Errorf("policy before the last good one: it is not readable: %w", err)
	}
	m, p, err := signed.Verify(sp, b.keys)
	if err != nil || m.GetPolicy() != b.floor.Policy || m.GetSerial() >= b.floor.Serial {
		return nil //nolint:nilerr // then it is none
	}
	compiled, err := policy.Compile(p, policy.Ref{Serial: m.GetSerial(), Revision: m.GetRevision()})
	if err != nil {
		return fmt.Errorf("policy before the last good one: %w", err)
	}
	until := replacedAt.Add(Grace)
	if latest := now.Add(Grace); until.After(latest) { // the clock was set back
		until = latest
	}
	b.earlier = []replaced{{compiled, until}}
	return nil
}
