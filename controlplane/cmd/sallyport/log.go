package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifier"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/asked"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func (a *app) logCommand() *cobra.Command {
	return group("log", "Show what the environments' signed logs prove",
		a.logVerifyCommand(), a.logProveCommand(), a.logCheckpointCommand(), a.logKeysCommand(), a.logExportCommand())
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
	cmd.Flags().BoolVar(&request.Uncosigned, "uncosigned", false, "also from a checkpoint that no witness has cosigned")
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
		RunE: func(cmd *cobra.Command, _ []string) error { return a.logKeys(cmd.Context()) },
	}
}

func (a *app) logKeys(ctx context.Context) error {
	return a.ask(ctx, func(c *connection) error {
		resp, err := controlv1.NewLogServiceClient(c).ListKeys(ctx, &controlv1.ListKeysRequest{})
		if err != nil {
			return answered("list keys", c, err)
		}
		_, err = fmt.Fprint(a.stdout, resp.GetKeys())
		return err
	})
}

func (a *app) logVerifyCommand() *cobra.Command {
	var keys, since, to string
	format := "text"
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check all that the logs and the archive have",
		Long: `Take an evidence pack of all there is and check it as sallyport-verify does: every root
is computed again, every signature verified, every chain of statements followed, and all
frames are held against what was stated.

Without --keys the keys are those that the mesh itself tells. That shows what went wrong;
somebody who trusts nobody takes the pack elsewhere, with keys that the mesh did not give.

Exit codes: 0 all of it is proven; 1 it is not; 2 it could not be told.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.logVerify(cmd.Context(), keys, since, to, format)
		},
	}
	cmd.Flags().StringVar(&keys, "keys", "", "file of the keys to believe")
	cmd.Flags().StringVar(&since, "since", "", "file with a checkpoint that was kept from before")
	toFlag(cmd, &to)
	cmd.Flags().StringVarP(&format, "output", "o", format, "text or json")
	return cmd
}

func (a *app) logVerify(ctx context.Context, keys, since, until, format string) error {
	dir, err := os.MkdirTemp("", "sallyport-pack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	pack, err := os.Create(filepath.Join(dir, "pack.tar"))
	if err != nil {
		return err
	}
	to := *a
	to.stdout = pack
	if err := errors.Join(to.logExport(ctx, until), pack.Close()); err != nil {
		return err
	}
	if keys == "" {
		keys = filepath.Join(dir, "keys")
		var text strings.Builder
		to.stdout = &text
		if err := to.logKeys(ctx); err != nil {
			return err
		}
		if err := os.WriteFile(keys, []byte(text.String()), 0o600); err != nil {
			return err
		}
	}
	args := []string{"--keys", keys, "-o", format}
	if since != "" {
		args = append(args, "--since", since)
	}
	if code := verifier.Run(append(args, pack.Name()), a.stdout, a.stderr); code != yes {
		return quiet(code)
	}
	return nil
}

// toFlag says until when a pack is whole.
func toFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "to", "", "until when what was stated has to be there whole: a time, or how long ago; a minute ago if absent")
}

func (a *app) logExportCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write an evidence pack to standard output",
		Long: `Write one file, a tar, with all that the logs have and every frame that gateways have
delivered. sallyport-verify checks all of it, with public keys and nothing else. Of what
was stated in the last minute, frames may still be on their way: see --to.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.logExport(cmd.Context(), to) },
	}
	toFlag(cmd, &to)
	return cmd
}

func (a *app) logExport(ctx context.Context, to string) error {
	const doing = "export"
	until, err := asked.Time("--to", to, a.now())
	if err != nil {
		return usage("%v", err)
	}
	return a.ask(ctx, func(c *connection) error {
		stream, err := controlv1.NewLogServiceClient(c).Export(ctx, &controlv1.ExportRequest{To: until})
		if err != nil {
			return answered(doing, c, err)
		}
		return each(doing, c, stream.Recv, func(r *controlv1.ExportResponse) error {
			_, err := a.stdout.Write(r.GetData())
			return err
		})
	})
}
