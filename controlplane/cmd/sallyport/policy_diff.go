package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy/source"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func (a *app) policyDiff() *cobra.Command {
	var format render.Format
	var flag string
	cmd := &cobra.Command{
		Use:   "diff FILE|DIR",
		Short: "Say what a policy would change of the policy in force",
		Long: `Say what a policy would change of the policy in force: what is added, removed and
changed, intents and transitions with what they were and are, and which calls may then
cross that may not now, or the reverse; of more than 100,000 pairs of workloads only
that they are so many. As with diff(1), the exit code is 0 if there is no difference
and 1 if there is.

` + aPolicy,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := policyName(args, flag)
			if err != nil {
				return err
			}
			return a.diff(cmd.Context(), name, format)
		},
	}
	fileFlag(cmd, &flag)
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) diff(ctx context.Context, name string, format render.Format) error {
	c, err := a.checkPolicy(name, format)
	if err != nil {
		return err
	}
	before := new(published)
	err = a.withPolicy(ctx, func(p *published) error {
		before = p
		return nil
	})
	if err != nil && !errors.Is(err, errNoPolicy) { // from nothing, all is added
		return err
	}
	changes := source.Diff(before.policy, c.policy)
	if err := a.print(format, diffValue(before.manifest, c.revision, changes), func(w io.Writer) error {
		return diffText(w, before.manifest, c.revision, changes)
	}); err != nil {
		return err
	}
	if before.manifest.GetRevision() != c.revision {
		return quiet(refused)
	}
	return nil
}

func diffText(w io.Writer, before *policyv1.Manifest, revision string, changes []source.Change) error {
	if before.GetRevision() == revision {
		_, err := fmt.Fprintf(w, "policy %s serial %d is in force: no difference\n", render.Short(revision), before.GetSerial())
		return err
	}
	from := "no policy"
	if before != nil {
		from = fmt.Sprintf("policy %s serial %d", render.Short(before.GetRevision()), before.GetSerial())
	}
	if _, err := fmt.Fprintf(w, "%s ─► %s\n", from, render.Short(revision)); err != nil {
		return err
	}
	g := render.NewGrid().Indent()
	for _, c := range changes {
		g.Row(c.What, c.Object, c.Name, beforeAfter(c))
	}
	return g.Flush(w)
}

// beforeAfter is what an object was and is: of an added or a removed one only the
// one that it is.
func beforeAfter(c source.Change) string {
	switch {
	case c.Before == "" && c.After == "":
		return ""
	case c.What == "changed":
		return cmp.Or(c.Before, "none") + " before, " + cmp.Or(c.After, "none") + " now"
	}
	return c.Before + c.After
}

func diffValue(before *policyv1.Manifest, revision string, changes []source.Change) render.Object {
	list := make(render.List, len(changes))
	for i, c := range changes {
		o := render.Object{{Name: "what", Value: c.What}, {Name: "object", Value: c.Object}, {Name: "name", Value: c.Name}}
		if c.Before != "" || c.After != "" {
			o = append(o, render.Member{Name: "before", Value: c.Before}, render.Member{Name: "after", Value: c.After})
		}
		list[i] = o
	}
	return render.Object{
		{Name: "before", Value: before.GetRevision()},
		{Name: "after", Value: revision},
		{Name: "equal", Value: before.GetRevision() == revision},
		{Name: "changes", Value: list},
	}
}
