package render

import (
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// guarded is what a guard said, such as "guard dlp refused it by rule dlp.cards, after
// 2 ms; it found card-number".
func guarded(g *crossingv1.Guarded) string {
	text := "guard " + g.GetGuard()
	switch g.GetVerdict() {
	case crossingv1.Guarded_PASS:
		text += " let it pass"
	case crossingv1.Guarded_REFUSE:
		text += " refused it"
	default:
		text += " gave no verdict: " + g.GetFault()
	}
	if g.GetRule() != "" {
		text += " by rule " + g.GetRule()
	}
	text += ", after " + span(g.GetTook())
	if len(g.GetFindings()) > 0 {
		text += "; it found " + strings.Join(g.GetFindings(), ", ")
	}
	return text
}
