// Package holds is the command `holds`: what is kept beyond its retention, and why.
//
// The one invariant: whoever sets a hold is shown every identity that it is of, whatever
// it was set by.
package holds

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// Tool is what the command takes from the tool that it is part of.
type Tool struct {
	// Ask has a mesh asked; doing is what for, as in "list holds". Its error is one for
	// people.
	Ask func(ctx context.Context, doing string, question func(context.Context, controlv1.HoldServiceClient) error) error
	// Print answers in a format: value for scripts, table for people.
	Print func(f render.Format, value any, table func(io.Writer) error) error
	// Found makes an empty list the answer no.
	Found func(n int, what string) error
	// Format gives a command its -o.
	Format func(cmd *cobra.Command, f *render.Format)
}

// Command is `holds` with what is below it.
func Command(t Tool) *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "holds",
		Short: "List the holds on records: what is kept beyond its retention",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return t.list(cmd.Context(), format) },
	}
	t.Format(cmd, &format)
	cmd.AddCommand(t.set(), t.release())
	return cmd
}

func (t Tool) list(ctx context.Context, format render.Format) error {
	var all []*logv1.Hold
	err := t.Ask(ctx, "list holds", func(ctx context.Context, c controlv1.HoldServiceClient) error {
		r, err := c.ListHolds(ctx, &controlv1.ListHoldsRequest{})
		all = r.GetHolds()
		return err
	})
	if err != nil {
		return err
	}
	list := make(render.List, len(all))
	for i, h := range all {
		list[i] = render.Message(h)
	}
	if err := t.Print(format, list, func(w io.Writer) error { return table(w, all...) }); err != nil {
		return err
	}
	return t.Found(len(all), "hold")
}

func (t Tool) set() *cobra.Command {
	var format render.Format
	var request controlv1.SetHoldRequest
	cmd := &cobra.Command{
		Use:   "set NAME [--owner TEAM] [--identity SPIFFE-ID ...] [--label KEY=VALUE ...]",
		Short: "Keep records until the hold is released, whatever their retention",
		Long: `Keep records until the hold is released: those of transitions that a team owns, and those
from and to identities. A label stands for the identities of all workloads that have it
now, by the policy in force or where they are registered: the answer names them, and what
has the label later is not held. A hold of the same name is replaced. It is entered in the
log of each environment.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Name = args[0]
			return t.change(cmd.Context(), format, "set a hold", func(ctx context.Context, c controlv1.HoldServiceClient) (*logv1.Hold, error) {
				return c.SetHold(ctx, &request)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&request.Owner, "owner", "", "team that owns transitions")
	flags.StringArrayVar(&request.Identities, "identity", nil, "SPIFFE ID of a source or a destination")
	flags.StringArrayVar(&request.Labels, "label", nil, "KEY=VALUE that workloads have now")
	t.Format(cmd, &format)
	return cmd
}

func (t Tool) release() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "release NAME",
		Short: "End a hold, and show what it was",
		Long: `End a hold. Records that no other hold keeps, and whose retention is over, are removed
within about an hour. It is entered in the log of each environment.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.change(cmd.Context(), format, "release a hold", func(ctx context.Context, c controlv1.HoldServiceClient) (*logv1.Hold, error) {
				return c.ReleaseHold(ctx, &controlv1.ReleaseHoldRequest{Name: args[0]})
			})
		},
	}
	t.Format(cmd, &format)
	return cmd
}

// change does something to one hold, and shows it.
func (t Tool) change(ctx context.Context, format render.Format, doing string, do func(context.Context, controlv1.HoldServiceClient) (*logv1.Hold, error)) error {
	var hold *logv1.Hold
	err := t.Ask(ctx, doing, func(ctx context.Context, c controlv1.HoldServiceClient) (err error) {
		hold, err = do(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	return t.Print(format, render.Message(hold), func(w io.Writer) error { return table(w, hold) })
}

// table has a line for all that a hold is of.
func table(w io.Writer, all ...*logv1.Hold) error {
	g := render.NewGrid("HOLD", "KEEPS", "OF")
	for _, h := range all {
		if h.GetOwner() != "" {
			g.Row(h.GetName(), "transitions", h.GetOwner())
		}
		for _, id := range h.GetIdentities() {
			g.Row(h.GetName(), "identity", id)
		}
	}
	return g.Flush(w)
}
