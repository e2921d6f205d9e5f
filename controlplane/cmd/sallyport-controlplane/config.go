package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-mesh/sallyport/certs/authority"
	"github.com/sallyport-mesh/sallyport/certs/authority/keys"
	"github.com/sallyport-mesh/sallyport/controlplane"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// controlPlaneFile is the configuration file of `run`. Paths in it are relative
// to the file.
type controlPlaneFile struct {
	// Listen is the host:port of the API and of xDS; 127.0.0.1:8444 if empty.
	Listen string `yaml:"listen"`
	// Advertise is the host:port in gateways' bootstrap files; Listen if empty.
	Advertise string `yaml:"advertise"`
	// Dir is the directory of the embedded store. Exactly one of Dir and NATS is set.
	Dir string `yaml:"dir"`
	// NATS is the URL of an external NATS cluster with JetStream.
	NATS string `yaml:"nats"`
	// LogDir is the directory of the environments' logs; DIR/log if empty.
	LogDir string `yaml:"logDir"`
	// RecordsDir is the directory of the joined records and their archive; DIR/records if
	// empty.
	RecordsDir string `yaml:"recordsDir"`
	// SealedDir is the directory of the contents that gateways have sealed to reviewers;
	// DIR/sealed if empty. With NATS and without it none are kept.
	SealedDir string `yaml:"sealedDir"`
	// Retention is how long records are kept, but for what is held; 4392h, which is 183
	// days, if 0. Hot is how long they stay in the database; 168h, a week, if 0.
	Retention time.Duration `yaml:"retention"`
	Hot       time.Duration `yaml:"hot"`
	// LogListen is the host:port where the logs are served for reading; nowhere if empty.
	LogListen string `yaml:"logListen"`
	// Witnesses are asked to cosign the logs' checkpoints.
	Witnesses []asked `yaml:"witnesses"`
	// WorkloadAPI is where the control plane's SVID comes from, such as
	// unix:///run/sallyport/cp.sock; SPIFFE_ENDPOINT_SOCKET if empty.
	WorkloadAPI string `yaml:"workloadApi"`
	// PolicyKeys is the file of the key set, in JSON.
	PolicyKeys string `yaml:"policyKeys"`
	// Operators are SPIFFE IDs that may read everything and publish.
	Operators []string `yaml:"operators"`
	// Bundles are files of SPIFFE bundle documents by trust domain, for domains
	// whose bundle the Workload API does not have. Read once, at start.
	Bundles map[string]string `yaml:"bundles"`
	// Federates are trust domains whose bundle endpoints are followed.
	Federates []federates `yaml:"federates"`
}

// asked is a witness that is asked.
type asked struct {
	// VKey is its verifier key, as "witness keys" prints it.
	VKey string `yaml:"vkey"`
	// URL is where it listens.
	URL string `yaml:"url"`
	// For are the trust domains whose logs it is asked to cosign; all if absent.
	For []string `yaml:"for"`
}

// authorityFile is the configuration file of `authority`. Paths in it are
// relative to the file.
type authorityFile struct {
	// TrustDomain that it issues for.
	TrustDomain string `yaml:"trustDomain"`
	// Dir holds the keys, bundle.json, which is the bundle for others, the issuing
	// log, and admin.sock, where `authority root` speaks to the one that runs.
	Dir string `yaml:"dir"`
	// Name tells the authorities of a trust domain apart; main if empty.
	Name string `yaml:"name"`
	// Signer is the Unix socket of a process that keeps the keys, such as
	// `authority signer`; they are files in Dir if empty.
	Signer string `yaml:"signer"`
	// Entries are who gets an SVID.
	Entries []authorityEntry `yaml:"entries"`
	// X509TTL is how long an X509-SVID lasts, such as 1h, the default; at least 4s.
	X509TTL *time.Duration `yaml:"x509Ttl"`
	// JWTTTL is how long a JWT-SVID lasts, such as 15m; 1h is the default and the
	// most, because whoever holds one is believed.
	JWTTTL *time.Duration `yaml:"jwtTtl"`
	// IntermediateLife is how long an intermediate lasts, 720h if absent; it is
	// replaced at half of it.
	IntermediateLife time.Duration `yaml:"intermediateLife"`
	// RootLife is how long a root lasts that is made from now on, 87600h if absent.
	RootLife time.Duration `yaml:"rootLife"`
	// RefreshHint is how often others should look for the bundle, 1m if absent. A
	// prepared root is not activated sooner.
	RefreshHint time.Duration `yaml:"refreshHint"`
	// Policy, if it is there, has the last word on which workloads get an SVID.
	Policy *authorityPolicy `yaml:"policy"`
	// Federated are files of SPIFFE bundle documents by trust domain, read again
	// within two seconds of a change.
	Federated map[string]string `yaml:"federated"`
	// Federates are trust domains whose bundle endpoints are followed.
	Federates []federates `yaml:"federates"`
	// ControlPlane carries signed bundles; nobody does if it is absent.
	ControlPlane *controlPlaneAt `yaml:"controlPlane"`
	// BundleEndpoints are where the own bundle is published.
	BundleEndpoints []bundleEndpoint `yaml:"bundleEndpoints"`
}

