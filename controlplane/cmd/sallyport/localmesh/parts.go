package localmesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/policykey"
	"github.com/sallyport-mesh/sallyport/deploy/local"
	"github.com/sallyport-mesh/sallyport/gateway"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	"github.com/sallyport-mesh/sallyport/gateway/policy/source"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// meshFile is how others find the mesh: DIR/mesh.json.
type meshFile struct {
	API         string `json:"api"`
	ID          string `json:"id"`
	WorkloadAPI string `json:"workloadApi"`
}

func (m *Mesh) startControlPlane(ctx context.Context) error {
	keys, err := m.keySet()
	if err != nil {
		return err
	}
	was, err := m.address()
	if err != nil {
		return err
	}
	start := func(at []string) error { return m.runControlPlane(ctx, at[0], keys) }
	if was != "" {
		err = start([]string{was})
	} else {
		err = m.atFreeAddresses(1, start)
	}
	if err != nil {
		return err
	}
	found := meshFile{
		API: m.plane, ID: ID("controlplane").String(), WorkloadAPI: m.layout.workloadAPI("operator"),
	}
	text, err := json.Marshal(found)
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.layout.meshFile(), append(text, '\n'), 0o600); err != nil {
		return err
	}
	operator, err := m.Source(ctx, "operator")
	if err != nil {
		return err
	}
	m.conn, err = m.dial(operator)
	return err
}

// runControlPlane runs the control plane, unless somebody else does, who is given
// its configuration file.
func (m *Mesh) runControlPlane(ctx context.Context, at string, keys *policyv1.KeySet) error {
	cfg := controlplane.Config{
		Listen:      at,
		Dir:         m.layout.controlPlane(),
		WorkloadAPI: m.layout.workloadAPI("controlplane"),
		PolicyKeys:  keys,
		Operators:   []spiffeid.ID{ID("operator")},
		Witnesses:   m.witnesses,
		Remember:    m.cfg.Remember,
		Log:         m.cfg.Log,
	}
	m.plane = at
	if m.cfg.ControlPlane != nil {
		file, err := m.writeControlPlane(&cfg)
		if err != nil {
			return err
		}
		return m.cfg.ControlPlane(file)
	}
	plane, err := controlplane.New(ctx, cfg)
	if err != nil {
		return err
	}
	m.plane = plane.Addr().String()
	m.controlling.run(m.fail, plane.Run)
	return nil
}

// writeControlPlane writes the file that `sallyport-controlplane run` starts from.
func (m *Mesh) writeControlPlane(cfg *controlplane.Config) (string, error) {
	witnesses := make([]map[string]any, len(cfg.Witnesses))
	for i, w := range cfg.Witnesses {
		witnesses[i] = map[string]any{"vkey": w.Key, "url": w.URL, "for": w.For}
	}
	text, err := json.Marshal(map[string]any{
		"witnesses": witnesses, "listen": cfg.Listen, "dir": cfg.Dir, "workloadApi": cfg.WorkloadAPI,
		"policyKeys": m.layout.keySet(), "operators": cfg.Operators,
	})
	if err != nil {
		return "", err
	}
	file := m.layout.controlPlaneFile()
	return file, os.WriteFile(file, append(text, '\n'), 0o600)
}

// keySet is who may sign policies; on the first start a key is made.
func (m *Mesh) keySet() (*policyv1.KeySet, error) {
	there, err := exists(m.layout.keySet())
	if err != nil {
		return nil, err
	}
	if !there {
		_, set, err := policykey.Generate(m.layout.operator(), "operator")
		return set, err
	}
	return policykey.ReadSet(m.layout.keySet())
}

// address is where the control plane was before; empty before the first start.
func (m *Mesh) address() (string, error) {
	text, err := os.ReadFile(m.layout.meshFile())
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var was meshFile
	if err := json.Unmarshal(text, &was); err != nil {
		return "", fmt.Errorf("read %q: %w", m.layout.meshFile(), err)
	}
	return was.API, nil
}

// dial connects to the control plane as somebody.
func (m *Mesh) dial(as *certs.Source) (*grpc.ClientConn, error) {
	creds := credentials.NewTLS(certs.ClientTLS(as, certs.AuthorizeID(ID("controlplane")), "h2"))
	conn, err := grpc.NewClient("passthrough:///"+m.plane, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, fmt.Errorf("connect to the control plane: %w", err)
	}
	return conn, nil
}

