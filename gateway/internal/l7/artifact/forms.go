package artifact

import "strings"

// The forms of names in a registry: OCI distribution specification v1.1, "Pulling
// manifests", and image specification v1.1, "Digests".

const lower, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"

// isRepository says that s is path components with slashes between them.
func isRepository(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !joined(component, lower+digits, isSeparator) {
			return false
		}
	}
	return true
}

// isSeparator says that s may stand within a component of a repository's name.
func isSeparator(s string) bool {
	return s == "." || s == "_" || s == "__" || s != "" && strings.Trim(s, "-") == ""
}

// joined says that s is runs of those characters, with separators between them.
func joined(s, characters string, separator func(string) bool) bool {
	for {
		rest := strings.TrimLeft(s, characters)
		if len(rest) == len(s) || rest == "" {
			return s != "" && rest == ""
		}
		next := strings.IndexAny(rest, characters)
		if next < 0 || !separator(rest[:next]) {
			return false
		}
		s = rest[next:]
	}
}

// isTag says that s is a tag: at most 128 characters, the first no separator.
func isTag(s string) bool {
	const word = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits + "_"
	return s != "" && len(s) <= 128 && strings.Contains(word, s[:1]) && strings.Trim(s, word+".-") == ""
}

// isDigest says that s is ALGORITHM:ENCODED, of any algorithm.
func isDigest(s string) bool {
	algorithm, encoded, ok := strings.Cut(s, ":")
	component := func(s string) bool { return len(s) == 1 && strings.Contains("+._-", s) }
	return ok && encoded != "" && joined(algorithm, lower+digits, component) &&
		strings.Trim(encoded, lower+"ABCDEFGHIJKLMNOPQRSTUVWXYZ"+digits+"=_-") == ""
}
