package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func (a *app) logCommand() *cobra.Command {
	return group("log", "Show what the environments' signed logs prove",
		a.logCheckpointCommand(), a.logProveCommand(), a.logKeysCommand(), a.logExportCommand())
}

func (a *app) logCheckpointCommand() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "checkpoint [TRUST-DOMAIN]",
		Short: "Print the last signed checkpoint of each log, or of one",
		Long: `Print the last signed checkpoint (C2SP tlog-checkpoint) of each environment's log, or
of the one of a trust domain: whoever keeps it can show later that nothing before it was
removed (sallyport-verify --since).

Exit codes: 0 yes; 1 there is no such log, or it has failed; 2 could not tell.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			td := ""
			if len(args) > 0 {
				td = args[0]
			}
			return a.logCheckpoint(cmd.Context(), format, td)
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) logCheckpoint(ctx context.Context, format render.Format, td string) error {
	logs, err := a.logs(ctx)
	if err != nil {
		return err
	}
	var found []*controlv1.LogStatus
	list := render.List{}
	for _, l := range logs {
		if td == "" || l.GetTrustDomain() == td {
			found, list = append(found, l), append(list, render.Message(l))
		}
	}
	if len(found) == 0 {
		return no("there is no log of %q; a log begins with the first statement of its gateways", td)
	}
	if err := a.print(format, list, func(w io.Writer) error { return render.Checkpoints(w, found) }); err != nil {
		return err
	}
	for _, l := range found {
		if l.GetFailed() != "" {
			return quiet(refused)
		}
	}
	return nil
}

// logs asks for how things stand with each log.
func (a *app) logs(ctx context.Context) (logs []*controlv1.LogStatus, err error) {
	err = a.ask(ctx, func(c *connection) error {
		resp, err := controlv1.NewLogServiceClient(c).ListLogs(ctx, &controlv1.ListLogsRequest{})
		logs = resp.GetLogs()
		return answered("list logs", c, err)
	})
	return logs, err
}

func (a *app) logProveCommand() *cobra.Command {
	var request controlv1.ProveRequest
	cmd := &cobra.Command{
		Use:   "prove ID",
		Short: "Write the proof of a crossing to standard output",
		Long: `Write one self-contained file (C2SP tlog-proof): what the egress gateway recorded of a
crossing, the way from there to the statement that both gateways signed, and from that
to a signed checkpoint. Whoever has it needs public keys and nothing else:

  sallyport log keys > keys
  sallyport log prove ID > crossing.tlog-proof
  sallyport-verify --keys keys crossing.tlog-proof

A crossing of just now is proven within seconds: the command waits for that.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Id = args[0]
			return a.logProve(cmd.Context(), &request)
		},
	}
	cmd.Flags().BoolVar(&request.Both, "both", false, "what the ingress gateway recorded, too")
	return cmd
}

// The time that a proof is waited for, and between two times that it is asked for.
const (
	proofPatience = 20 * time.Second
	proofPause    = 500 * time.Millisecond
)

func (a *app) logProve(ctx context.Context, request *controlv1.ProveRequest) error {
	return a.ask(ctx, func(c *connection) error {
		client := controlv1.NewLogServiceClient(c)
		resp, err := client.Prove(ctx, request)
		for deadline := time.Now().Add(proofPatience); status.Code(err) == codes.Unavailable && time.Now().Before(deadline); {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(proofPause):
			}
			resp, err = client.Prove(ctx, request)
		}
		if err != nil {
			return answered("prove "+request.GetId(), c, err)
		}
		_, err = a.stdout.Write(resp.GetProof())
		return err
	})
}

func (a *app) logKeysCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keys",
		Short: "Print the public keys by which proofs are checked",
		Long: `Print the public keys of the logs, of what gateways state, and the roots of the trust
domains, as the logs have them, in the form that sallyport-verify reads. Whoever trusts
nobody gets them from the environments' owners, and holds them against this list.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), func(c *connection) error {
				resp, err := controlv1.NewLogServiceClient(c).ListKeys(cmd.Context(), &controlv1.ListKeysRequest{})
				if err != nil {
					return answered("list keys", c, err)
				}
				_, err = fmt.Fprint(a.stdout, resp.GetKeys())
				return err
			})
		},
	}
}

func (a *app) logExportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Write an evidence pack to standard output",
		Long: `Write one file, a tar, with all that the logs have and every frame that gateways have
delivered. sallyport-verify checks all of it, with public keys and nothing else.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.logExport(cmd.Context()) },
	}
}

func (a *app) logExport(ctx context.Context) error {
	const doing = "export"
	return a.ask(ctx, func(c *connection) error {
		stream, err := controlv1.NewLogServiceClient(c).Export(ctx, &controlv1.ExportRequest{})
		if err != nil {
			return answered(doing, c, err)
		}
		return each(doing, c, stream.Recv, func(r *controlv1.ExportResponse) error {
			_, err := a.stdout.Write(r.GetData())
			return err
		})
	})
}
