//go:build linux

package spire

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport-mesh/sallyport/e2e/netns"
)

const (
	// agentSocket is where all programs of a host find their Workload API.
	agentSocket = "/run/spire/agent.sock"
	// serverSocket is where a server is told things.
	serverSocket = "/run/spire/server.sock"
)

// lifetime of X509-SVIDs, so short that a test sees them renewed. Agents renew at half.
const lifetime = time.Minute

// several are entries beside those of the deployment's authorities, for a user who
// has one there: SPIRE then gives both, in the order of the entries' own IDs.
var several = map[string]entry{
	"azure": {ID: "spiffe://azure.spire.test/monitoring", Users: []string{"sallyport-gateway"}, own: "0"},
}

// programs are the only ones of their user that get an SVID.
var programs = map[string]string{"orchestrator": "/usr/local/bin/workload"}

// domain is a trust domain of SPIRE: a server and an agent, on one host.
type domain struct {
	*netns.Host
	t     testing.TB // whose end is the programs'
	agent *netns.Process
	says  authority
}

// authority is as much of an authority's file as SPIRE needs.
type authority struct {
	TrustDomain string            `yaml:"trustDomain"`
	Entries     []entry           `yaml:"entries"`
	Federated   map[string]string `yaml:"federated"` // the file of its bundle, by trust domain
}

type entry struct {
	ID       string   `yaml:"id"`
	Users    []string `yaml:"users"`
	DNSNames []string `yaml:"dnsNames"`
	own      string   // the entry's own ID; SPIRE's choice if empty
	program  string   // the only one that gets it; any but for those in programs if empty
}

// files are the configuration of server and agent.
var files = template.Must(template.New("").Parse(`{{define "server.conf"}}
server {
  bind_address = "127.0.0.1"
  bind_port = "8081"
  socket_path = "` + serverSocket + `"
  trust_domain = "{{.}}"
  data_dir = "/var/lib/spire"
  federation {
    bundle_endpoint {
      address = "0.0.0.0"
      port = 8543
      profile "https_spiffe" {}
    }
  }
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3", connection_string = "/var/lib/spire/server.sqlite3" } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
}
{{end}}{{define "agent.conf"}}
agent {
  server_address = "127.0.0.1"
  server_port = "8081"
  socket_path = "` + agentSocket + `"
  trust_bundle_path = "/etc/spire/bundle.pem"
  trust_domain = "{{.}}"
  data_dir = "/var/lib/spire"
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "/var/lib/spire" } }
  WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
}
{{end}}`))

