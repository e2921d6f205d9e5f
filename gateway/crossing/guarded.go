package crossing

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Bounds of what an opening says of guards.
const (
	maxGuarded = 32 // of two policies
	maxRule    = 64 // bytes of a name of a guard's own
	// MaxFindings is how many findings of one guard a record names.
	MaxFindings = 16
)

// appendGuarded appends one of several, which is there even if it is empty or nil.
func appendGuarded(b []byte, n protowire.Number, g *crossingv1.Guarded) []byte {
	b, began := enter(b, n)
	b = appendText(b, 1, g.GetGuard())
	b = appendSigned(b, 2, int64(g.GetVerdict()))
	b = appendText(b, 3, g.GetRule())
	b = appendTexts(b, 4, g.GetFindings())
	b = appendDuration(b, 5, g.GetTook())
	b = appendText(b, 6, g.GetFault())
	return leave(b, began)
}

// guarded checks the fields of what a guard said.
func (c *fields) guarded(g *crossingv1.Guarded) {
	if g == nil {
		return
	}
	c.known(g)
	c.text("guard", g.Guard)
	value(c, "verdict", g.Verdict, crossingv1.Guarded_Verdict_name)
	c.text("rule", g.Rule)
	c.texts("findings", g.Findings)
	c.duration(g.Took)
	c.text("fault", g.Fault)
}

// checkGuarded holds what an opening says of guards: nothing that could be a piece of a
// content.
func checkGuarded(all []*crossingv1.Guarded) error {
	if len(all) > maxGuarded {
		return errors.New("too many guards")
	}
	for _, g := range all {
		switch fault := g.GetFault(); {
		case !IsRule(g.GetGuard()):
			return errors.New("a guard without a name")
		case (fault == "") != (g.GetVerdict() != crossingv1.Guarded_VERDICT_UNSPECIFIED):
			return errors.New("a guard with a verdict and a fault, or without either")
		case len(g.GetFindings()) > MaxFindings || g.GetRule() != "" && !IsRule(g.GetRule()) || !areRules(g.GetFindings()):
			return errors.New("a guard's rule or finding is not a short name")
		case !validDurations(g.GetTook()):
			return errors.New("a guard with an impossible duration")
		}
		if err := checkDetail(g.GetFault()); err != nil {
			return err
		}
	}
	return nil
}

func areRules(names []string) bool {
	for _, s := range names {
		if !IsRule(s) {
			return false
		}
	}
	return true
}

// IsRule says that a text is such a name as a guard's rules and findings have: 1 to 64 of a-z,
// 0-9, "-" and ".". That is too little for a piece of most contents.
func IsRule(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= maxRule
}
