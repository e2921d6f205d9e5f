package sniff

import "slices"

// Dtypes are the types of the elements of a file's tensors, a bit each.
type Dtypes uint32

// dtypeNames are the types, by their bits (safetensors, enum Dtype); how long an element
// is, widths says, in bits.
var (
	dtypeNames = [...]string{
		"BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ",
		"I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64",
	}
	widths = [...]uint64{8, 4, 6, 6, 8, 8, 8, 8, 8, 8, 8, 16, 16, 16, 16, 32, 32, 32, 64, 64, 64, 64}
)

// add adds a type by its name, and gives how many bits an element has; 0, and nothing is
// added, if it is not known.
func (d *Dtypes) add(name []byte) uint64 {
	i := slices.Index(dtypeNames[:], string(name))
	if i < 0 {
		return 0
	}
	*d |= 1 << i
	return widths[i]
}

// Names are the types' names, in their order in the format; nil if there are none.
func (d Dtypes) Names() (names []string) {
	for i, name := range dtypeNames {
		if d>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return names
}
