package policy

import (
	"maps"
	"slices"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Pins are what tools must be: the SHA-256 of a tool's description in canonical
// JSON (RFC 8785), as the server lists it, by the tool's name.
type Pins map[string][32]byte

// Holds says whether a tool is as it was pinned. One that has no pin is.
func (p Pins) Holds(tool string, digest [32]byte) bool {
	want, pinned := p[tool]
	return !pinned || want == digest
}

// Pins are what an intent that decided requires of tools; nil if nothing.
func (p *Policy) Pins(intent string) Pins { return p.pins[intent] }

// addPins compiles what Validate has accepted.
func (p *Policy) addPins(in *policyv1.Policy) {
	p.pins = map[string]Pins{}
	for _, i := range in.GetIntents() {
		list := in.GetLists()[i.GetRequire().GetTools().GetIn()]
		if list == nil {
			continue
		}
		pins := Pins{}
		for tool, text := range list.GetTools() {
			pins[tool], _ = ParseSHA256(text)
		}
		p.pins[i.GetName()] = pins
	}
}

func (v *validator) tools(path, subject string, tools map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(tools)) {
		if _, ok := ParseSHA256(tools[name]); !ok || name == "" {
			v.fault(key(path, name), "%s: tool %q: %q is not sha256: and 64 hex digits in lower case", subject, name, tools[name])
		}
	}
}

func (v *validator) requireTools(path, subject, list string) {
	v.reference(path, subject, "list", list, slices.Sorted(maps.Keys(v.p.GetLists())))
	if l := v.p.GetLists()[list]; l != nil && len(l.GetTools()) == 0 {
		v.fault(path, "%s: list %s has no tools", subject, list)
	}
}
