package exchange

import (
	"net"
	"net/netip"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// fromBaseURL finds the destination of a request that was sent to the
// gateway's own address, as SDKs do whose base URL is all that can be set:
// http://127.0.0.1:8080/llm.azure.mesh:8000/v1 means /v1 of
// llm.azure.mesh:8000. A request that names its destination as its host is
// left as it is.
func fromBaseURL(head *l7.RequestHead) {
	if head.Method == "CONNECT" || !ownAddress(head.Authority) {
		return
	}
	authority, _, found := strings.Cut(strings.TrimPrefix(head.PathOnly(), "/"), "/")
	if !found || l7.CheckAuthority(authority) != nil {
		return
	}
	head.Authority, head.Path = authority, head.Path[len("/")+len(authority):]
}

// ownAddress says that a host is no name of the mesh: an IP address or localhost.
func ownAddress(authority string) bool {
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
