package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/policy/address"
	"github.com/sallyport-mesh/sallyport/gateway/policy/kept"
	"github.com/sallyport-mesh/sallyport/gateway/policy/network"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

const (
	formVersion   = 1
	recordDurable = "durable"
	recordAsync   = "async"
	outageRefuse  = "refuse"
	outageAlarm   = "alarm"
	storeView     = "view"

	// maxPatterns bounds the workloads whose id is a pattern: each is compared
	// with every other.
	maxPatterns = 4096
	// maxClasses bounds the data classes.
	maxClasses = 64
)

// Validate says all that is wrong with a policy, whatever the day; ValidateDates
// judges dates. A policy without faults compiles.
func Validate(p *policyv1.Policy) Faults {
	v := &validator{
		p: p, domains: map[spiffeid.TrustDomain]string{}, nets: network.Of(p),
		teamNames:        slices.Sorted(maps.Keys(p.GetTeams())),
		environmentNames: slices.Sorted(maps.Keys(p.GetEnvironments())),
		workloadNames:    slices.Sorted(maps.Keys(p.GetWorkloads())),
	}
	v.head()
	v.sinks()
	v.environments()
	v.workloads()
	v.transitions()
	v.lists()
	v.costs()
	v.guards()
	v.intents()
	v.exceptions()
	v.tests()
	for path, message := range kept.Faults(p) {
		v.fault(path, "%s", message)
	}
	return v.faults.sorted()
}

// validator collects faults.
type validator struct {
	p       *policyv1.Policy
	faults  Faults
	domains map[spiffeid.TrustDomain]string // environment of a trust domain
	nets    *network.Set

	teamNames, environmentNames, workloadNames []string // sorted
}

func (v *validator) fault(path, format string, args ...any) { v.faults.add(path, format, args...) }

// repeats is a fault of something that stands at first already.
func (v *validator) repeats(path, first, format string, args ...any) {
	v.fault(path, format, args...)
	if n := len(v.faults); v.faults[n-1].Path == path { // else they are too many already
		v.faults[n-1].First = first
	}
}

// name demands a DNS label.
func (v *validator) name(path, what, name string) {
	if !address.IsLabel(name) {
		v.fault(path, "%s %q: a name is a DNS label: lower-case letters, digits and hyphens, at most 63", what, name)
	}
}

// team demands a reference to a team. Consequence says what follows if there is
// none.
func (v *validator) team(path, subject, role, team, consequence string) {
	if team == "" {
		v.fault(path, "%s: no %s. %s", subject, role, consequence)
		return
	}
	v.reference(path, subject, "team", team, v.teamNames)
}

// reference demands a name among those that exist.
func (v *validator) reference(path, subject, what, name string, known []string) {
	if _, ok := slices.BinarySearch(known, name); !ok {
		v.fault(path, "%s: unknown %s %q%s", subject, what, name, nearest.Hint(name, known))
	}
}

func (v *validator) head() {
	if v.p.GetVersion() != formVersion {
		v.fault("version", "version %d: this form of the policy is version %d", v.p.GetVersion(), formVersion)
	}
	v.name("policy", "policy", v.p.GetPolicy())
	if len(v.p.GetDataClasses()) > maxClasses {
		v.fault("dataClasses", "%d data classes: at most %d", len(v.p.GetDataClasses()), maxClasses)
	}
	seen := map[string]bool{}
	for i, c := range v.p.GetDataClasses() {
		v.name(at("dataClasses", i), "data class", c)
		if seen[c] {
			v.fault(at("dataClasses", i), "data class %s: listed twice", c)
		}
		seen[c] = true
	}
	for name := range v.p.GetTeams() {
		v.name(key("teams", name), "team", name)
	}
}

func (v *validator) class(path, subject, class string) {
	if !slices.Contains(v.p.GetDataClasses(), class) {
		v.fault(path, "%s: unknown data class %q%s", subject, class, nearest.Hint(class, v.p.GetDataClasses()))
	}
}

