package policy

// truth is what is known of a condition. An attribute that is not known makes
// it maybe: an allow then does not match and a deny does.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

func both(a, b truth) truth   { return min(a, b) }
func either(a, b truth) truth { return max(a, b) }
func not(a truth) truth       { return yes - a }

func known(b bool) truth {
	if b {
		return yes
	}
	return no
}
