package source

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// inShort says an intent or a transition in a phrase, for those who compare two;
// of anything else, and of nothing, it says nothing.
func inShort(m proto.Message) string {
	switch m := m.(type) {
	case *policyv1.Intent:
		return shortIntent(m)
	case *policyv1.Transition:
		return shortTransition(m)
	}
	return ""
}

// shortTransition is such as "owner ml-platform, sink siem, review by 2027-06-30".
func shortTransition(t *policyv1.Transition) string {
	words := []string{"owner " + t.GetOwner(), "sink " + t.GetSink(), "review by " + t.GetReviewBy()}
	if t.GetOnCall() != "" {
		words = append(words, "on call "+t.GetOnCall())
	}
	if t.GetRecord() != "" {
		words = append(words, "record "+t.GetRecord())
	}
	if t.GetOutage() != "" {
		words = append(words, "outage "+t.GetOutage())
	}
	return strings.Join(words, ", ")
}

// shortIntent is such as "allow orchestrator ─► llm chat, POST, /v1/*".
func shortIntent(in *policyv1.Intent) string {
	what, m := "allow", in.GetAllow()
	if in.GetDeny() != nil {
		what, m = "deny", in.GetDeny()
	}
	words := []string{strings.TrimSpace(what + " " + cmp.Or(m.GetFrom(), "*") + " ─► " + cmp.Or(m.GetTo(), "*") + " " + m.GetService())}
	add := func(prefix, text string) {
		if text != "" {
			words = append(words, prefix+text)
		}
	}
	add("", strings.Join(m.GetMethods(), "|"))
	add("", strings.Join(m.GetPaths(), "|"))
	add("data ", m.GetData())
	add("leaving ", strings.TrimPrefix(m.GetLeaving(), "environment:"))
	add("when ", in.GetWhen())
	for _, limit := range slices.Sorted(maps.Keys(in.GetLimits())) {
		add(limit+" ", in.GetLimits()[limit])
	}
	if in.GetIdempotent() {
		add("", "idempotent")
	}
	add("digest in ", in.GetRequire().GetDigest().GetIn())
	if in.GetRequire().GetWorkloadProof() {
		add("", proofWord)
	}
	add("guard ", in.GetRequire().GetGuard())
	add("from ", in.GetValid().GetNotBefore())
	add("until ", in.GetValid().GetNotAfter())
	add("owner ", in.GetOwner())
	return strings.Join(words, ", ")
}
