//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/deploy/local"
	"github.com/sallyport-mesh/sallyport/e2e/bench/load"
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

// services are what is asked for behind each transition, and where.
var services = []struct{ name, protocol, port string }{
	{"raw", "tcp", "7000"}, {"objects", "oci", "7001"}, {"web", "http", "7002"}, {"calls", "grpc", "7003"},
}

// benchPolicy is the embedded policy with those services behind each transition.
func benchPolicy(t testing.TB) []byte {
	text := string(local.Template())
	var served, intents strings.Builder
	intents.WriteString("\nintents:\n")
	for _, s := range services {
		fmt.Fprintf(&served, `, %s: "%s://:%s"`, s.name, s.protocol, s.port)
		for _, workload := range []string{"llm", "registry"} {
			fmt.Fprintf(&intents, "  - name: %s-of-%s\n    allow: {from: orchestrator, to: %s, service: %s}\n", s.name, workload, workload, s.name)
		}
	}
	served.WriteString("}\n    plaintext: {acceptedBy: ml-platform}")
	for _, e := range []struct{ old, replacement string }{
		{"to: azure, owner: ml-platform, sink: records,", "to: azure, owner: ml-platform, sink: records, record: async,"},
		{"to: aws,   owner: search-team, sink: records,", "to: aws,   owner: search-team, sink: records, record: durable,"},
		{`health: "grpc://:9000"}`, `health: "grpc://:9000"` + served.String()},
		{`serves: {models: "oci://:5000"}`, `serves: {models: "oci://:5000"` + served.String()},
		{"to: registry, with:", "to: registry, service: models, with:"},
		{"\nintents:\n", intents.String()},
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
		places := map[string]string{}
		for _, s := range services {
			places[s.name] = at.backend
		}
		if err := at.mesh.Register(b.ctx, workload, places); err != nil {
			return nil, err
		}
		r, err := b.attached(at, workload+"."+environment+".mesh")
		if err != nil {
			return nil, err
		}
		for _, name := range gateways {
			if err := b.launchGateway(r, at, name, carriers, name == "onprem-1" || name == environment+"-1"); err != nil {
				r.stop()
				return nil, err
			}
		}
		return r, nil
	}
}

// attached is a pair of ours as its clients see it: without TLS, as those of
// others' pairs, and so with a JWT-SVID, by CONNECT or in each request.
func (b *bench) attached(at *site, host string) (*running, error) {
	var there localBootstrap
	if err := readJSON(at.mesh.Bootstrap("onprem-1"), &there); err != nil {
		return nil, err
	}
	token, err := at.token(b.ctx)
	if err != nil {
		return nil, err
	}
	to := func(service string) load.Target {
		t := at.target(there.AttachLoopback)
		t.Token = token
		for _, s := range services {
			if s.name == service {
				t.Authority = host + ":" + s.port
			}
		}
		return t
	}
	r := &running{target: to("raw"), web: to("web"), h2: to("web"), grpc: to("calls"), objects: to("objects").Authority}
	r.target.Connect, r.target.Authority = r.target.Authority, ""
	return r, nil
}

func (b *bench) launchGateway(r *running, at *site, name string, carriers []string, counts bool) error {
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	set := map[string]any{"admin": admin}
	if carriers != nil {
		set["carriers"] = carriers
	}
	bootstrap, err := b.bootstrap(at.mesh.Bootstrap(name), set)
	if err != nil {
		return err
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
		r.admins = append(r.admins, admin)
	} else {
		r.beside = append(r.beside, p)
	}
	return nil
}

// bootstrap is a bootstrap file like another but for what is set.
func (b *bench) bootstrap(path string, set map[string]any) (string, error) {
	var all map[string]any
	if err := readJSON(path, &all); err != nil {
		return "", err
	}
	maps.Copy(all, set)
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
