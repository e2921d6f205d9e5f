// Package limits reads the limits of an intent: what each caller may have of something in
// a time. It counts nothing.
package limits

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

// What is something that a limit counts.
type What uint8

const (
	// Requests are calls, whatever they ask for.
	Requests What = iota
	// Tokens are those of a model, in and out.
	Tokens
	// Bytes are those of requests and answers.
	Bytes
	// Cost is what tokens cost, in millionths of the policy's own units.
	Cost
)

// limitNames are the things as a policy names them, by their number.
func limitNames() [4]string { return [...]string{"requests", "tokens", "bytes", "cost"} }

// String is the name that a policy has for it.
func (w What) String() string {
	if names := limitNames(); int(w) < len(names) {
		return names[w]
	}
	return "what " + strconv.Itoa(int(w))
}

// ParseWhat finds the thing of that name.
func ParseWhat(name string) (What, bool) {
	names := limitNames()
	i := slices.Index(names[:], name)
	return What(max(i, 0)), i >= 0 //nolint:gosec // of four
}

// Limit is what each caller may have of something in a time. Times begin when a second,
// a minute, an hour or a day does in UTC.
type Limit struct {
	What What
	// Most of it, in its own unit: that of Cost is a millionth.
	Most int64
	// Window is the time: a second, a minute, an hour or 24 hours.
	Window time.Duration
}

// String is the limit as a policy has it, such as "2000000/day".
func (l Limit) String() string {
	most, suffix := l.Most, ""
	if l.What == Cost {
		most /= MicroPerUnit
	}
	if l.What == Bytes {
		most, suffix = shortBytes(most)
	}
	return strconv.FormatInt(most, 10) + suffix + "/" + unitOf(l.Window)
}

// MicroPerUnit is how many millionths a unit of cost has.
const MicroPerUnit = 1_000_000

// maxMost bounds a limit, so that sums of a few amounts never overflow.
const maxMost = 1 << 60

// byteUnits are the units that a limit of bytes may have, each 1,024 times the one before.
func byteUnits() [4]string { return [...]string{"KiB", "MiB", "GiB", "TiB"} }

func shortBytes(n int64) (int64, string) {
	suffix := ""
	for _, unit := range byteUnits() {
		if n%1024 != 0 {
			break
		}
		n, suffix = n/1024, unit
	}
	return n, suffix
}

// window is a time by the name of its unit.
type window struct {
	unit string
	long time.Duration
}

// windows are the times that a limit may have, the longest first.
func windows() [4]window {
	return [...]window{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}}
}

func unitOf(long time.Duration) string {
	for _, w := range windows() {
		if w.long == long {
			return w.unit
		}
	}
	return long.String()
}

// windowsOf are the times that a limit of something may have: what a call has cost is
// known when it is over, so that a second of it says nothing.
func windowsOf(what What) []window {
	all := windows()
	if what == Tokens || what == Cost {
		return all[:3]
	}
	return all[:]
}

// Parse reads a limit: requests as N/second, minute, hour or day, bytes likewise
// with KiB to TiB behind the number, tokens and cost as N/minute, hour or day.
func Parse(what, text string) (Limit, error) {
	l := Limit{}
	var ok bool
	if l.What, ok = ParseWhat(what); !ok {
		names := limitNames()
		return l, fmt.Errorf("unknown limit %q%s", what, nearest.Hint(what, slices.Sorted(slices.Values(names[:]))))
	}
	number, unit, _ := strings.Cut(text, "/")
	times := int64(1)
	switch l.What {
	case Requests, Tokens:
	case Cost:
		times = MicroPerUnit
	case Bytes:
		for i, suffix := range byteUnits() {
			if stem, ok := strings.CutSuffix(number, suffix); ok {
				number, times = stem, 1<<(10*(i+1))
				break
			}
		}
	}
	known := windowsOf(l.What)
	i := slices.IndexFunc(known, func(w window) bool { return w.unit == unit })
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != number || i < 0 {
		forms := make([]string, len(known))
		for i, w := range known {
			forms[i] = "N/" + w.unit
		}
		return l, fmt.Errorf("limit of %s %q is not %s", what, text, strings.Join(forms, " or "))
	}
	if n > maxMost/times {
		return l, fmt.Errorf("limit of %s %q is more than can be counted", what, text)
	}
	l.Most, l.Window = n*times, known[i].long
	return l, nil
}

// All reads the limits of one intent, by what they count.
func All(texts map[string]string) ([]Limit, error) {
	var all []Limit
	for what, text := range texts {
		l, err := Parse(what, text)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Limit) int { return cmp.Compare(a.What, b.What) })
	return all, nil
}
