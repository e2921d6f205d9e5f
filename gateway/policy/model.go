package policy

import (
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Ref names a policy: its place in the order and its content.
type Ref struct {
	Serial   uint64
	Revision string // "sha256:HEX"
}

// Transition is an ordered pair of environments that may be crossed at all, and
// who answers for it.
type Transition struct {
	From, To string // environments, of the caller and of the callee
	Owner    string // the team that answers for it
	OnCall   string // who is called at night: its own, else the owner's contact
	Sink     string // where its log entries land
	ReviewBy string // date, YYYY-MM-DD
	// Durable says that an opening must be on stable storage before the first
	// byte is forwarded.
	Durable bool
	// GoesOn says that it may be crossed while a gateway cannot write records: they
	// wait in its memory, and whatever ends the process then takes them along.
	GoesOn bool
}

// Workload is a program of an environment with a SPIFFE ID.
type Workload struct {
	Name        string
	Environment string
	// ID is its SPIFFE ID; zero if Pattern is set.
	ID spiffeid.ID
	// Pattern is set instead of ID if it stands for any ID of that form. Such a
	// workload calls and never serves.
	Pattern   string
	Owner     string            // the team that answers for it
	DataClass string            // of what it sends; "" if unlabelled, which counts as the last
	MayLabel  bool              // it may label single requests of its environment otherwise
	Plaintext bool              // its gateway may reach it without TLS
	Addresses []string          // where the policy says it is
	Labels    map[string]string // never written to
	Services  []Service         // what it serves, by name

	index int
}

// Host is the name by which workloads call it: NAME.ENVIRONMENT.mesh.
func (w *Workload) Host() string { return w.Name + "." + w.Environment + ".mesh" }

// Service finds a service by its name; nil if it serves none of that name.
func (w *Workload) Service(name string) *Service {
	for i := range w.Services {
		if w.Services[i].Name == name {
			return &w.Services[i]
		}
	}
	return nil
}

// Serves says whether a TLS client that wants that service of the workload may
// name this server: the workload by its host name or, where the policy says at
// which host the service is, that host.
func (w *Workload) Serves(s *Service, server string) bool {
	return strings.EqualFold(server, w.Host()) || s.Host != "" && strings.EqualFold(server, s.Host)
}

// Service is something that a workload serves.
type Service struct {
	Name     string
	Protocol string // http, grpc, openai, anthropic, mcp, a2a, oci, s3, hub, kserve, tcp or tls
	Host     string // where it is, if not at the workload's addresses
	Port     uint16
	Path     string // where on the host its API begins; "" for the root
	Hold     int    // how much of a request's content is held until it is known what it asks for, in bytes
	// Credential is the name of the secret that its gateway shows it in place of what
	// callers send; "" if it shows none.
	Credential string
}

// takesCredential says whether what is asked of the service has a head that a secret can
// be set in: bytes have none, and a request to S3 is signed as its caller made it.
func (s *Service) takesCredential() bool {
	return s.Protocol != TCP && s.Protocol != TLS && s.Protocol != "s3"
}

// Gateway is one data-plane process at an environment's edge.
type Gateway struct {
	Name        string
	Environment string
	ID          spiffeid.ID
	Tunnel      string   // HOST:PORT that peer gateways dial; "" if none
	Addresses   []string // of its host
	DialOut     bool     // it has no inbound ports and dials its peers
}

// GatewayID is the SPIFFE ID of a gateway of that name in a trust domain.
func GatewayID(td spiffeid.TrustDomain, name string) (spiffeid.ID, error) {
	return spiffeid.FromSegments(td, "sallyport", "gateway", name)
}
