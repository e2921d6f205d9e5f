// Package baseurl finds whom a request is for that was sent to a gateway's own address.
package baseurl

import (
	"net"
	"net/netip"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// meshSuffix ends the names that the policy resolves.
const meshSuffix = ".mesh"

// Resolve finds the destination of a request that was sent to the
// gateway's own address, as SDKs do whose base URL is all that can be set:
// http://127.0.0.1:8080/llm.azure.mesh:8000/v1 means /v1 of
// llm.azure.mesh:8000. A request that names its destination as its host is left
// as it is, and so is one whose path begins with no name of the mesh: its record
// says what was asked for.
func Resolve(head *l7.RequestHead) {
	if head.Method == "CONNECT" || !ownAddress(head.Authority) {
		return
	}
	authority, _, found := strings.Cut(strings.TrimPrefix(head.PathOnly(), "/"), "/")
	if !found || l7.CheckAuthority(authority) != nil || !meshName(authority) {
		return
	}
	head.Authority, head.Path = authority, head.Path[len("/")+len(authority):]
}

// meshName says that an authority is NAME.ENVIRONMENT.mesh, with or without a
// port.
func meshName(authority string) bool {
	host, _, _ := strings.Cut(authority, ":")
	return len(host) > len(meshSuffix) && strings.EqualFold(host[len(host)-len(meshSuffix):], meshSuffix)
}

// ownAddress says that a host is no name of the mesh: an IP address or localhost.
// What cannot be an address is not parsed as one: the error would cost memory.
func ownAddress(authority string) bool {
	if meshName(authority) {
		return false
	}
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	_, err = netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}
