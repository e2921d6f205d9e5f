package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	// policyKey is the key of the policy in force; earlier ones are its history.
	policyKey = "current"
	// policyHistory is how many policies are kept, the current one with them: the
	// most that a bucket can. A half that names an older one cannot be judged.
	policyHistory = 64
)

// PutPolicy makes a policy the current one if the current one is still at the
// store's revision that the caller expects (0: there is none), and gives the new
// revision. The error is ErrConflict if it is not, ErrUnavailable if the store
// did not answer. The store's revision is not the policy's.
func (s *Store) PutPolicy(ctx context.Context, signed *policyv1.SignedPolicy, expected uint64) (uint64, error) {
	data, err := proto.Marshal(signed)
	if err != nil {
		return 0, fmt.Errorf("store policy: %w", err)
	}
	revision, err := put(ctx, s.policies, policyKey, data, expected)
	if err != nil {
		return 0, fmt.Errorf("store policy: %w", err)
	}
	return revision, nil
}

// Policy is the current policy and the store's revision of it. The error is
// ErrNotFound if there is none yet.
func (s *Store) Policy(ctx context.Context) (*policyv1.SignedPolicy, uint64, error) {
	entry, err := get(ctx, s.policies, policyKey)
	if err != nil {
		return nil, 0, fmt.Errorf("read policy: %w", err)
	}
	return decodePolicy(entry)
}

// PolicyHistory are the policies that were current, oldest first, at most 64.
func (s *Store) PolicyHistory(ctx context.Context) ([]*policyv1.SignedPolicy, error) {
	entries, err := s.policies.History(ctx, policyKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("read history of policies", err)
	}
	history := make([]*policyv1.SignedPolicy, 0, len(entries))
	for _, entry := range entries {
		signed, _, err := decodePolicy(entry)
		if err != nil {
			return nil, err
		}
		history = append(history, signed)
	}
	return history, nil
}

func decodePolicy(entry jetstream.KeyValueEntry) (*policyv1.SignedPolicy, uint64, error) {
	signed := new(policyv1.SignedPolicy)
	if err := proto.Unmarshal(entry.Value(), signed); err != nil {
		return nil, 0, fmt.Errorf("read policy at revision %d of the store: %w", entry.Revision(), err)
	}
	return signed, entry.Revision(), nil
}
