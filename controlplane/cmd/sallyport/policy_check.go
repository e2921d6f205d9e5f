package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	"github.com/sallyport-mesh/sallyport/gateway/policy/source"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// maxPolicyFile is a little more than the largest policy there may be, so that it
// is the policy's own limit that is named to the author.
const maxPolicyFile = 16 << 20

// checked is a policy that may be published.
type checked struct {
	policy   *policyv1.Policy
	revision string
	warnings source.Errors
}

// aPolicy is how a command's help names a policy's text.
const aPolicy = `The policy is a file, - for standard input, or a directory: then all its files named
*.yaml are read, in the order of their names, as one policy.`

func (a *app) policyCheck() *cobra.Command {
	var format render.Format
	var flag string
	cmd := &cobra.Command{
		Use:   "check FILE|DIR",
		Short: "Check a policy and run its tests; nothing is published",
		Long:  "Check a policy and run its tests; nothing is published.\n\n" + aPolicy,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name, err := policyName(args, flag)
			if err != nil {
				return err
			}
			c, err := a.checkPolicy(name, format)
			if err != nil {
				return err
			}
			return a.print(format, checkValue(name, c, nil), func(w io.Writer) error { return checkText(w, name, c) })
		},
	}
	fileFlag(cmd, &flag)
	formatFlag(cmd, &format)
	return cmd
}

// fileFlag gives a command the other way to name a policy's text.
func fileFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "file", "f", "", "policy file or directory, in place of the argument")
}

// policyName is the one name that the argument or --file gives.
func policyName(args []string, flag string) (string, error) {
	switch {
	case len(args) == 1 && flag == "":
		return args[0], nil
	case len(args) == 0 && flag != "":
		return flag, nil
	case len(args) == 1:
		return "", usage("which policy, %s or %s? Give one", args[0], flag)
	}
	return "", usage("which policy? Give a file, a directory of files, or - for standard input")
}

// checkPolicy reads and checks a policy's text. What its author has to mend it
// says at once, in the wanted format, and the error is a no; another error means
// that it could not be read.
func (a *app) checkPolicy(name string, format render.Format) (*checked, error) {
	files, err := a.readPolicy(name)
	if err != nil {
		return nil, err
	}
	c, err := source.Check(files, a.now())
	if faults, ok := errors.AsType[source.Errors](err); ok {
		return nil, a.refuse(name, format, faults)
	}
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", name, err)
	}
	canonical, err := signed.Canonical(c.Policy)
	if err != nil {
		return nil, fmt.Errorf("make the canonical form of %s: %w", name, err)
	}
	return &checked{policy: c.Policy, revision: signed.Revision(canonical), warnings: c.Warnings}, nil
}

// readPolicy reads a file, standard input, or a directory of files.
func (a *app) readPolicy(name string) ([]source.File, error) {
	if name == "-" {
		text, err := readBounded(a.stdin)
		return []source.File{{Name: name, Text: text}}, err
	}
	names := []string{name}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		if names, err = filesIn(name); err != nil {
			return nil, err
		}
	}
	files := make([]source.File, len(names))
	for i, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read the policy: %w", err)
		}
		text, err := readBounded(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		files[i] = source.File{Name: name, Text: text}
	}
	return files, nil
}

// filesIn are the files of a policy's directory, by name. Hidden ones are an
// editor's.
func filesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".yaml") && !strings.HasPrefix(name, ".") {
			names = append(names, filepath.Join(dir, name))
		}
	}
	if len(names) == 0 {
		return nil, usage("read the policy: no file in %s is named *.yaml", dir)
	}
	return names, nil
}

func readBounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxPolicyFile))
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	return text, nil
}

// refuse says what is wrong with a policy, one line each, and that nothing was
// published; to scripts, as a value.
func (a *app) refuse(name string, format render.Format, faults source.Errors) error {
	if err := a.print(format, checkValue(name, nil, faults), func(io.Writer) error { return nil }); err != nil {
		return err
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
		fmt.Fprintln(a.stderr, warning(w))
	}
}

// warning is FILE:LINE:COLUMN: warning: MESSAGE.
func warning(w source.Error) string {
	w.Message = "warning: " + w.Message
	return render.Printable(w.Error())
}

func checkText(w io.Writer, name string, c *checked) error {
	p := c.policy
	for _, one := range c.warnings {
		if _, err := fmt.Fprintln(w, warning(one)); err != nil {
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
			render.Member{Name: "warnings", Value: placesValue(c.warnings)})
	}
	return append(o, render.Member{Name: "errors", Value: placesValue(faults)})
}

// placesValue is what is to be said of places in a text.
func placesValue(errors source.Errors) render.List {
	list := make(render.List, len(errors))
	for i, e := range errors {
		list[i] = render.Object{
			{Name: "file", Value: e.File},
			{Name: "line", Value: render.Number(e.Line)},
			{Name: "column", Value: render.Number(e.Column)},
			{Name: "message", Value: e.Message},
		}
	}
	return list
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
