package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/source"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// maxPolicyFile is a little more than the largest policy there may be, so that it
// is the policy's own limit that is named to the author.
const maxPolicyFile = 16 << 20

// checked is a policy file that may be published.
type checked struct {
	policy   *policyv1.Policy
	revision string
	warnings []string
}

func (a *app) policyCheck() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a policy file and run its tests; nothing is published",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, faults, err := a.checkFile(args[0])
			if err != nil {
				return err
			}
			if err := a.print(format, checkValue(args[0], c, faults), func(w io.Writer) error {
				return checkText(w, args[0], c)
			}); err != nil {
				return err
			}
			return a.refuse(faults)
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

// checkFile reads and checks a policy file; "-" is standard input. Faults are
// what its author has to mend; an error means that it could not be read.
func (a *app) checkFile(name string) (*checked, source.Errors, error) {
	text, err := a.readPolicy(name)
	if err != nil {
		return nil, nil, err
	}
	p, faults, err := loadPolicy(name, text, a.now())
	if err != nil || len(faults) > 0 {
		return nil, faults, err
	}
	canonical, err := policy.Canonical(proto.CloneOf(p))
	if err != nil {
		return nil, nil, fmt.Errorf("make the canonical form of %s: %w", name, err)
	}
	return &checked{policy: p, revision: policy.Revision(canonical), warnings: unenforceable(p)}, nil, nil
}

func (a *app) readPolicy(name string) ([]byte, error) {
	r := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read the policy: %w", err)
		}
		defer f.Close()
		r = f
	}
	text, err := io.ReadAll(io.LimitReader(r, maxPolicyFile))
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	return text, nil
}

// loadPolicy reads a policy that may be published now, or gives all that is wrong
// with it at once, dates among it.
func loadPolicy(name string, text []byte, now time.Time) (*policyv1.Policy, source.Errors, error) {
	err := source.CheckDates(name, text, now)
	var p *policyv1.Policy
	if err == nil {
		p, err = source.Load(name, text)
	}
	if err == nil {
		return p, nil, nil
	}
	if faults, ok := errors.AsType[source.Errors](err); ok {
		return nil, faults, nil
	}
	return nil, nil, fmt.Errorf("check %s: %w", name, err)
}

// refuse says what is wrong with a policy file, one line each, and that nothing
// was published. No faults are no refusal.
func (a *app) refuse(faults source.Errors) error {
	if len(faults) == 0 {
		return nil
	}
	for _, f := range faults {
		fmt.Fprintln(a.stderr, render.Printable(f.Error()))
	}
	fmt.Fprintf(a.stderr, "%s; nothing was published.\n", counted(len(faults), "error"))
	return quiet(refused)
}

// warn says what a policy promises that gateways of this release refuse.
func (a *app) warn(c *checked) {
	for _, w := range c.warnings {
		fmt.Fprintln(a.stderr, render.Printable("warning: "+w))
	}
}

// unenforceable names the intents whose obligations no gateway of this release
// can keep. It fails closed: what they allow is denied.
func unenforceable(p *policyv1.Policy) []string {
	var warnings []string
	for _, i := range p.GetIntents() {
		var what []string
		if len(i.GetLimits()) > 0 {
			what = append(what, "limits")
		}
		if i.GetRequire() != nil {
			what = append(what, "require")
		}
		if i.GetAllow() != nil && len(what) > 0 {
			warnings = append(warnings, fmt.Sprintf("intent %s: gateways of this release cannot keep %s yet, so they deny what it allows",
				i.GetName(), strings.Join(what, " and ")))
		}
	}
	slices.Sort(warnings)
	return warnings
}

func checkText(w io.Writer, name string, c *checked) error {
	if c == nil {
		return nil
	}
	p := c.policy
	for _, warning := range c.warnings {
		if _, err := fmt.Fprintf(w, "%s: warning: %s\n", name, render.Printable(warning)); err != nil {
			return err
		}
	}
	tests := "no tests"
	if n := len(p.GetTests()); n > 0 {
		tests = counted(n, "test") + " passed"
	}
	_, err := fmt.Fprintf(w, "%s: revision %s, %s, %s, %s, %s; %s\n", name, c.revision,
		counted(len(p.GetEnvironments()), "environment"), counted(len(p.GetWorkloads()), "workload"),
		counted(len(p.GetTransitions()), "transition"), counted(len(p.GetIntents()), "intent"), tests)
	return err
}

func checkValue(name string, c *checked, faults source.Errors) render.Object {
	o := render.Object{{Name: "file", Value: name}, {Name: "ok", Value: len(faults) == 0}}
	if c != nil {
		o = append(o, render.Member{Name: "revision", Value: c.revision},
			render.Member{Name: "tests", Value: render.Number(len(c.policy.GetTests()))},
			render.Member{Name: "warnings", Value: render.Strings(c.warnings...)})
	}
	list := make(render.List, len(faults))
	for i, f := range faults {
		list[i] = render.Object{
			{Name: "line", Value: render.Number(f.Line)}, {Name: "column", Value: render.Number(f.Column)}, {Name: "message", Value: f.Message},
		}
	}
	return append(o, render.Member{Name: "errors", Value: list})
}

// counted is a number with its noun: "1 error", "2 errors".
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// written is a policy in the form in which people write it: without conditions,
// which are compiled from `when`.
func written(p *policyv1.Policy) *policyv1.Policy {
	p = proto.CloneOf(p)
	for _, i := range p.GetIntents() {
		i.Condition = nil
	}
	return p
}
