package policy

import (
	"math"
	"slices"
	"strings"
	"time"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// intent is one allow or deny, ready to be evaluated.
type intent struct {
	notBefore int64 // in microseconds since 1970
	notAfter  int64
	deny      bool
	limited   bool   // by budgets
	digest    bool   // content must be of a listed digest
	pinned    bool   // tools must be as they are known
	proof     bool   // what it allows the caller must prove to call
	again     bool   // what it allows may be asked for twice
	guard     *Guard // that must let contents pass; nil for none
	methods   []string
	exact     []string // paths
	below     []string // path prefixes, each ending in "/"
	when      *condition
	from, to  selector
	service   string // "" for any
	class     int    // the lowest data class that matches; 0 for any
	leaving   int    // an environment, or -1
	name      string
	text      string // of when
}

// compileIntent compiles what Validate has accepted.
func (p *Policy) compileIntent(of *policyv1.Policy, in *policyv1.Intent) intent {
	m := in.GetAllow()
	out := intent{
		name: in.GetName(), leaving: -1, text: in.GetWhen(),
		limited: len(in.GetLimits()) > 0,
		digest:  in.GetRequire().GetDigest() != nil,
		pinned:  in.GetRequire().GetTools() != nil,
		proof:   in.GetRequire().GetWorkloadProof(),
		again:   in.GetIdempotent(),
		guard:   guardOf(of, in.GetRequire().GetGuard()),
	}
	if in.GetDeny() != nil {
		m, out.deny = in.GetDeny(), true
	}
	out.from, _ = parseSelector(m.GetFrom())
	out.to, _ = parseSelector(m.GetTo())
	out.service, out.methods = m.GetService(), m.GetMethods()
	for _, path := range m.GetPaths() {
		if below, ok := strings.CutSuffix(path, "*"); ok {
			out.below = append(out.below, below)
		} else {
			out.exact = append(out.exact, path)
		}
	}
	out.class = max(slices.Index(p.classes, m.GetData()), 0)
	if env, ok := strings.CutPrefix(m.GetLeaving(), "environment:"); ok {
		out.leaving = p.environmentIndex[env]
	}
	out.notBefore, out.notAfter = validity(in.GetValid())
	if in.GetCondition() != nil {
		c := compileCondition(in.GetCondition(), p.classes)
		out.when = &c
	}
	return out
}

// rank is before which others it decides: those of a higher one.
func (in *intent) rank() (rank int) {
	if in.deny {
		return 0
	}
	for i, obliges := range [...]bool{in.proof, in.digest, in.guard != nil, in.limited || in.pinned} {
		if obliges {
			rank |= 1 << i
		}
	}
	return 1 + rank
}

// validity is when an intent holds: from the first instant to before the second.
func validity(v *policyv1.Validity) (from, until int64) {
	from, until = math.MinInt64, math.MaxInt64
	if t, err := time.Parse(time.RFC3339, v.GetNotBefore()); err == nil {
		from = t.UnixMicro()
	}
	if t, err := time.Parse(time.RFC3339, v.GetNotAfter()); err == nil {
		until = t.UnixMicro()
	}
	return from, until
}

// about says whether the intent is about that caller at that time: what it can
// say without the call's attributes and beyond the sets it is in.
func (in *intent) about(k *call) bool {
	if k.now < in.notBefore || k.now >= in.notAfter {
		return false
	}
	return k.exact || in.from.how != byPattern || in.from.pattern.match(k.from)
}

// leaves says whether the intent is about data of a class that leaves an
// environment. Intents that do not speak of data are about all.
func (in *intent) leaves(environment, class int) bool {
	return class >= in.class && (in.leaving < 0 || in.leaving == environment)
}

// truth says whether the intent matches the call, whose caller, callee, service
// and data are known to fit.
func (in *intent) truth(k *call) truth {
	if !in.about(k) {
		return no
	}
	t := in.method(k)
	if t != no {
		t = both(t, in.path(k))
	}
	if t != no && in.when != nil {
		t = both(t, in.when.truth(k))
	}
	return t
}

func (in *intent) method(k *call) truth {
	if len(in.methods) == 0 {
		return yes
	}
	v := &k.values[HTTPMethod]
	if !v.known {
		return maybe
	}
	return known(slices.Contains(in.methods, v.text))
}

func (in *intent) path(k *call) truth {
	if len(in.exact) == 0 && len(in.below) == 0 {
		return yes
	}
	v := &k.values[HTTPPath]
	if !v.known {
		return maybe
	}
	if slices.Contains(in.exact, v.text) {
		return yes
	}
	for _, below := range in.below {
		if strings.HasPrefix(v.text, below) {
			return yes
		}
	}
	return no
}
