package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/policy/address"
	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

// Protocols are what a service may speak.
func Protocols() []string {
	return []string{"http", "grpc", "openai", "anthropic", "mcp", "a2a", "oci", "s3", "hub", "kserve", TCP, TLS}
}

// callsTools says that what a protocol carries are calls of tools, which do
// something each time they are made.
func callsTools(protocol string) bool { return protocol == "mcp" || protocol == "a2a" }

// TCP is the protocol of a service whose bytes nobody reads.
const TCP = "tcp"

// TLS is the protocol of a service that is called by TLS alone, which passes
// through the gateways as it is: they hold it to be TLS, for that very server.
const TLS = "tls"

// parseService reads PROTOCOL://[HOST]:PORT[/PATH].
func parseService(name, text string) (Service, error) {
	protocol, rest, ok := strings.Cut(text, "://")
	if !ok {
		return Service{}, fmt.Errorf("%q is not PROTOCOL://[HOST]:PORT[/PATH]", text)
	}
	if !slices.Contains(Protocols(), protocol) {
		return Service{}, fmt.Errorf("unknown protocol %q%s", protocol, nearest.Hint(protocol, Protocols()))
	}
	s := Service{Name: name, Protocol: protocol}
	where := rest
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		where, s.Path = rest[:i], rest[i:]
	}
	if s.Path == "/" {
		s.Path = ""
	}
	if err := checkPath(s.Path); s.Path != "" && err != nil {
		return Service{}, err
	}
	if s.Path != "" && (protocol == TCP || protocol == TLS) {
		return Service{}, fmt.Errorf("a %s service has no path", protocol)
	}
	i := strings.LastIndexByte(where, ':')
	if i < 0 {
		return Service{}, fmt.Errorf("%q names no port", text)
	}
	var err error
	s.Host = strings.TrimSuffix(strings.TrimPrefix(where[:i], "["), "]")
	if s.Port, err = address.Port(where[i+1:]); err != nil {
		return Service{}, err
	}
	return s, address.CheckHost(s.Host)
}

// checkPath accepts an absolute path without a query, in the form in which
// paths are compared.
func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("path %q does not begin with /", path)
	}
	if strings.ContainsAny(path, "?#\\; ") {
		return fmt.Errorf("path %q: a query, a fragment, a backslash, a semicolon or a space is no part of a path", path)
	}
	for _, c := range []byte(path) {
		if c < 0x21 || c > 0x7e {
			return fmt.Errorf("path %q: characters beyond ASCII are written as escapes", path)
		}
	}
	if plainPath(path) != path {
		return fmt.Errorf("path %q is written %q", path, plainPath(path))
	}
	if strings.Contains(path, "//") || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
		return fmt.Errorf("path %q has an empty or a dot segment, which no request has", path)
	}
	return nil
}
