// Package naming makes the texts that a gateway has of a crossing beside its record: its id,
// its trace, who calls, and what was asked for. Those of one crossing are parts of one
// string, for they are wanted for as long.
package naming

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Out are the texts that an egress gateway makes of a crossing.
type Out struct {
	ID          string // a UUIDv7
	Traceparent string
	Address     string // of the caller
	Operation   string // method and path, or of a gRPC call its full name; never a query
}

// usual holds the texts of nearly all crossings, in bytes.
const usual = 256

// New names a crossing that began now.
func New(now time.Time, trace l7.Traceparent, caller netip.AddrPort, head *l7.RequestHead) Out {
	var room [usual]byte
	b := crossing.AppendID(room[:0], now)
	id := len(b)
	b = trace.AppendTo(b)
	traceparent := len(b)
	b = caller.AppendTo(b)
	address := len(b)
	all := string(appendOperation(b, head))
	return Out{all[:id], all[id:traceparent], all[traceparent:address], all[address:]}
}

// In are the texts that an ingress gateway makes of a crossing. They are used again where
// the next crossing is alike.
type In struct {
	all         string
	Operation   string // as in Out
	XFCC        string // who calls, for the workload
	Traceparent string
}

// Make makes them of a header that was checked.
func (n *In) Make(self spiffeid.ID, h *crossingv1.Header, trace l7.Traceparent, head *l7.RequestHead) {
	var room [2 * usual]byte
	b := appendOperation(room[:0], head)
	operation := len(b)
	b = l7.AppendXFCC(b, self.String(), h.GetSource(), h.GetSourceSvid())
	all := l7.Again(n.all, b)
	*n = In{all, all[:operation], all[operation:], h.GetTraceparent()}
	if said := trace.AppendTo(b[:0]); string(said) != n.Traceparent {
		n.Traceparent = string(said) // it was of a later version, or has more flags
	}
}

// Kept is what the next crossing may use again.
func (n *In) Kept() In {
	if len(n.all) > 2*usual {
		return In{}
	}
	return In{all: n.all}
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

// Trace continues the caller's trace, or begins one, without the caller's
// state (Trace Context, section 3.3.1.1).
func Trace(f *l7.Fields) l7.Traceparent {
	if t, ok := l7.ParseTraceparent(f.Get("traceparent")); ok {
		return t.Child()
	}
	f.Del("tracestate")
	return l7.NewTraceparent()
}

// State is the trace state for the crossing's header, which has no room
// for more than the standard asks of everybody, nor for other than text.
func State(f l7.Fields) string {
	const longest = 512
	state := f.Get("tracestate")
	if len(state) > longest || !utf8.ValidString(state) {
		return ""
	}
	return state
}
