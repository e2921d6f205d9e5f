package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/policy/address"
	"github.com/sallyport-mesh/sallyport/gateway/policy/costs"
	"github.com/sallyport-mesh/sallyport/gateway/policy/kept"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Policy is a policy ready to decide. It is immutable and safe for concurrent
// use; what its methods return is shared and must not be written to.
type Policy struct {
	ref     Ref
	name    string
	classes []string

	environments     []string // sorted
	owners           []string // of environments, by their index
	environmentIndex map[string]int
	domains          map[spiffeid.TrustDomain]int

	workloads []*Workload // by name
	patterns  []pattern   // of workloads, by their index
	byName    map[string]*Workload
	byHost    map[string]*Workload

	transitions []*Transition // from*len(environments)+to
	gateways    []Gateway
	byGateway   map[spiffeid.ID]int

	pins    map[string]Pins           // of tools, by intent
	digests map[string]Digests        // of intents that require one, by name
	limits  map[string][]limits.Limit // of intents that have any, by name
	costs   *costs.Costs

	intents  []intent // denies, allows, allows with obligations; each by name
	subjects []subject
	byID     map[spiffeid.ID]int32
	forms    map[spiffeid.TrustDomain]*trie
	callees  []bitset                // by workload
	services map[string]bitset       // intents about that service or any
	any      bitset                  // intents about any service
	kept     map[string]kept.Content // by intent
	data     []bitset                // intents about data of a class that leaves an environment: environment*classes+class
}

// Compile makes a policy ready to decide. It fails if the policy is not valid:
// the error is then Faults.
func Compile(p *policyv1.Policy, ref Ref) (*Policy, error) {
	if faults := Validate(p); len(faults) > 0 {
		return nil, faults
	}
	out := &Policy{ref: ref, name: p.GetPolicy(), classes: slices.Clone(p.GetDataClasses()), kept: kept.Of(p)}
	if err := out.addEnvironments(p); err != nil {
		return nil, err
	}
	if err := out.addWorkloads(p); err != nil {
		return nil, err
	}
	out.addTransitions(p)
	out.addIntents(p)
	out.addPins(p)
	out.addDigests(p)
	if err := out.addLimits(p); err != nil {
		return nil, err
	}
	out.index()
	return out, nil
}

func (p *Policy) addEnvironments(in *policyv1.Policy) error {
	p.environments = slices.Sorted(maps.Keys(in.GetEnvironments()))
	p.environmentIndex = map[string]int{}
	p.domains = map[spiffeid.TrustDomain]int{}
	for i, name := range p.environments {
		env := in.GetEnvironments()[name]
		td, err := spiffeid.TrustDomainFromString(env.GetTrustDomain())
		if err != nil {
			return fmt.Errorf("environment %s: %w", name, err)
		}
		p.environmentIndex[name], p.domains[td] = i, i
		p.owners = append(p.owners, env.GetOwner())
		for gw, g := range env.GetGateways() {
			id, err := GatewayID(td, gw)
			if err != nil {
				return fmt.Errorf("gateway %s: %w", gw, err)
			}
			p.gateways = append(p.gateways, Gateway{
				Name: gw, Environment: name, ID: id, Tunnel: g.GetTunnel(),
				Addresses: slices.Clone(g.GetAddresses()), DialOut: g.GetDialOut(),
			})
		}
	}
	slices.SortFunc(p.gateways, func(a, b Gateway) int { return strings.Compare(a.Name, b.Name) })
	p.byGateway = make(map[spiffeid.ID]int, len(p.gateways))
	for i := range p.gateways {
		p.byGateway[p.gateways[i].ID] = i
	}
	return nil
}

func (p *Policy) addWorkloads(in *policyv1.Policy) error {
	n := len(in.GetWorkloads())
	p.byName, p.byHost = make(map[string]*Workload, n), make(map[string]*Workload, n)
	for i, name := range slices.Sorted(maps.Keys(in.GetWorkloads())) {
		from := in.GetWorkloads()[name]
		form, err := parsePattern(from.GetId())
		if err != nil {
			return fmt.Errorf("workload %s: %w", name, err)
		}
		w, err := newWorkload(name, from, &form)
		if err != nil {
			return fmt.Errorf("workload %s: %w", name, err)
		}
		w.index, w.Environment = i, p.environments[p.domains[form.td]]
		p.workloads, p.patterns = append(p.workloads, w), append(p.patterns, form)
		p.byName[name], p.byHost[w.Host()] = w, w
	}
	return nil
}

func newWorkload(name string, in *policyv1.Workload, form *pattern) (*Workload, error) {
	w := &Workload{
		Name: name, ID: form.id, Owner: in.GetOwner(),
		DataClass: in.GetData().GetClass(), MayLabel: in.GetData().GetMayLabel(),
		Plaintext: in.GetPlaintext() != nil,
		Addresses: slices.Clone(in.GetAddresses()), Labels: maps.Clone(in.GetLabels()),
	}
	if !form.exact() {
		w.Pattern = form.text
	}
	for _, service := range slices.Sorted(maps.Keys(in.GetServes())) {
		s, err := parseService(service, in.GetServes()[service])
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", service, err)
		}
		if s.Hold, err = parseHold(in.GetHold()[service]); err != nil {
			s.Hold = DefaultHold
		}
		s.Credential = in.GetCredentials()[service]
		w.Services = append(w.Services, s)
	}
	return w, nil
}

