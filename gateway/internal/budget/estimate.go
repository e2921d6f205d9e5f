package budget

const (
	// bytesPerToken is about what texts in English have. In other scripts a token is
	// fewer bytes; what a call really had is settled when it is over.
	bytesPerToken = 4
	// defaultOutput is how many tokens a model may answer with if the call does not say.
	defaultOutput = 4096
)

// Prices say what a call of a model costs, in millionths of a unit.
type Prices interface {
	CostOf(model string, input, output int64) int64
}

// Call is what is known of a call before it goes on.
type Call struct {
	// Model that is asked for; empty if it is not known.
	Model string
	// Input is how many bytes it sends.
	Input int64
	// MaxOutput is how many tokens the answer may have; 0 if the call does not say.
	MaxOutput int64
}

// Estimate is how many tokens a call may come to: one in for every four bytes, and those
// out that it asks for, or 4,096.
func Estimate(c Call) (input, output int64) {
	input = max(c.Input, 0)
	if input = input/bytesPerToken + min(input%bytesPerToken, 1); c.MaxOutput <= 0 {
		return input, defaultOutput
	}
	return input, c.MaxOutput
}

// Want is what to reserve for a call. It is at least one byte: what limits bytes is for
// answers too, and those come to something.
func Want(p Prices, c Call) Amounts {
	input, output := Estimate(c)
	return Amounts{
		Requests: 1, Tokens: sum(min(input, maxAmount), min(output, maxAmount)),
		Bytes: max(c.Input, 1), Cost: p.CostOf(c.Model, input, output),
	}
}
