package unmatched

import (
	"fmt"
	"strings"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/statements"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// disagree says in what two halves differ, with what each of them has.
func disagree(h join.Halves) string {
	egress, ingress := statements.Short(h.Key().GetEgress()), statements.Short(h.Key().GetIngress())
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
	v := openingValue(a.Open, field)
	if v == nil {
		v = askValue(a.Open.GetOperation(), field)
	}
	if v == nil {
		v = endValue(a.Close, field)
	}
	if v == nil {
		v = saidValue(a.Close.GetSaid(), field)
	}
	switch text := fmt.Sprint(v); {
	case v == nil:
		return ""
	case text == "":
		return "none"
	default:
		return text
	}
}

func openingValue(o *crossingv1.Half, field string) any {
	switch field {
	case "id":
		return o.GetId()
	case "evidence.run":
		return o.GetKey().GetRun()
	case "evidence.sequence":
		return o.GetKey().GetSequence()
	case "source":
		return o.GetSource()
	case "destination":
		return o.GetDestination()
	case "trace":
		return o.GetTrace()
	case "transition.from":
		return o.GetTransition().GetFrom()
	case "transition.to":
		return o.GetTransition().GetTo()
	case "transition.owner":
		return o.GetTransition().GetOwner()
	case "operation.service":
		return o.GetOperation().GetService()
	case "operation.name":
		return o.GetOperation().GetName()
	case "operation.authority":
		return o.GetOperation().GetAuthority()
	case "proof":
		return o.GetEnd().GetProof()
	case "decision":
		return o.GetEnd().GetDecision()
	}
	return nil
}

func endValue(c *crossingv1.Close, field string) any {
	switch field {
	case "close":
		return c.GetCause()
	case "requestBytes":
		return c.GetRequestBytes()
	case "responseBytes":
		return c.GetResponseBytes()
	case "status":
		return c.GetStatus()
	case "answerClass":
		return c.GetAnswerClass()
	case "answerLabeler":
		return c.GetAnswerLabeler()
	case "transfer.id":
		return c.GetTransfer().GetId()
	case "transfer.extent":
		return c.GetTransfer().GetExtent()
	case "transfer.first":
		return c.GetTransfer().GetFirst()
	case "transfer.digested":
		return c.GetTransfer().GetDigested()
	case "transfer.contentSha256":
		return c.GetTransfer().GetContentSha256()
	}
	return nil
}