func (p *Policy) addTransitions(in *policyv1.Policy) {
	n := len(p.environments)
	p.transitions = make([]*Transition, n*n)
	for _, t := range in.GetTransitions() {
		onCall := t.GetOnCall()
		if onCall == "" {
			onCall = in.GetTeams()[t.GetOwner()].GetContact()
		}
		p.transitions[p.environmentIndex[t.GetFrom()]*n+p.environmentIndex[t.GetTo()]] = &Transition{
			From: t.GetFrom(), To: t.GetTo(), Owner: t.GetOwner(), OnCall: onCall,
			Sink: t.GetSink(), ReviewBy: t.GetReviewBy(), Durable: t.GetRecord() != recordAsync, GoesOn: t.GetOutage() == outageAlarm,
		}
	}
}

// addIntents orders the intents so that the first that matches decides: any deny, then
// the allow that obliges to least. Limits weigh more than a guard, that more than a
// digest, and that more than a proof.
func (p *Policy) addIntents(in *policyv1.Policy) {
	for _, i := range in.GetIntents() {
		p.intents = append(p.intents, p.compileIntent(in, i))
	}
	slices.SortFunc(p.intents, func(a, b intent) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), strings.Compare(a.name, b.name))
	})
}

// Ref names the policy.
func (p *Policy) Ref() Ref { return p.ref }

// Name is the policy's own name.
func (p *Policy) Name() string { return p.name }

// DataClasses are the data classes in rising order.
func (p *Policy) DataClasses() []string { return p.classes }

// Kept is what is kept of the content of what an intent allows; false if nothing is.
func (p *Policy) Kept(intent string) (kept.Content, bool) {
	c, ok := p.kept[intent]
	return c, ok
}

// Environments are the names of the environments, sorted.
func (p *Policy) Environments() []string { return p.environments }

// Workload is the workload of that name; nil if there is none.
func (p *Policy) Workload(name string) *Workload { return p.byName[name] }

// Workloads are all workloads by name.
func (p *Policy) Workloads() []*Workload { return p.workloads }

// WorkloadByID is the workload with that SPIFFE ID, or the one whose pattern it
// has the form of; nil if there is none.
func (p *Policy) WorkloadByID(id spiffeid.ID) *Workload {
	i, _, reason := p.subjectOf(id)
	if reason != crossingv1.Reason_REASON_UNSPECIFIED {
		return nil
	}
	return p.subjects[i].workload
}

// EnvironmentOf is the environment of a trust domain.
func (p *Policy) EnvironmentOf(td spiffeid.TrustDomain) (string, bool) {
	i, ok := p.domains[td]
	if !ok {
		return "", false
	}
	return p.environments[i], true
}

// OwnerOf is the team that answers for an environment; "" if the policy does not
// know it.
func (p *Policy) OwnerOf(environment string) string {
	i, ok := p.environmentIndex[environment]
	if !ok {
		return ""
	}
	return p.owners[i]
}

// TransitionOf is the transition from one environment to another; nil if it is
// shut.
func (p *Policy) TransitionOf(from, to string) *Transition {
	i, ok := p.environmentIndex[from]
	j, known := p.environmentIndex[to]
	if !ok || !known {
		return nil
	}
	return p.transitions[i*len(p.environments)+j]
}

// Transitions are the open transitions, sorted by From and To.
func (p *Policy) Transitions() []*Transition {
	var open []*Transition
	for _, t := range p.transitions {
		if t != nil {
			open = append(open, t)
		}
	}
	return open
}

// Gateways are all gateways by name.
func (p *Policy) Gateways() []Gateway { return p.gateways }

// GatewayByID is the gateway with that SPIFFE ID; nil if it is none of the
// policy.
func (p *Policy) GatewayByID(id spiffeid.ID) *Gateway {
	i, ok := p.byGateway[id]
	if !ok {
		return nil
	}
	return &p.gateways[i]
}

// Resolve finds what a call is for by its authority, such as "llm.azure.mesh"
// or "llm.azure.mesh:8000". A port names the service that is served there.
// Without a port, or with the port that a scheme implies (80, 443), a workload
// that serves one thing is asked for that. The workload is returned even if the
// service is unknown.
func (p *Policy) Resolve(authority string) (*Workload, *Service, crossingv1.Reason) {
	host, port, given := strings.Cut(strings.ToLower(authority), ":")
	w := p.byHost[host]
	if w == nil {
		return nil, nil, crossingv1.Reason_UNKNOWN_DESTINATION
	}
	if given {
		if s := w.at(port); s != nil {
			return w, s, crossingv1.Reason_REASON_UNSPECIFIED
		}
	}
	if implied := !given || port == "80" || port == "443"; implied && len(w.Services) == 1 {
		return w, &w.Services[0], crossingv1.Reason_REASON_UNSPECIFIED
	}
	return w, nil, crossingv1.Reason_UNKNOWN_SERVICE
}

// at is the service at a port; nil if there is none.
func (w *Workload) at(port string) *Service {
	n, err := address.Port(port)
	if err != nil {
		return nil
	}
	for i := range w.Services {
		if w.Services[i].Port == n {
			return &w.Services[i]
		}
	}
	return nil
}
