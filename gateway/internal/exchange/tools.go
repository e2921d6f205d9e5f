package exchange

import (
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hear"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/mcp"
)

// says begins to read what the answer says.
func (a *account) says(v *authz.Verdict, head *l7.ResponseHead) *hear.Answer {
	p := v.Protocol()
	if p == nil {
		return nil
	}
	var rules *inspect.Rules
	if _, edits := p.(inspect.Editor); edits {
		rules = a.rules(v)
	}
	return hear.New(p, v.Asks(), head, rules, a.opened)
}

// rules are what an answer is held against that leaves something out.
func (a *account) rules(v *authz.Verdict) *inspect.Rules {
	pins := v.Pins(v.Intent)
	rules := &inspect.Rules{
		May:    func(ask *inspect.Ask) bool { return v.May(ask, a.opened) },
		Pinned: pins.Holds,
	}
	if len(pins) > 0 {
		rules.Seen = func(tool string, digest [32]byte) {
			if _, pinned := pins[tool]; pinned {
				a.cfg.Tools.Note(v.Workload.Name, v.Service.Name, tool, digest)
			}
		}
	}
	return rules
}

// unchanged holds that what is called is what the policy knows it as, as far as its
// server has listed it here; it denies what is not.
func (c *Config) unchanged(v *authz.Verdict) {
	if !v.Allow {
		return
	}
	for i, ask := range v.Asks() {
		if ask.Operation != mcp.CallTool {
			continue
		}
		intent := v.Intent
		if m := v.Messages(); len(m) > 0 {
			intent = m[i].Intent
		}
		pins := v.Pins(intent)
		if len(pins) == 0 {
			continue
		}
		if last, known := c.Tools.Last(v.Workload.Name, v.Service.Name, ask.Tool); known && !pins.Holds(ask.Tool, last) {
			v.Changed(crossing.Detail("tool " + ask.Tool + " is not listed as the policy pins it"))
			return
		}
	}
}
