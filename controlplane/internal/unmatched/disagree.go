package unmatched

import (
	"fmt"
	"strings"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
)

// disagree says in what two halves differ, with what each of them has.
func disagree(h join.Halves) string {
	egress, ingress := short(h.Key().GetEgress()), short(h.Key().GetIngress())
	words := make([]string, 0, len(h.Record.GetDifferences()))
	for _, field := range h.Record.GetDifferences() {
		at, there := value(h.Egress, field), value(h.Ingress, field)
		if at == there { // it is not one of those that can be shown
			words = append(words, field)
			continue
		}
		words = append(words, fmt.Sprintf("%s: %s at %s, %s at %s", field, at, egress, there, ingress))
	}
	said := "both have it; they differ in " + strings.Join(words, "; ")
	if stopped := stop(h); stopped != "" {
		said = stopped + "; " + said
	}
	return said
}

// value is what an account has in a field that both must have alike, by its name in
// the record; "" if it is none of those that are shown.
func value(a crossing.Account, field string) string {
	o, c := a.Open, a.Close
	var v any
	switch field {
	case "id":
		v = o.GetId()
	case "evidence.run":
		v = o.GetKey().GetRun()
	case "evidence.sequence":
		v = o.GetKey().GetSequence()
	case "source":
		v = o.GetSource()
	case "destination":
		v = o.GetDestination()
	case "trace":
		v = o.GetTrace()
	case "transition.from":
		v = o.GetTransition().GetFrom()
	case "transition.to":
		v = o.GetTransition().GetTo()
	case "transition.owner":
		v = o.GetTransition().GetOwner()
	case "operation.service":
		v = o.GetOperation().GetService()
	case "operation.name":
		v = o.GetOperation().GetName()
	case "operation.authority":
		v = o.GetOperation().GetAuthority()
	case "proof":
		v = o.GetEnd().GetProof()
	case "decision":
		v = o.GetEnd().GetDecision()
	case "close":
		v = c.GetCause()
	case "requestBytes":
		v = c.GetRequestBytes()
	case "responseBytes":
		v = c.GetResponseBytes()
	case "status":
		v = c.GetStatus()
	case "transfer.id":
		v = c.GetTransfer().GetId()
	case "transfer.extent":
		v = c.GetTransfer().GetExtent()
	case "transfer.first":
		v = c.GetTransfer().GetFirst()
	case "transfer.digested":
		v = c.GetTransfer().GetDigested()
	case "transfer.contentSha256":
		v = c.GetTransfer().GetContentSha256()
	default:
		return ""
	}
	if text := fmt.Sprint(v); text != "" {
		return text
	}
	return "none"
}

// short is the last segment of a gateway's SPIFFE ID: its name.
func short(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
