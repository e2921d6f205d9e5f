// Package localmesh runs a whole mesh on one machine: three environments, each
// with its own authority, gateway and workloads, and a control plane in a
// trust domain of its own. It needs no root, no configuration and no network.
// All keys are in one directory, so it shows the mechanism and not the
// independence that separate owners give. Nothing in it is a special case of
// the product: every part is configured as it would be on a host of its own.
package localmesh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane"
	"github.com/sallyport-mesh/sallyport/gateway"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Config says what to run.
type Config struct {
	// Dir holds the mesh's keys, policy and state. It is made if need be; a
	// mesh that was stopped there goes on.
	Dir string
	// Policy, if set, replaces the embedded one on the first start. It has the
	// embedded policy's placeholders.
	Policy []byte
	// External are the gateways, by name, that somebody else runs from the
	// bootstrap files that are written for them.
	External []string
	// ControlPlane, if set, starts the control plane in a process of its own, from that
	// configuration file, and returns when it is up.
	ControlPlane func(file string) error
	// X509TTL is how long X509-SVIDs last; as long as an authority's usually do if
	// zero.
	X509TTL time.Duration
	// IntermediateLife is likewise how long intermediates last.
	IntermediateLife time.Duration
	// Gateways are more of an environment's, by name, that somebody else runs: who is the
	// process's user gets an SVID for one at WorkloadAPI.
	Gateways map[string]string
	// Bootstrap, if set, changes what each gateway starts from.
	Bootstrap func(*configv1.Bootstrap)
	// ProgressEvery is how often gateways record how far open crossings have come; as
	// often as they usually do if zero.
	ProgressEvery time.Duration
	// Remember is how long settled crossings stay in the control plane's memory; as long
	// as they usually do if zero.
	Remember time.Duration
	// Log takes everybody's log; nil for none.
	Log *zap.Logger
}

// Mesh is a mesh that is up.
type Mesh struct {
	// Published is what became of the policy at this start; nil if one was in
	// force already.
	Published *controlv1.PublishResponse
	// Gateways that run in this process, by name.
	Gateways map[string]*gateway.Gateway

	cfg         Config
	layout      layout
	authorities map[string]*controlplane.Authority // by environment; "mesh" is the control plane's
	fail        context.CancelCauseFunc
	issuing     *stage // the authorities
	witnessing  *stage // the witnesses
	controlling *stage // the control plane
	carrying    *stage // gateways and workloads
	witnesses   []controlplane.Witness
	plane       string // the control plane's address
	conn        *grpc.ClientConn
	tunnels     map[string]string // gateway to address
	given       map[string]bool   // addresses that parts got at this start

	mu      sync.Mutex // guards sources
	sources map[string]*certs.Source
}

// Run brings the mesh up, calls ready, and keeps the mesh up until the context
// ends or ready fails.
func Run(ctx context.Context, cfg Config, ready func(context.Context, *Mesh) error) error {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return fmt.Errorf("find %q: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	m := &Mesh{
		cfg: cfg, layout: layout(dir), fail: fail,
		issuing: newStage(ctx), witnessing: newStage(ctx), controlling: newStage(ctx), carrying: newStage(ctx),
		Gateways: map[string]*gateway.Gateway{}, sources: map[string]*certs.Source{},
		tunnels: map[string]string{}, given: map[string]bool{},
	}
	if err := m.makeDirs(); err != nil {
		return err
	}
	release, err := m.lock()
	if err != nil {
		return err
	}
	defer release()
	if err := m.up(running); err != nil {
		fail(m.remedy(err))
	} else if err := ready(running, m); err != nil {
		fail(err)
	}
	<-running.Done()
	return m.down(ctx, context.Cause(running))
}

// down stops everything and gives the reason, if it was another than the end
// of the context.
func (m *Mesh) down(ctx context.Context, cause error) error {
	err := errors.Join(m.carrying.end(), m.controlling.end(), m.witnessing.end())
	m.closeSources()
	err = errors.Join(err, m.issuing.end())
	if cause != nil && !errors.Is(cause, ctx.Err()) {
		return cause
	}
	return err
}

func (m *Mesh) up(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"start the authorities", m.startAuthorities},
		{"start the witnesses", m.startWitnesses},
		{"start the control plane", m.startControlPlane},
		{"have the authorities join it", m.joinAuthorities},
		{"start the gateways", m.startGateways},
		{"wait for the gateways", m.awaitGateways},
		{"publish the policy", m.publish},
		{"wait for the policy", m.awaitPolicy},
		{"start the workloads", m.startWorkloads},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

func (m *Mesh) makeDirs() error {
	if err := m.layout.check(); err != nil {
		return err
	}
	for _, dir := range m.layout.dirs() {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the directories: %w", err)
		}
	}
	return nil
}

// API is a connection to the control plane's API as the operator.
func (m *Mesh) API() grpc.ClientConnInterface { return m.conn }

// Dir is where the mesh keeps everything.
func (m *Mesh) Dir() string { return m.cfg.Dir }

// Source is the identity of one of the mesh's own, as its Workload API gives
// it: a workload, a gateway, "controlplane" or "operator".
func (m *Mesh) Source(ctx context.Context, name string) (*certs.Source, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sources[name]; s != nil {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: m.layout.workloadAPI(name), Log: m.cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("get the SVID of %s: %w", name, err)
	}
	m.sources[name] = s
	return s, nil
}

// WorkloadAPI is the address of the Workload API of one of the mesh's own.
func (m *Mesh) WorkloadAPI(name string) string { return m.layout.workloadAPI(name) }

// Bootstrap is the file that a gateway starts from.
func (m *Mesh) Bootstrap(gateway string) string { return m.layout.bootstrap(gateway) }

func (m *Mesh) closeSources() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil {
		m.conn.Close()
	}
	for _, s := range m.sources {
		s.Close() //nolint:errcheck // it was only read from
	}
}

// awaitGateways waits until the control plane knows every gateway of this
// process: it waits for those alone to take a policy, or to learn where
// workloads are, that it knows.
func (m *Mesh) awaitGateways(ctx context.Context) error {
	for name, g := range m.Gateways {
		select {
		case <-g.Connected():
		case <-ctx.Done():
			return fmt.Errorf("gateway %s has not reached the control plane: %w", name, ctx.Err())
		}
	}
	return nil
}

// awaitPolicy waits until every gateway of this process enforces a policy.
func (m *Mesh) awaitPolicy(ctx context.Context) error {
	for name, g := range m.Gateways {
		for {
			changed := g.PolicyChanged()
			if g.Policy().Serial > 0 {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return fmt.Errorf("gateway %s has no policy: %w", name, ctx.Err())
			}
		}
	}
	return nil
}

// Reload is the policy in force, as the API has it.
func (m *Mesh) Reload(ctx context.Context) (*policyv1.SignedPolicy, error) {
	return controlv1.NewPolicyServiceClient(m.conn).GetPolicy(ctx, &controlv1.GetPolicyRequest{})
}

// GatewayID is the SPIFFE ID of an environment's gateway.
func GatewayID(environment string) spiffeid.ID {
	return spiffeid.RequireFromPath(trustDomain(environment), "/sallyport/gateway/"+environment+"-1")
}
