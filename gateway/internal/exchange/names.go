package exchange

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// names are the texts that an egress gateway makes of a crossing: parts of one
// string, for they are wanted for as long.
type names struct {
	id          string
	traceparent string
	address     string // of the caller
	operation   string
}

// usualNames holds the names of nearly all crossings, in bytes.
const usualNames = 256

// newNames names a crossing that began now.
func newNames(now time.Time, trace l7.Traceparent, caller netip.AddrPort, head *l7.RequestHead) names {
	var room [usualNames]byte
	b := crossing.AppendID(room[:0], now)
	id := len(b)
	b = trace.AppendTo(b)
	traceparent := len(b)
	b = caller.AppendTo(b)
	address := len(b)
	all := string(appendOperation(b, head))
	return names{all[:id], all[id:traceparent], all[traceparent:address], all[address:]}
}

// inNames are the texts that an ingress gateway makes of a crossing, parts of one
// that is used again where the next crossing is alike.
type inNames struct {
	all         string
	operation   string
	xfcc        string // who calls, for the workload
	traceparent string
}

// make makes them of a header that was checked.
func (n *inNames) make(self spiffeid.ID, h *crossingv1.Header, trace l7.Traceparent, head *l7.RequestHead) {
	var room [2 * usualNames]byte
	b := appendOperation(room[:0], head)
	operation := len(b)
	b = l7.AppendXFCC(b, self.String(), h.GetSource(), h.GetSourceSvid())
	all := l7.Again(n.all, b)
	*n = inNames{all, all[:operation], all[operation:], h.GetTraceparent()}
	if said := trace.AppendTo(b[:0]); string(said) != n.traceparent {
		n.traceparent = string(said) // it was of a later version, or has more flags
	}
}

// kept is what the next crossing may use again.
func (n *inNames) kept() inNames {
	if len(n.all) > 2*usualNames {
		return inNames{}
	}
	return inNames{all: n.all}
}

// appendOperation appends method and path, or of a gRPC call its full name; never
// a query.
func appendOperation(b []byte, head *l7.RequestHead) []byte {
	switch {
	case head.Method == http.MethodConnect:
		return append(b, http.MethodConnect...)
	case head.IsGRPC():
		return append(b, strings.TrimPrefix(head.PathOnly(), "/")...)
	}
	before := len(b)
	b = append(append(append(b, head.Method...), ' '), head.PathOnly()...)
	name := bytes.TrimSpace(b[before:]) // a head that is not well formed may lack either
	return append(b[:before], name...)
}