// authorityPolicy is a signed policy on this host.
type authorityPolicy struct {
	// Keys is the file of the key set, in JSON: who may sign.
	Keys string `yaml:"keys"`
	// File is the signed policy, as `sallyport policy export` writes it, or a
	// gateway's policy.pb. Read again within two seconds of a change.
	File string `yaml:"file"`
}

// authorityEntry gives one SPIFFE ID to processes that connect to a socket.
type authorityEntry struct {
	// ID is the SPIFFE ID.
	ID string `yaml:"id"`
	// Socket of the Workload API. Entries may share one.
	Socket string `yaml:"socket"`
	// DNSNames in the X509-SVID; IP addresses are welcome.
	DNSNames []string `yaml:"dnsNames"`
	// UIDs of the users who get it. With no UIDs, Users and Selectors: the
	// authority's own.
	UIDs []uint32 `yaml:"uids"`
	// Users who get it, by name. Looked up once, at start.
	Users []string `yaml:"users"`
	// Selectors are what a process must be beside that, all of them: unix:uid:N,
	// unix:gid:N, unix:supplementary_gid:N, unix:path:PATH, unix:sha256:HEX,
	// cgroup:PATH.
	Selectors []string `yaml:"selectors"`
}

// decode reads a YAML or JSON file strictly: a key that is not known, or is
// there twice, is a fault; all faults are told at once, each with its line.
func decode(path string, into any) error {
	if path == "" {
		return errors.New("no configuration: say --config FILE")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file is empty")
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: there is more than one document", path)
	}
	return nil
}

// faults gathers what is wrong with a file.
type faults struct {
	path string
	errs []error
}

func (f *faults) add(where string, err error) {
	if err != nil {
		f.errs = append(f.errs, fmt.Errorf("%s: %s: %w", f.path, where, err))
	}
}

// join is all of them, nil if there are none.
func (f *faults) join() error { return errors.Join(f.errs...) }

// resolve makes a path that is relative to the file absolute.
func (f *faults) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	absolute, err := filepath.Abs(filepath.Join(filepath.Dir(f.path), path))
	f.add(path, err)
	return absolute
}

func readControlPlane(path string) (controlplane.Config, error) {
	var file controlPlaneFile
	if err := decode(path, &file); err != nil {
		return controlplane.Config{}, err
	}
	f := &faults{path: path}
	cfg := controlplane.Config{
		Listen:      file.Listen,
		Advertise:   file.Advertise,
		Dir:         f.resolve(file.Dir),
		NATS:        file.NATS,
		LogDir:      f.resolve(file.LogDir),
		RecordsDir:  f.resolve(file.RecordsDir),
		SealedDir:   f.resolve(file.SealedDir),
		Retention:   file.Retention,
		Hot:         file.Hot,
		LogListen:   file.LogListen,
		WorkloadAPI: file.WorkloadAPI,
		PolicyKeys:  f.keySet("policyKeys", file.PolicyKeys),
		Operators:   f.ids("operators", file.Operators),
		Bundles:     f.bundles(file.Bundles),
		Federation:  f.federates(file.Federates),
	}
	for _, w := range file.Witnesses {
		cfg.Witnesses = append(cfg.Witnesses, controlplane.Witness{Key: w.VKey, URL: w.URL, For: w.For})
	}
	if err := cfg.Validate(); len(f.errs) == 0 && err != nil {
		f.errs = append(f.errs, fmt.Errorf("%s: %w", path, err))
	}
	return cfg, f.join()
}

// keySet reads the key set that a field names.
func (f *faults) keySet(where, path string) *policyv1.KeySet {
	set := new(policyv1.KeySet)
	if path == "" {
		f.add(where, errors.New("there is no file named: without keys no policy could ever be published"))
		return set
	}
	data, err := os.ReadFile(f.resolve(path))
	if err == nil {
		err = protojson.Unmarshal(data, set)
	}
	f.add(where, err)
	return set
}

