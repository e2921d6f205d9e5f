package localmesh

import (
	"fmt"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Environments of the local mesh, in the order people read them.
var environments = []string{"onprem", "aws", "azure"}

// Environments are the names of the local mesh's environments.
func Environments() []string { return append([]string(nil), environments...) }

// mesh is the control plane's own trust domain, which is no environment.
const mesh = "mesh"

// identities maps a name to its environment and SPIFFE ID path.
var identities = map[string]struct{ environment, path string }{
	"controlplane": {mesh, "/sallyport/controlplane/cp-1"},
	"operator":     {mesh, "/sallyport/operator/local"},
	"onprem-1":     {"onprem", "/sallyport/gateway/onprem-1"},
	"aws-1":        {"aws", "/sallyport/gateway/aws-1"},
	"azure-1":      {"azure", "/sallyport/gateway/azure-1"},
	"orchestrator": {"onprem", "/ai/orchestrator"},
	"retriever":    {"aws", "/ai/retriever"},
	"registry":     {"aws", "/ml/registry"},
	"llm":          {"azure", "/ai/llm"},
}

func trustDomain(environment string) spiffeid.TrustDomain {
	return spiffeid.RequireTrustDomainFromString(environment + ".demo")
}

// ID is the SPIFFE ID of one of the mesh's own.
func ID(name string) spiffeid.ID {
	who := identities[name]
	return spiffeid.RequireFromPath(trustDomain(who.environment), who.path)
}

// layout is where things are in the mesh's directory.
type layout string

// maxSocketPath is the longest name of a Unix socket, in bytes, that every system
// takes.
const maxSocketPath = 103

// check says before anything is made that the mesh's sockets cannot be here.
func (l layout) check() error {
	longest := 0
	for name := range identities {
		longest = max(longest, len(l.socket(name)))
	}
	if over := longest - maxSocketPath; over > 0 {
		return fmt.Errorf("%q is too long for the mesh's sockets: use a directory with a shorter name, of at most %d bytes",
			string(l), len(l)-over)
	}
	return nil
}

func (l layout) dirs() []string {
	dirs := []string{l.run(), l.operator(), l.authority(mesh)}
	for _, env := range environments {
		dirs = append(dirs, l.authority(env), l.gatewayDir(env+"-1"))
	}
	return dirs
}

func (l layout) run() string                 { return filepath.Join(string(l), "run") }
func (l layout) operator() string            { return filepath.Join(string(l), "operator") }
func (l layout) key() string                 { return filepath.Join(l.operator(), "policy.key") }
func (l layout) keySet() string              { return filepath.Join(l.operator(), "keyset.json") }
func (l layout) policy() string              { return filepath.Join(string(l), "policy.yaml") }
func (l layout) lock() string                { return filepath.Join(string(l), "lock") }
func (l layout) meshFile() string            { return filepath.Join(string(l), "mesh.json") }
func (l layout) controlPlane() string        { return filepath.Join(string(l), "controlplane") }
func (l layout) logs() string                { return filepath.Join(l.controlPlane(), "log") }
func (l layout) socket(name string) string   { return filepath.Join(l.run(), name+".sock") }
func (l layout) authority(env string) string { return filepath.Join(string(l), env, "authority") }
func (l layout) gatewayDir(gw string) string { return filepath.Join(string(l), gw[:len(gw)-2], gw) }

func (l layout) controlPlaneFile() string { return filepath.Join(string(l), "controlplane.json") }

func (l layout) bootstrap(gw string) string  { return filepath.Join(l.gatewayDir(gw), "bootstrap.json") }
func (l layout) workloadAPI(n string) string { return "unix://" + l.socket(n) }
