package gateway

import (
	"errors"
	"maps"
	"slices"

	"github.com/sallyport-mesh/sallyport/gateway/internal/guard"
	"github.com/sallyport-mesh/sallyport/gateway/policy/address"
)

// checkGuards judges what is said of guards. Whether they are there is not its business:
// what one that does not answer must let pass is refused, and nothing else.
func (b *bootstrap) checkGuards() error {
	var faults []error
	b.guards = make(map[string]guard.Place, len(b.GetGuards()))
	for _, name := range slices.Sorted(maps.Keys(b.GetGuards())) {
		field := "guards." + name
		if !address.IsLabel(name) {
			faults = append(faults, fault(field, "a name is a DNS label: lower-case letters, digits and hyphens, at most 63"))
		}
		place, err := guard.ParsePlace(b.GetGuards()[name])
		if err != nil {
			faults = append(faults, fault(field, "%w", err))
		}
		b.guards[name] = place
	}
	return errors.Join(faults...)
}