func (f *faults) policyFile(p *authorityPolicy) *controlplane.PolicyFile {
	if p == nil {
		return nil
	}
	if p.File == "" {
		f.add("policy.file", errors.New("must be set: nobody would be registered"))
	}
	return &controlplane.PolicyFile{Keys: f.keySet("policy.keys", p.Keys), File: f.resolve(p.File)}
}

func (f *faults) ids(where string, texts []string) []spiffeid.ID {
	ids := make([]spiffeid.ID, 0, len(texts))
	for i, text := range texts {
		id, err := spiffeid.FromString(text)
		f.add(fmt.Sprintf("%s[%d]: %q", where, i, text), err)
		ids = append(ids, id)
	}
	return ids
}

func (f *faults) bundles(files map[string]string) []*spiffebundle.Bundle {
	var all []*spiffebundle.Bundle
	for _, name := range slices.Sorted(maps.Keys(files)) {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			f.add("bundles: "+name, err)
			continue
		}
		bundle, err := spiffebundle.Load(td, f.resolve(files[name]))
		f.add("bundles: "+name, err)
		if err == nil {
			all = append(all, bundle)
		}
	}
	return all
}

func readAuthority(path string) (controlplane.AuthorityConfig, error) {
	var file authorityFile
	if err := decode(path, &file); err != nil {
		return controlplane.AuthorityConfig{}, err
	}
	f := &faults{path: path}
	td, err := spiffeid.TrustDomainFromString(file.TrustDomain)
	f.add("trustDomain", err)
	if file.Dir == "" {
		f.add("dir", errors.New("must be set: the keys are in it"))
	}
	cfg := controlplane.AuthorityConfig{
		Authority: authority.Config{
			TrustDomain: td, Dir: f.resolve(file.Dir), Entries: f.entries(file.Entries),
			X509TTL: f.lifetime("x509Ttl", file.X509TTL, authority.CheckX509TTL),
			JWTTTL:  f.lifetime("jwtTtl", file.JWTTTL, authority.CheckJWTTTL),
			Name:    file.Name, Admin: true,
			RootLife: file.RootLife, IntermediateLife: file.IntermediateLife, RefreshHint: file.RefreshHint,
		},
		Federated:    f.federated(file.Federated),
		Federation:   f.federates(file.Federates),
		ControlPlane: f.controlPlane(file.ControlPlane),
		Endpoints:    f.endpoints(file.BundleEndpoints),
		Policy:       f.policyFile(file.Policy),
	}
	if file.Signer != "" {
		cfg.Authority.Keys = keys.Dial(f.resolve(file.Signer))
	}
	return cfg, f.join()
}

// lifetime is how long something lasts; 0, which is the default, if the file does
// not say.
func (f *faults) lifetime(where string, ttl *time.Duration, check func(time.Duration) error) time.Duration {
	if ttl == nil {
		return 0
	}
	f.add(where, check(*ttl))
	return *ttl
}

func (f *faults) entries(entries []authorityEntry) []authority.Entry {
	all := make([]authority.Entry, 0, len(entries))
	for i, e := range entries {
		id, err := spiffeid.FromString(e.ID)
		f.add(fmt.Sprintf("entries[%d].id", i), err)
		if e.Socket == "" {
			f.add(fmt.Sprintf("entries[%d].socket", i), errors.New("must be set"))
		}
		uids := append(slices.Clone(e.UIDs), f.users(fmt.Sprintf("entries[%d].users", i), e.Users)...)
		all = append(all, authority.Entry{ID: id, Socket: f.resolve(e.Socket), DNSNames: e.DNSNames, UIDs: uids, Selectors: e.Selectors})
	}
	return all
}

// users are the UIDs of users by name. A name that nobody has is a fault: left
// out, its entry might fall to the authority's own user.
func (f *faults) users(where string, names []string) []uint32 {
	var uids []uint32
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			f.add(where, err)
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		f.add(where+": "+name, err)
		uids = append(uids, uint32(uid))
	}
	return uids
}

func (f *faults) federated(files map[string]string) map[spiffeid.TrustDomain]string {
	all := make(map[spiffeid.TrustDomain]string, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		td, err := spiffeid.TrustDomainFromString(name)
		f.add("federated: "+name, err)
		all[td] = f.resolve(files[name])
	}
	return all
}
