//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/deploy/local"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// gateways are those of the local mesh; here all run in processes of their own.
var gateways = []string{"onprem-1", "azure-1", "aws-1"}

// ours are our own pairs: one mesh, in which the transition to azure is
// recorded asynchronously and the one to aws durably.
var ours = []pair{
	{"sallyport", sallyport("azure", "llm", nil)},
	{"sallyport-durable", sallyport("aws", "registry", nil)},
	{"sallyport-quic", sallyport("azure", "llm", []string{"QUIC"})},
	{"sallyport-bare", startBare},
}

// startBare is the first pair's path without policy and records: what
// gateway/internal/exchange has in its test binary.
func startBare(b *bench, at *site) (*running, error) {
	r := &running{target: at.target("")}
	r.target.Connect = "backend:7000"
	var near, far localBootstrap
	err := errors.Join(readJSON(at.mesh.Bootstrap("onprem-1"), &near), readJSON(at.mesh.Bootstrap("azure-1"), &far))
	if err != nil {
		return nil, err
	}
	r.target.Address = near.AttachLoopback
	if r.target.Token, err = at.token(b.ctx); err != nil {
		return nil, err
	}
	for _, end := range []bareGateway{
		{Bootstrap: at.mesh.Bootstrap("azure-1"), Peer: localmesh.GatewayID("onprem").String(), Environment: "onprem", Backend: at.backend},
		{Bootstrap: at.mesh.Bootstrap("onprem-1"), Peer: localmesh.GatewayID("azure").String(), Environment: "azure", Address: far.Tunnel},
	} {
		said, err := json.Marshal(end)
		if err != nil {
			return nil, err
		}
		p, err := launch(nil, b.dir, "env", "SALLYPORT_BARE_GATEWAY="+string(said), filepath.Join(b.bin, "exchange.test"))
		if err != nil {
			r.stop()
			return nil, err
		}
		r.counts = append(r.counts, p)
	}
	return r, nil
}

// bareGateway is what the test binary of gateway/internal/exchange takes.
type bareGateway struct{ Bootstrap, Peer, Environment, Address, Backend string }

// benchPolicy is the embedded policy with a raw service behind each transition.
func benchPolicy(t testing.TB) []byte {
	text := string(local.Template())
	for _, e := range []struct{ old, replacement string }{
		{"to: azure, owner: ml-platform, sink: records,", "to: azure, owner: ml-platform, sink: records, record: async,"},
		{"to: aws,   owner: search-team, sink: records,", "to: aws,   owner: search-team, sink: records, record: durable,"},
		{`health: "grpc://:9000"}`, "health: \"grpc://:9000\", raw: \"tcp://:7000\", objects: \"oci://:7001\"}\n    plaintext: {acceptedBy: ml-platform}"},
		{`serves: {models: "oci://:5000"}`, "serves: {models: \"oci://:5000\", raw: \"tcp://:7000\", objects: \"oci://:7001\"}\n    plaintext: {acceptedBy: ml-platform}"},
		{"to: registry, with:", "to: registry, service: models, with:"},
		{"\nintents:\n", "\nintents:\n" +
			"  - name: raw-async\n    allow: {from: orchestrator, to: llm, service: raw}\n" +
			"  - name: raw-durable\n    allow: {from: orchestrator, to: registry, service: raw}\n" +
			"  - name: objects-async\n    allow: {from: orchestrator, to: llm, service: objects}\n" +
			"  - name: objects-durable\n    allow: {from: orchestrator, to: registry, service: objects}\n"},
	} {
		text = meshtest.Edit(t, text, e.old, e.replacement)
	}
	return []byte(text)
}

// startMesh starts the control plane, the authorities and the workloads in
// this process; the gateways are started for each measurement.
// Prepare, if not nil, may put something into its directory first.
func startMesh(t testing.TB, prepare func(dir string)) *meshtest.Mesh {
	t.Helper()
	return meshtest.Start(t, func(cfg *localmesh.Config) {
		cfg.Policy = benchPolicy(t)
		cfg.External = gateways
		if prepare != nil {
			prepare(cfg.Dir)
		}
	})
}

// sallyport starts all gateways of the mesh; those at the two ends of the
// transition to the environment are the pair. Their tunnels are carried as the
// product chooses, unless carriers are named.
func sallyport(environment, workload string, carriers []string) func(*bench, *site) (*running, error) {
	return func(b *bench, at *site) (*running, error) {
		if err := at.mesh.Register(b.ctx, workload, map[string]string{"raw": at.backend, "objects": at.backend}); err != nil {
			return nil, err
		}
		var there localBootstrap
		if err := readJSON(at.mesh.Bootstrap("onprem-1"), &there); err != nil {
			return nil, err
		}
		r := &running{target: at.target(there.AttachLoopback)}
		r.target.Connect = fmt.Sprintf("%s.%s.mesh:7000", workload, environment)
		var err error
		if r.target.Token, err = at.token(b.ctx); err != nil {
			return nil, err
		}
		r.objects = fmt.Sprintf("%s.%s.mesh:7001", workload, environment)
		for _, name := range gateways {
			if err := b.launchGateway(r, at, name, carriers, name == "onprem-1" || name == environment+"-1"); err != nil {
				r.stop()
				return nil, err
			}
		}
		return r, nil
	}
}

func (b *bench) launchGateway(r *running, at *site, name string, carriers []string, counts bool) error {
	bootstrap := at.mesh.Bootstrap(name)
	if carriers != nil {
		var err error
		if bootstrap, err = b.carriedBy(bootstrap, carriers); err != nil {
			return err
		}
	}
	in := at.far
	if name == "onprem-1" {
		in = at.near
	}
	p, err := launch(in, b.dir, filepath.Join(b.bin, "sallyport-gateway"),
		"run", "--bootstrap", bootstrap, "--log-level", "warn")
	if err != nil {
		return err
	}
	if counts {
		r.counts = append(r.counts, p)
	} else {
		r.beside = append(r.beside, p)
	}
	return nil
}

// carriedBy is a bootstrap file like another but for its carriers.
func (b *bench) carriedBy(path string, carriers []string) (string, error) {
	var all map[string]any
	if err := readJSON(path, &all); err != nil {
		return "", err
	}
	all["carriers"] = carriers
	text, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	other := filepath.Join(b.dir, filepath.Base(filepath.Dir(path))+".json")
	return other, os.WriteFile(other, text, 0o600)
}

// localBootstrap is as much of a gateway's bootstrap file as clients need.
type localBootstrap struct {
	AttachLoopback string `json:"attachLoopback"`
	Tunnel         string `json:"tunnel"`
}

// token is a fresh JWT-SVID of the caller for its own gateway.
func (at *site) token(ctx context.Context) (string, error) {
	s, err := at.mesh.Source(ctx, "orchestrator")
	if err != nil {
		return "", err
	}
	token, _, err := s.FetchJWTSVID(ctx, localmesh.GatewayID("onprem").String())
	return token, err
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
