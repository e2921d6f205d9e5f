package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a policy.
type Fault struct {
	// Path is where: the names of fields as in JSON, such as
	// "transitions[1].owner" or "workloads.llm.id".
	Path string
	// Message says what is wrong and what to do, for people.
	Message string
}

// String is the path and the message.
func (f Fault) String() string { return f.Path + ": " + f.Message }

// maxFaults bounds what is said of one policy: nobody reads more, and a policy
// of megabytes could have millions.
const maxFaults = 1000

// Faults are all that is wrong with a policy, sorted by path, and of very many
// the first 1,000 that were found. As an error it has one line for each.
type Faults []Fault //nolint:errname // they are faults of a policy before they are an error

// Error has one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

func (f *Faults) add(path, format string, args ...any) {
	if len(*f) >= maxFaults {
		return
	}
	*f = append(*f, Fault{path, fmt.Sprintf(format, args...)})
}

func (f Faults) sorted() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Message, b.Message))
	})
	return f
}

func key(path, name string) string { return path + "." + name }

func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
