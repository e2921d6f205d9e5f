// Package source reads the policy as people write it: YAML, with conditions in
// a restricted profile of CEL. It is the operator's side only; what a gateway
// gets is canonical, compiled and signed. It does not publish and does not
// judge who may.
//
// The invariant: a policy that it hands out is valid, answers its own tests,
// and says nothing that the text does not; whatever is wrong has a place in the
// text, and all of it is said at once.
package source

import (
	"fmt"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// MaxBytes is how long a policy's text may be.
const MaxBytes = 8 << 20

// Load reads, compiles and validates a policy and asks it its tests, as of now.
// name is the file's name for messages. The error is Errors, with all that is
// wrong. Dates are not judged: see CheckDates.
func Load(name string, yaml []byte) (*policyv1.Policy, error) {
	d := read(name, yaml)
	d.check(time.Now())
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.policy, nil
}

// CheckDates is what is judged once more when a policy is published at now:
// dates, and the policy's tests at that moment. If the text cannot be read the
// error is Load's. The error is Errors.
func CheckDates(name string, yaml []byte, now time.Time) error {
	d := read(name, yaml)
	d.check(now)
	d.place(policy.ValidateDates(d.policy, now))
	return d.err()
}

// document is a text on the way to a policy.
type document struct {
	file   string
	policy *policyv1.Policy
	errors Errors
	places map[string]place // by path, as in policy.Fault
	// spoiled are paths of mappings in which something could not be read: what
	// is missing there may be what was misspelt, and is not said twice.
	spoiled map[string]bool
	texts   map[string]text // of intents' when, by path
	lines   []string
}

// place is where something stands, counted from 1.
type place struct{ line, column int }

func (d *document) fail(at place, format string, args ...any) {
	d.errors = append(d.errors, Error{d.file, at.line, at.column, fmt.Sprintf(format, args...)})
}

// err is all that went wrong, in the order of the text.
func (d *document) err() error {
	if len(d.errors) == 0 {
		return nil
	}
	d.errors.sort()
	return d.errors
}

// check validates what was read and, if nothing is wrong, asks the tests.
func (d *document) check(now time.Time) {
	d.compileConditions()
	d.place(policy.Validate(d.policy))
	if len(d.errors) > 0 {
		return
	}
	p, err := policy.Compile(d.policy, policy.Ref{})
	if err != nil {
		d.fail(place{1, 1}, "%v", err)
		return
	}
	d.place(policy.RunTests(d.policy, p, now))
}

// place puts faults where they belong in the text.
func (d *document) place(faults policy.Faults) {
	for _, f := range faults {
		at, exact, parent := d.find(f.Path)
		if !exact && d.spoiled[parent] || d.spoiled[f.Path] {
			continue
		}
		d.fail(at, "%s", f.Message)
	}
}

// find is the place of a path or, if nothing stands there, of the nearest thing
// around it.
func (d *document) find(path string) (at place, exact bool, found string) {
	for rest := path; ; rest = parentOf(rest) {
		if at, ok := d.places[rest]; ok {
			return at, rest == path, rest
		}
		if rest == "" {
			return place{1, 1}, false, ""
		}
	}
}

func parentOf(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '.' || path[i] == '[' {
			return path[:i]
		}
	}
	return ""
}
