package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

// Protocols are what a service may speak.
func Protocols() []string {
	return []string{"http", "grpc", "openai", "anthropic", "mcp", "a2a", "oci", "s3", "kserve", TCP, TLS}
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
	address := rest
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		address, s.Path = rest[:i], rest[i:]
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
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return Service{}, fmt.Errorf("%q names no port", text)
	}
	var err error
	s.Host = strings.TrimSuffix(strings.TrimPrefix(address[:i], "["), "]")
	if s.Port, err = parsePort(address[i+1:]); err != nil {
		return Service{}, err
	}
	return s, checkHost(s.Host)
}

// parsePort reads a port in decimal, without sign or leading zero.
func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16) // which takes no sign
	if err != nil || text[0] == '0' {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", text)
	}
	return uint16(n), nil
}

// checkHost accepts nothing, an IP address or a DNS name.
func checkHost(host string) error {
	if host == "" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if len(host) > 253 {
		return fmt.Errorf("host %q is longer than 253 characters", host)
	}
	for label := range strings.SplitSeq(host, ".") {
		if !dnsLabel(label) {
			return fmt.Errorf("host %q is neither an IP address nor a DNS name", host)
		}
	}
	return nil
}

// checkHostPort accepts HOST:PORT with both present.
func checkHostPort(text string) error {
	i := strings.LastIndexByte(text, ':')
	if i <= 0 {
		return fmt.Errorf("%q is not HOST:PORT", text)
	}
	if _, err := parsePort(text[i+1:]); err != nil {
		return err
	}
	host := text[:i]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	} else if strings.Contains(host, ":") {
		return fmt.Errorf("%q: an IPv6 address stands in brackets", text)
	}
	if host == "" {
		return fmt.Errorf("%q is not HOST:PORT", text)
	}
	return checkHost(host)
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

// dnsLabel says whether a name is a DNS label in lower case (RFC 1123 2.1).
func dnsLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
