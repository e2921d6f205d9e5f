package controlplane

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	// reserved begins the paths of the product's own: gateways, control planes,
	// operators. They are named by the authority's own configuration, because they
	// must have an SVID before there is a policy.
	reserved = "/sallyport/"
	// maxPolicyFile is the most that is read of a policy's file: one of the largest
	// canonical form, with its signatures and key rotations, in base64.
	maxPolicyFile = 3 * signed.MaxCanonical
)

// PolicyFile is a signed policy on the authority's own host. The authority verifies
// it under keys that its owner pinned: whoever delivers the file can only withhold
// a newer one.
type PolicyFile struct {
	// Keys are who may sign.
	Keys *policyv1.KeySet
	// File is the signed policy: as `sallyport policy export` writes it, or a
	// gateway's policy.pb. Read again within two seconds of a change; one that is
	// missing or wrong leaves the last good one in force.
	File string
}

// registry is who the policy in a file names.
type registry struct {
	PolicyFile
	floorFile string // the newest policy that was ever in force
	data      []byte // as last read

	mu      sync.Mutex // guards what follows
	policy  *policy.Policy
	changed chan struct{}
}

var _ authority.Registry = (*registry)(nil)

func newRegistry(p PolicyFile, floorFile string) (*registry, error) {
	if err := signed.CheckKeys(p.Keys); err != nil {
		return nil, fmt.Errorf("policy of the authority: %w", err)
	}
	return &registry{PolicyFile: p, floorFile: floorFile, changed: make(chan struct{})}, nil
}

// Check implements authority.Registry.
func (r *registry) Check(id spiffeid.ID) error {
	if strings.HasPrefix(id.Path(), reserved) {
		return nil
	}
	r.mu.Lock()
	p := r.policy
	r.mu.Unlock()
	switch {
	case p == nil:
		return errors.New("there is no policy yet that is well signed")
	case p.WorkloadByID(id) == nil:
		return fmt.Errorf("policy %q, serial %d, names no such workload", p.Name(), p.Ref().Serial)
	}
	return nil
}

// Changed implements authority.Registry.
func (r *registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// refresh reads the file, if it is another than before. One that was refused is
// looked at again each time: what was wrong may not have been the file.
func (r *registry) refresh() error {
	data, err := readAtMost(r.File, maxPolicyFile)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	if r.data != nil && bytes.Equal(data, r.data) {
		return nil
	}
	next, err := r.verify(data)
	if err != nil {
		return fmt.Errorf("read policy %q: %w", r.File, err)
	}
	r.data = data
	r.mu.Lock()
	defer r.mu.Unlock()
	r.policy = next
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// verify takes a policy that is well signed, and no older than any before: an old
// policy stays well signed for ever, and may name whom the newest does not.
func (r *registry) verify(data []byte) (*policy.Policy, error) {
	sp, err := parseSigned(data)
	if err != nil {
		return nil, err
	}
	manifest, content, err := signed.Verify(sp, r.Keys)
	if err != nil {
		return nil, err
	}
	ref := policy.Ref{Serial: manifest.GetSerial(), Revision: manifest.GetRevision()}
	compiled, err := policy.Compile(content, ref)
	if err != nil {
		return nil, err
	}
	was, err := readFloor(r.floorFile)
	if err != nil {
		return nil, err
	}
	is := policyFloor{Policy: manifest.GetPolicy(), Serial: ref.Serial, Revision: ref.Revision}
	if err := was.check(is); err != nil {
		return nil, err
	}
	return compiled, is.write(r.floorFile)
}

func readAtMost(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%q has %d bytes, at most %d are read", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}

// parseSigned reads a signed policy as JSON or in protobuf's binary form, which
// never begins with a brace: that would be a field of group type.
func parseSigned(data []byte) (*policyv1.SignedPolicy, error) {
	sp := &policyv1.SignedPolicy{}
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		return sp, protojson.Unmarshal(trimmed, sp)
	}
	return sp, proto.Unmarshal(data, sp)
}

// policyFloor is the newest policy that was ever in force here.
type policyFloor struct {
	Policy   string `json:"policy"`
	Serial   uint64 `json:"serial"`
	Revision string `json:"revision"`
}

// readFloor reads the floor; it is zero before the first policy. One that cannot
// be read is a fault: it may say that the policy is too old.
func readFloor(path string) (policyFloor, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return policyFloor{}, nil
	}
	if err != nil {
		return policyFloor{}, fmt.Errorf("read the newest serial: %w", err)
	}
	var f policyFloor
	if err := json.Unmarshal(data, &f); err != nil || f.Serial == 0 {
		return policyFloor{}, fmt.Errorf("read the newest serial: %q is not readable: %w", path, err)
	}
	return f, nil
}

func (f policyFloor) check(next policyFloor) error {
	switch {
	case f.Serial == 0:
		return nil
	case next.Policy != f.Policy:
		return fmt.Errorf("it is of policy %q, what was in force here of policy %q", next.Policy, f.Policy)
	case next.Serial < f.Serial:
		return fmt.Errorf("its serial %d is lower than %d, which was in force here", next.Serial, f.Serial)
	case next.Serial == f.Serial && next.Revision != f.Revision:
		return fmt.Errorf("its serial %d was in force here with revision %s", next.Serial, f.Revision)
	}
	return nil
}

// write keeps the floor. A crash in between leaves the one before: the file is put
// in place as a whole.
func (f policyFloor) write(path string) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	temp := path + ".tmp"
	if err := writeSynced(temp, append(data, '\n')); err != nil {
		return fmt.Errorf("keep the newest serial: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("keep the newest serial: %w", err)
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
