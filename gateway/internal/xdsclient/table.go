package xdsclient

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// What the control plane may make a gateway keep.
const (
	maxAssignments = 100_000
	maxEndpoints   = 1024 // of one service
)

// serviceKey is a service of a workload.
type serviceKey struct{ workload, service string }

// table is where the workloads of the gateway's environment are. One goroutine
// uses it at a time.
type table struct {
	files   files
	entries map[string]assigned // by resource name
}

// assigned is one ClusterLoadAssignment.
type assigned struct {
	resource *discovery.Resource
	key      serviceKey
	at       []string // HOST:PORT
}

func newTable(f files) *table { return &table{files: f, entries: map[string]assigned{}} }

// accept takes a response with endpoints. What is good in it is kept; the error
// names what is not.
func (t *table) accept(resp *discovery.DeltaDiscoveryResponse) error {
	for _, name := range resp.GetRemovedResources() {
		delete(t.entries, name)
	}
	var errs []error
	for _, r := range resp.GetResources() {
		a, err := parseAssignment(r)
		if err == nil && len(t.entries) >= maxAssignments {
			err = fmt.Errorf("there are %d others", len(t.entries))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("endpoints %.80q: %w", r.GetName(), err))
			continue
		}
		t.entries[r.GetName()] = a
	}
	return errors.Join(errs...)
}

func parseAssignment(r *discovery.Resource) (assigned, error) {
	a := assigned{resource: r}
	cla := &endpoint.ClusterLoadAssignment{}
	if err := unpack(r.GetResource(), cla); err != nil {
		return a, err
	}
	if cla.GetClusterName() != r.GetName() {
		return a, fmt.Errorf("its cluster is %.80q", cla.GetClusterName())
	}
	labels := strings.Split(r.GetName(), ".")
	if len(labels) != 4 || labels[3] != "mesh" || slices.Contains(labels, "") {
		return a, errors.New("its name is not SERVICE.WORKLOAD.ENVIRONMENT.mesh")
	}
	a.key = serviceKey{workload: labels[1], service: labels[0]}
	for _, locality := range cla.GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			at, err := parseEndpoint(e)
			if err != nil {
				return a, err
			}
			a.at = append(a.at, at)
		}
	}
	if len(a.at) > maxEndpoints {
		return a, fmt.Errorf("more than %d endpoints", maxEndpoints)
	}
	return a, nil
}

func parseEndpoint(e *endpoint.LbEndpoint) (string, error) {
	socket := e.GetEndpoint().GetAddress().GetSocketAddress()
	host, port := socket.GetAddress(), socket.GetPortValue()
	if port == 0 || port > 65535 {
		return "", fmt.Errorf("port %d is none", port)
	}
	if host == "" || len(host) > 253 || strings.ContainsFunc(host, notOfHost) {
		return "", fmt.Errorf("address %.80q is none", host)
	}
	return net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10)), nil
}

// notOfHost says that a character is in no IP address and no DNS name.
func notOfHost(c rune) bool {
	return !strings.ContainsRune("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:-_", c)
}

// snapshot is the table as the rest of the gateway sees it.
func (t *table) snapshot() map[serviceKey][]string {
	all := make(map[serviceKey][]string, len(t.entries))
	for _, a := range t.entries {
		all[a.key] = append(all[a.key], a.at...)
	}
	for _, at := range all {
		slices.Sort(at)
	}
	return all
}

func (t *table) versions() map[string]string {
	v := make(map[string]string, len(t.entries))
	for name, a := range t.entries {
		v[name] = a.resource.GetVersion()
	}
	return v
}

// save keeps the table, in the form in which it came, for the next start.
func (t *table) save() error {
	resp := &discovery.DeltaDiscoveryResponse{TypeUrl: typeEndpoints}
	for _, a := range t.entries {
		resp.Resources = append(resp.Resources, a.resource)
	}
	content, err := proto.Marshal(resp)
	if err != nil {
		return fmt.Errorf("encode endpoints: %w", err)
	}
	return t.files.save(endpointsFile, content)
}

// load takes the endpoints of the last run.
func (t *table) load() error {
	content, err := t.files.load(endpointsFile)
	if err != nil || content == nil {
		return err
	}
	resp := &discovery.DeltaDiscoveryResponse{}
	if err := proto.Unmarshal(content, resp); err != nil {
		return fmt.Errorf("last endpoints: they are not readable: %w", err)
	}
	if err := t.accept(resp); err != nil {
		return fmt.Errorf("last endpoints: %w", err)
	}
	return nil
}
