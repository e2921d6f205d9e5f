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
	"slices"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// MaxBytes is how long a policy's text may be, all its files together.
const MaxBytes = 8 << 20

// File is a policy's text, or one file of it: each team may have its own. What
// the files say is united, whatever the split.
type File struct {
	// Name for messages.
	Name string
	// Text is YAML.
	Text []byte
}

// Checked is a policy that may be published.
type Checked struct {
	// Policy is valid and compiled.
	Policy *policyv1.Policy
	// Warnings are what it promises and gateways of this release refuse, and what it
	// requires of nobody.
	Warnings Errors
}

// Load reads, compiles and validates a policy of one file and asks it its tests,
// as of now. The error is Errors, with all that is wrong. Dates are not judged:
// see Check.
func Load(name string, yaml []byte) (*policyv1.Policy, error) {
	d := read([]File{{name, yaml}})
	d.check(time.Now())
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.policy, nil
}

// Check does what Load does of a policy of one file or of several, and judges
// its dates, as if it were published at now. The error is Errors.
func Check(files []File, now time.Time) (*Checked, error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	d := read(files)
	d.check(now)
	d.place(policy.ValidateDates(d.policy, now))
	if err := d.err(); err != nil {
		return nil, err
	}
	warnings := d.placed(append(unenforceable(d.policy), unproven(d.policy)...))
	warnings.sort()
	return &Checked{Policy: d.policy, Warnings: warnings}, nil
}

// document is a text on the way to a policy.
type document struct {
	files  []File // by name
	file   int    // that is being read
	size   int    // of those before it, in bytes
	policy *policyv1.Policy
	errors Errors
	places map[string]place // by path, as in policy.Fault
	// spoiled are paths of mappings in which something could not be read: what
	// is missing there may be what was misspelt, and is not said twice.
	spoiled map[string]bool
	texts   map[string]text // of intents' when, by path
}

// place is where something stands: in which file, counted from 0, and where in
// it, counted from 1.
type place struct{ file, line, column int }

func (d *document) fail(at place, format string, args ...any) {
	d.errors = append(d.errors, d.error(at, fmt.Sprintf(format, args...)))
}

func (d *document) error(at place, message string) Error {
	name := ""
	if at.file < len(d.files) {
		name = d.files[at.file].Name
	}
	return Error{name, at.line, at.column, message}
}

// at is a place for people: FILE:LINE:COLUMN.
func (d *document) at(p place) string {
	return fmt.Sprintf("%s:%d:%d", d.files[p.file].Name, p.line, p.column)
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
		d.fail(place{0, 1, 1}, "%v", err)
		return
	}
	d.place(runTests(d.policy, p, now))
}

// place puts faults where they belong in the text.
func (d *document) place(faults policy.Faults) { d.errors = append(d.errors, d.placed(faults)...) }

// placed are faults with their places. One that repeats something says where
// that is.
func (d *document) placed(faults policy.Faults) Errors {
	var errors Errors
	for _, f := range faults {
		at, exact, parent := d.find(f.Path)
		if !exact && d.spoiled[parent] || d.spoiled[f.Path] {
			continue
		}
		message := f.Message
		if f.First != "" {
			first, _, _ := d.find(f.First)
			message += "; the first is at " + d.at(first)
		}
		errors = append(errors, d.error(at, message))
	}
	return errors
}

// find is the place of a path or, if nothing stands there, of the nearest thing
// around it.
func (d *document) find(path string) (at place, exact bool, found string) {
	for rest := path; ; rest = parentOf(rest) {
		if at, ok := d.places[rest]; ok {
			return at, rest == path, rest
		}
		if rest == "" {
			return place{0, 1, 1}, false, ""
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