// startGateways starts each gateway where it was before, so that workloads and
// peers find it again, or at free addresses.
func (m *Mesh) startGateways(ctx context.Context) error {
	for _, env := range environments {
		var was configv1.Bootstrap
		there, err := readJSON(m.layout.bootstrap(env+"-1"), &was)
		if err != nil {
			return err
		}
		start := func(at []string) error { return m.startGateway(ctx, env, at[0], at[1], at[2]) }
		if there {
			err = start([]string{was.GetAttach(), was.GetAttachLoopback(), was.GetTunnel()})
		} else {
			err = m.atFreeAddresses(3, start)
		}
		if err != nil {
			return fmt.Errorf("gateway %s-1: %w", env, err)
		}
	}
	return nil
}

// startGateway runs an environment's gateway, unless somebody else does, and
// writes its bootstrap file.
func (m *Mesh) startGateway(ctx context.Context, env, attach, loopback, tunnel string) error {
	name := env + "-1"
	b, err := m.bootstrap(env)
	if err != nil {
		return err
	}
	b.Attach, b.AttachLoopback, b.Tunnel = attach, loopback, tunnel
	if m.cfg.Bootstrap != nil {
		m.cfg.Bootstrap(b)
	}
	m.tunnels[name] = tunnel
	if !slices.Contains(m.cfg.External, name) {
		g, err := gateway.New(ctx, gateway.Config{Bootstrap: b, ProgressEvery: m.cfg.ProgressEvery, Log: m.cfg.Log.Named(name)})
		if err != nil {
			return err
		}
		m.Gateways[name] = g
		m.carrying.run(m.fail, g.Run)
	}
	return writeJSON(m.layout.bootstrap(name), b)
}

// bootstrap is what a gateway starts from, but for its addresses.
func (m *Mesh) bootstrap(env string) (*configv1.Bootstrap, error) {
	name := env + "-1"
	keys, err := m.keySet()
	if err != nil {
		return nil, err
	}
	bundle, err := m.authorities[mesh].Issuer().Bundle().Marshal()
	if err != nil {
		return nil, fmt.Errorf("write the mesh's bundle: %w", err)
	}
	return &configv1.Bootstrap{
		Gateway:     name,
		Environment: env,
		TrustDomain: trustDomain(env).Name(),
		ControlPlane: &configv1.ControlPlane{
			Address: m.plane, Id: ID("controlplane").String(), Bundle: string(bundle),
		},
		PolicyKeys:  keys,
		WorkloadApi: m.layout.workloadAPI(name),
		StateDir:    filepath.Join(m.layout.gatewayDir(name), "state"),
	}, nil
}

// publish signs and publishes the embedded policy, on the first start.
func (m *Mesh) publish(ctx context.Context) error {
	there, err := exists(m.layout.policy())
	if err != nil || there {
		return err
	}
	// The embedded policy is reviewed half a year from today, whenever that is.
	text, err := local.Fill(m.policyTemplate(), local.Values{
		ReviewBy: time.Now().AddDate(0, 6, 0).Format(time.DateOnly),
		Tunnels:  m.tunnels,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.layout.policy(), text, 0o600); err != nil {
		return err
	}
	m.Published, err = m.Apply(ctx, text)
	return err
}

func (m *Mesh) policyTemplate() []byte {
	if m.cfg.Policy != nil {
		return m.cfg.Policy
	}
	return local.Template()
}

// Apply signs and publishes a policy as the operator's tool does.
func (m *Mesh) Apply(ctx context.Context, yaml []byte) (*controlv1.PublishResponse, error) {
	p, err := source.Load(m.layout.policy(), yaml)
	if err != nil {
		return nil, err
	}
	keys, err := m.keySet()
	if err != nil {
		return nil, err
	}
	key, err := policykey.Read(m.layout.key(), keys)
	if err != nil {
		return nil, err
	}
	serial, previous, err := m.inForce(ctx, keys)
	if err != nil {
		return nil, err
	}
	sp, err := signed.Sign(p, serial+1, previous, false, key)
	if err != nil {
		return nil, err
	}
	return controlv1.NewPolicyServiceClient(m.conn).Publish(ctx, &controlv1.PublishRequest{Signed: sp})
}

// Workloads of an environment that run here, for people.
func (m *Mesh) Workloads(environment string) string {
	var names []string
	for name, who := range identities {
		if who.environment == environment && !strings.HasPrefix(who.path, "/sallyport/") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}