// start starts server and agent, and puts the bundle where an authority of ours
// would.
func start(t testing.TB, h *netns.Host) *domain {
	t.Helper()
	d := &domain{Host: h, t: t}
	text, err := os.ReadFile(h.Path("etc/sallyport/authority.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &d.says)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.Run(t, "mkdir -p /etc/spire /run/spire /var/lib/spire /var/lib/sallyport/authority")
	for _, name := range []string{"server.conf", "agent.conf"} {
		var text strings.Builder
		if err := files.ExecuteTemplate(&text, name, d.says.TrustDomain); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.Path("etc/spire/"+name), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.Start(t, "spire-server", "root", "spire-server", "run", "-config", "/etc/spire/server.conf")
	d.await(t, "spire-server healthcheck -socketPath "+serverSocket)
	d.server(t, "bundle show > /etc/spire/bundle.pem")
	d.server(t, "bundle show -format spiffe > /var/lib/sallyport/authority/bundle.json")
	token, found := strings.CutPrefix(d.server(t, "token generate -spiffeID spiffe://"+d.says.TrustDomain+"/host"), "Token: ")
	if !found {
		t.Fatalf("no token: %s", token)
	}
	d.startAgent(t, "-joinToken", strings.TrimSpace(token))
	return d
}

// startAgent needs a token the first time only: afterwards the agent has an SVID
// of its own on disk.
func (d *domain) startAgent(t testing.TB, args ...string) {
	t.Helper()
	d.agent = d.Start(d.t, "spire-agent", "root", append([]string{"spire-agent", "run", "-config", "/etc/spire/agent.conf"}, args...)...)
	d.await(t, "spire-agent healthcheck -socketPath "+agentSocket)
}

// await waits until a command succeeds.
func (d *domain) await(t testing.TB, command string) {
	t.Helper()
	netns.Await(t, time.Minute, command+" on "+d.Name, func() error {
		out, err := d.Command(t.Context(), "root", "sh", "-c", command).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// verb is where the options of a command of spire-server begin.
var verb = regexp.MustCompile(`^[a-z0-9 ]+[a-z0-9]`)

// server tells the server something, and gives its answer.
func (d *domain) server(t testing.TB, command string) string {
	t.Helper()
	return d.Run(t, "spire-server "+verb.ReplaceAllString(command, "$0 -socketPath "+serverSocket))
}

// register federates the trust domain with those whose bundles lie on the host, as
// the deployment's README had them copied, and makes the entries.
func (d *domain) register(t testing.TB, hosts map[string]string) {
	t.Helper()
	for other, bundle := range d.says.Federated {
		d.server(t, fmt.Sprintf("federation create -trustDomain %[1]s -bundleEndpointURL https://%[2]s.sallyport.example:8543 "+
			"-bundleEndpointProfile https_spiffe -endpointSpiffeID spiffe://%[1]s/spire/server "+
			"-trustDomainBundleFormat spiffe -trustDomainBundlePath %[3]s", other, hosts[other], bundle))
	}
	for _, e := range d.says.Entries {
		d.enter(t, e)
	}
	if e, ok := several[d.Name]; ok {
		d.enter(t, e)
	}
	if d.Name != "control" {
		d.enter(t, entry{ID: "spiffe://" + d.says.TrustDomain + "/sallyport/authority/bundles", Users: []string{"root"}, program: publisher})
	}
}

func (d *domain) enter(t testing.TB, e entry) {
	t.Helper()
	var options strings.Builder
	option := func(name, value string) { fmt.Fprintf(&options, " -%s '%s'", name, value) }
	option("parentID", "spiffe://"+d.says.TrustDomain+"/host")
	option("spiffeID", e.ID)
	option("x509SVIDTTL", fmt.Sprint(int(lifetime.Seconds())))
	if e.own != "" {
		option("entryID", e.own)
	}
	for _, user := range e.Users {
		option("selector", "unix:user:"+user)
		if path := cmp.Or(e.program, programs[user]); path != "" {
			option("selector", "unix:path:"+path)
		}
	}
	for _, name := range e.DNSNames {
		option("dns", name)
	}
	for other := range d.says.Federated {
		option("federatesWith", "spiffe://"+other)
	}
	d.server(t, "entry create"+options.String())
}

// programsOf SPIRE lie where .ci/spire builds them.
func programsOf(t testing.TB) []string {
	t.Helper()
	if os.Getenv("SALLYPORT_SPIRE") != "1" {
		t.Skip("takes minutes: run .ci/spire, then the test with SALLYPORT_SPIRE=1")
	}
	pins, err := os.ReadFile("../../.ci/spire.mod")
	if err != nil {
		t.Fatal(err)
	}
	pin := regexp.MustCompile(`github\.com/spiffe/spire (v\S+)`).FindSubmatch(pins)
	cache, err := os.UserCacheDir()
	if err != nil || pin == nil {
		t.Fatalf("where is SPIRE? %v, %q", err, pin)
	}
	var all []string
	for _, name := range []string{"spire-server", "spire-agent"} {
		path := filepath.Join(cache, "sallyport", "spire-"+string(pin[1]), name)
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("run .ci/spire: %v", err)
		}
		all = append(all, path)
	}
	return all
}
