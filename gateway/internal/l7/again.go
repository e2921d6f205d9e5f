package l7

// Again is b as a text, and before itself if that says the same: what one exchange
// says of itself, the next one often says again.
func Again(before string, b []byte) string {
	if before == string(b) {
		return before
	}
	return string(b)
}
