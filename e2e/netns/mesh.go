package netns

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// Options are in what a test's deployment differs from the one of the README.
type Options struct {
	// DialOut names environments that only dial out.
	DialOut []string
	// Connect lays a host's cables; nil for one to the router.
	Connect func(n *Network, h *Host, addr netip.Prefix)
	// Rewrite changes the README's commands and files; nil for none of them.
	Rewrite func(text string) string
	// Start starts a unit of a host in its own way, or says that it is to be started
	// as the README says; nil for the latter.
	Start func(m *Mesh, h *Host, unit string) (started bool)
}

// rewrite is a text of the README's as this deployment has it.
func (o *Options) rewrite(text string) string {
	text = dialsOut(text, o.DialOut)
	if o.Rewrite != nil {
		text = o.Rewrite(text)
	}
	return text
}

// Mesh is the deployment of deploy/hosts on a Network.
type Mesh struct {
	*Network

	// Units are what runs, as HOST/UNIT.
	Units map[string]*Process

	t testing.TB
	o Options
}

// Deploy does what the README of deploy/hosts says, starts its workloads, and
// waits until all gateways hold tunnels to all others.
func Deploy(t testing.TB, o Options) *Mesh {
	t.Helper()
	m := &Mesh{Network: New(t), Units: map[string]*Process{}, t: t, o: o}
	top, err := root()
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := readNames(filepath.Join(top, nameFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range hosts {
		m.addHost(n, top)
	}
	steps, err := readWalk(filepath.Join(top, walkFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		for _, host := range s.hosts {
			m.do(m.At(host), o.rewrite(s.text))
		}
	}
	m.startWorkloads()
	m.AwaitTunnels(t)
	return m
}

// addHost makes one of the README's hosts, with its folder in /root/hosts.
func (m *Mesh) addHost(n named, top string) {
	m.t.Helper()
	h := m.Host(n.name)
	if addr := netip.PrefixFrom(n.addr, 24); m.o.Connect != nil {
		m.o.Connect(m.Network, h, addr)
	} else {
		h.Connect(m.router, addr)
	}
	if err := m.copyFolder(filepath.Join(top, "deploy/hosts"), h.Path("root/hosts")); err != nil {
		m.t.Fatal(err)
	}
}

// copyFolder copies the README's folder as this deployment has it.
func (m *Mesh) copyFolder(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	return filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(m.o.rewrite(string(text))), 0o644)
	})
}

// dialsOut changes the policy and the commands of the walk as the README says of
// environments that only dial out.
func dialsOut(text string, environments []string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		for _, env := range environments {
			line = strings.Replace(line, fmt.Sprintf(`{tunnel: "%s.sallyport.example:8445"}`, env), "{dialOut: true}", 1)
			if strings.Contains(line, "gateways add "+env+"-1 ") {
				line = strings.Replace(line, " --tunnel :8445", "", 1)
			}
		}
		lines[i] = line
	}
	return strings.Join(lines, "")
}

// do does a step of the walk on a host. There is no systemd in a namespace, so
// that units are started in its place.
func (m *Mesh) do(h *Host, text string) {
	m.t.Helper()
	var script string
	for line := range strings.Lines(text) {
		unit, starts := strings.CutPrefix(strings.TrimSpace(line), "systemctl enable --now ")
		if !starts {
			script += line
			continue
		}
		h.Run(m.t, script)
		script = ""
		if m.o.Start == nil || !m.o.Start(m, h, unit) {
			m.Units[h.Name+"/"+unit] = h.StartUnit(m.t, unit)
		}
	}
	if script != "" {
		h.Run(m.t, script)
	}
}

// Sallyport runs the operator's tool on the control plane's host.
func (m *Mesh) Sallyport(t testing.TB, args ...string) ([]byte, error) {
	t.Helper()
	cmd := m.At("control").Command(t.Context(), "root", append([]string{"sallyport", "--dir", "mesh"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("sallyport %s: %w%s", strings.Join(args, " "), err, stderrOf(err))
	}
	return out, nil
}

// list asks the operator's tool for messages.
func list[M proto.Message](t testing.TB, m *Mesh, fresh func() M, args ...string) ([]M, error) {
	t.Helper()
	out, err := m.Sallyport(t, append(args, "-o", "json")...)
	if err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(out, &items); err != nil {
		return nil, fmt.Errorf("%w in %s", err, out)
	}
	all := make([]M, len(items))
	for i, item := range items {
		all[i] = fresh()
		if err := protojson.Unmarshal(item, all[i]); err != nil {
			return nil, fmt.Errorf("%w in %s", err, item)
		}
	}
	return all, nil
}

// Gateways are what the control plane knows of them.
func (m *Mesh) Gateways(t testing.TB) ([]*controlv1.GatewayStatus, error) {
	t.Helper()
	return list(t, m, func() *controlv1.GatewayStatus { return new(controlv1.GatewayStatus) }, "gateways")
}

// AwaitTunnels waits until every gateway says that it has a policy and tunnels to
// all others.
func (m *Mesh) AwaitTunnels(t testing.TB) {
	t.Helper()
	Await(t, time.Minute, "tunnels between all gateways", func() error {
		all, err := m.Gateways(t)
		if err != nil {
			return err
		}
		for _, g := range all {
			for _, other := range all {
				if g != other && !HasTunnel(g, other.GetId(), "") {
					return fmt.Errorf("%s (connected %t, policy %d) has no tunnel to %s", g.GetName(), g.GetConnected(), g.GetSerial(), other.GetName())
				}
			}
		}
		return nil
	})
}

// HasTunnel says whether a gateway reported a tunnel to a peer, over a carrier
// unless it does not matter.
func HasTunnel(g *controlv1.GatewayStatus, peer, carrier string) bool {
	return slices.ContainsFunc(g.GetReport().GetTunnels(), func(t *controlv1.TunnelStatus) bool {
		return t.GetPeer() == peer && (carrier == "" || t.GetCarrier() == carrier)
	})
}
