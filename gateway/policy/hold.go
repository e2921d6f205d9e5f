package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds of what a gateway holds of one request's content, in bytes.
const (
	DefaultHold = 64 << 10
	MaxHold     = 64 << 20
)

// parseHold reads a size such as 512KiB or 4MiB.
func parseHold(text string) (int, error) {
	for suffix, unit := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20} {
		number, ok := strings.CutSuffix(text, suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != number || int(n) > MaxHold/unit {
			break
		}
		return int(n) * unit, nil
	}
	return 0, fmt.Errorf("hold %q is not a size such as 512KiB or 4MiB, up to %dMiB", text, MaxHold>>20)
}
