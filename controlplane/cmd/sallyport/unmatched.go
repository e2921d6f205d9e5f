package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func (a *app) unmatchedCommand() *cobra.Command {
	var format render.Format
	var request controlv1.ListUnmatchedRequest
	cmd := &cobra.Command{
		Use:   "unmatched",
		Short: "List what only one gateway recorded, or both and not alike, and say why",
		Long: `List each record that has one half, each whose halves differ, and whatever else the
statements of the gateways leave unexplained: what was stated and never came, what
came and is not what was stated, statements that are missing, and who is silent.

Exit codes: 0 there is nothing; 1 there is something; 2 it cannot be told, because
what is missing may still come, or a gateway is silent.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.knowEnvironments(cmd.Context(), request.GetFrom(), request.GetTo()); err != nil {
				return err
			}
			return a.unmatched(cmd.Context(), format, &request)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&request.Id, "id", "", "crossing")
	flags.StringVar(&request.From, "from", "", "environment of the caller")
	flags.StringVar(&request.To, "to", "", "environment of the callee")
	flags.StringVar(&request.Owner, "owner", "", "team that owns the transition")
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) unmatched(ctx context.Context, format render.Format, request *controlv1.ListUnmatchedRequest) error {
	findings, err := a.findings(ctx, request)
	if err != nil {
		return err
	}
	list := make(render.List, len(findings))
	for i, f := range findings {
		list[i] = render.Message(f)
	}
	if err := a.print(format, list, func(w io.Writer) error {
		if len(findings) == 0 {
			_, err := fmt.Fprintln(w, "Nothing is unmatched.")
			return err
		}
		return render.Unmatched(w, findings)
	}); err != nil {
		return err
	}
	return told(findings)
}

// findings asks for what is unmatched.
func (a *app) findings(ctx context.Context, request *controlv1.ListUnmatchedRequest) (findings []*controlv1.Finding, err error) {
	const doing = "list what is unmatched"
	err = a.ask(ctx, func(c *connection) error {
		stream, err := controlv1.NewCrossingServiceClient(c).ListUnmatched(ctx, request)
		if err != nil {
			return answered(doing, c, err)
		}
		return each(doing, c, stream.Recv, func(f *controlv1.Finding) error {
			findings = append(findings, f)
			return nil
		})
	})
	return findings, err
}

// told is what findings answer: whoever misses something that may still come cannot
// tell yet.
func told(findings []*controlv1.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	for _, f := range findings {
		if !f.GetUncertain() {
			return quiet(refused)
		}
	}
	return quiet(couldNotSay)
}