func (v *validator) sinks() {
	for name, s := range v.p.GetSinks() {
		path, subject := key("sinks", name), "sink "+name
		v.name(path, "sink", name)
		set := 0
		for _, f := range [...]struct{ field, url string }{{"ocsf", s.GetOcsf()}, {"otlp", s.GetOtlp()}} {
			if f.url == "" {
				continue
			}
			set++
			if !strings.HasPrefix(f.url, "https://") && !strings.HasPrefix(f.url, "http://") {
				v.fault(key(path, f.field), "%s: %q is not an http or https URL", subject, f.url)
			}
		}
		if s.GetSyslog() != "" {
			set++
			if err := address.CheckHostPort(s.GetSyslog()); err != nil {
				v.fault(key(path, "syslog"), "%s: %v", subject, err)
			}
		}
		if s.GetStore() != "" {
			set++
			if s.GetStore() != storeView {
				v.fault(key(path, "store"), "%s: unknown store %q; the only one is %q", subject, s.GetStore(), storeView)
			}
		}
		if set != 1 {
			v.fault(path, "%s: exactly one of ocsf, otlp, syslog and store, not %d", subject, set)
		}
	}
}

func (v *validator) transitions() {
	seen := map[[2]string]string{}
	for i, t := range v.p.GetTransitions() {
		path := at("transitions", i)
		subject := "transition " + t.GetFrom() + " ─► " + t.GetTo()
		pair := [2]string{t.GetFrom(), t.GetTo()}
		if first, twice := seen[pair]; twice {
			v.repeats(path, first, "%s: stands twice", subject)
		} else {
			seen[pair] = path
		}
		v.transition(path, subject, t)
	}
}

func (v *validator) transition(path, subject string, t *policyv1.Transition) {
	v.reference(key(path, "from"), subject, "environment", t.GetFrom(), v.environmentNames)
	v.reference(key(path, "to"), subject, "environment", t.GetTo(), v.environmentNames)
	if t.GetFrom() == t.GetTo() {
		v.fault(key(path, "to"), "%s: a transition leads from one environment to another", subject)
	}
	v.team(key(path, "owner"), subject, "owner", t.GetOwner(),
		"Name the team that answers for it, or delete the transition.")
	if t.GetSink() == "" {
		v.fault(key(path, "sink"), "%s: no sink. Say where its log entries land, or delete the transition.", subject)
	} else {
		v.reference(key(path, "sink"), subject, "sink", t.GetSink(), slices.Sorted(maps.Keys(v.p.GetSinks())))
	}
	if t.GetReviewBy() == "" {
		v.fault(key(path, "reviewBy"), "%s: no reviewBy. Say by which day its owner looks at it again.", subject)
	} else if _, err := parseDate(t.GetReviewBy()); err != nil {
		v.fault(key(path, "reviewBy"), "%s: reviewBy %q is not a date YYYY-MM-DD", subject, t.GetReviewBy())
	}
	if r := t.GetRecord(); r != "" && r != recordDurable && r != recordAsync {
		v.fault(key(path, "record"), "%s: record is %s or %s, not %q", subject, recordDurable, recordAsync, r)
	}
	if o := t.GetOutage(); o != "" && o != outageRefuse && o != outageAlarm {
		v.fault(key(path, "outage"), "%s: outage is %s or %s, not %q. Say whether calls may go on while a gateway cannot write their records.",
			subject, outageRefuse, outageAlarm, o)
	}
}

func (v *validator) lists() {
	for name, l := range v.p.GetLists() {
		path, subject := key("lists", name), "list "+name
		v.name(path, "list", name)
		v.tools(key(path, "tools"), subject, l.GetTools())
		for i, d := range l.GetDigests() {
			if !isDigest(d) {
				v.fault(at(key(path, "digests"), i), "%s: %q is not a digest such as sha256:HEX in lower case", subject, d)
			}
		}
	}
}

// isDigest says whether a text is ALGORITHM:HEX of the algorithm's length.
func isDigest(text string) bool {
	algorithm, digits, _ := strings.Cut(text, ":")
	lengths := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}
	return len(digits) > 0 && len(digits) == lengths[algorithm] && strings.Trim(digits, "0123456789abcdef") == ""
}
