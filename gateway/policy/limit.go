package policy

import (
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/policy/costs"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Limits are those of each caller of an intent, by what they count; none if the intent
// has none, or is not known.
func (p *Policy) Limits(intent string) []limits.Limit { return p.limits[intent] }

// Limited says whether any intent has limits.
func (p *Policy) Limited() bool { return len(p.limits) > 0 }

// CostOf is what a call of a model costs, in millionths of the policy's units. See package
// costs.
func (p *Policy) CostOf(model string, input, output int64) (micro int64) {
	return p.costs.Of(model, input, output)
}

// addLimits compiles what Validate has accepted.
func (p *Policy) addLimits(in *policyv1.Policy) (err error) {
	p.limits, p.costs = map[string][]limits.Limit{}, costs.Compile(in.GetCosts())
	for _, i := range in.GetIntents() {
		if len(i.GetLimits()) == 0 {
			continue
		}
		if p.limits[i.GetName()], err = limits.All(i.GetLimits()); err != nil {
			return fmt.Errorf("intent %s: %w", i.GetName(), err)
		}
	}
	return nil
}

func (v *validator) limits(path, subject string, texts map[string]string) {
	for what, text := range texts {
		if _, err := limits.Parse(what, text); err != nil {
			v.fault(key(path, what), "%s: %v", subject, err)
		}
	}
	if cost := limits.Cost.String(); texts[cost] != "" && len(v.p.GetCosts()) == 0 {
		v.fault(key(path, cost), "%s: the policy has no costs. Say under costs what tokens of each model cost.", subject)
	}
}

func (v *validator) costs() {
	for model, cost := range v.p.GetCosts() {
		path := key("costs", model)
		if field, wrong := costs.Check(model, cost); field != "" {
			v.fault(key(path, field), "cost of %s: %s", model, wrong)
		} else if wrong != "" {
			v.fault(path, "cost of %q: %s", model, wrong)
		}
	}
}
