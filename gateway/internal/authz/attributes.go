package authz

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/artifact"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// attributes reads from the head what the policy may ask for, and says what is
// wrong with it, "" if nothing. A byte stream has none: an allow that asks for
// one does not match it, and a deny does.
func attributes(a *policy.Attributes, s *policy.Service, head *l7.RequestHead) (fault string) {
	a.SetString(policy.Protocol, s.Protocol)
	switch {
	case head.Method == "CONNECT":
		return ""
	case s.Protocol == policy.TLS:
		return "a service that is called by TLS alone takes CONNECT alone"
	}
	path := head.PathOnly()
	if !unambiguous(path) {
		return "the path can be read in more than one way"
	}
	a.SetString(policy.HTTPMethod, head.Method)
	a.SetString(policy.HTTPPath, path)
	if head.IsGRPC() {
		service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if !ok || service == "" || method == "" || strings.Contains(method, "/") {
			return "the path of a gRPC call is not /SERVICE/METHOD"
		}
		a.SetString(policy.GRPCService, service)
		a.SetString(policy.GRPCMethod, method)
	}
	what := artifact.Of(s.Protocol, head)
	what.Describe(a)
	return ""
}

// unambiguous says that every reader of the path sees the same segments: no
// empty or dot segments (RFC 3986 section 5.2.4), no backslash, nothing that is
// no visible ASCII, and no escape that hides a separator, a dot, another escape
// or, in an overlong encoding (RFC 3629 section 10), any of them.
func unambiguous(path string) bool {
	if path == "*" {
		return true
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok || strings.ContainsAny(path, "\\;?#") || !plainEscapes(path) {
		return false
	}
	for {
		segment, after, more := strings.Cut(rest, "/")
		if segment == "." || segment == ".." || segment == "" && more {
			return false
		}
		if !more {
			return true
		}
		rest = after
	}
}

// plainEscapes says that a path is visible ASCII and its escapes are whole and
// hide nothing.
func plainEscapes(path string) bool {
	for i := range len(path) {
		switch {
		case path[i] <= ' ' || path[i] >= 0x7f:
			return false
		case path[i] != '%':
			continue
		case i+2 >= len(path):
			return false
		}
		switch strings.ToLower(path[i+1 : i+3]) {
		case "2f", "2e", "5c", "25", "3b", "3f", "23":
			return false
		}
	}
	plain, err := url.PathUnescape(path)
	return err == nil && utf8.ValidString(plain) && strings.IndexFunc(plain, unicode.IsControl) < 0
}
