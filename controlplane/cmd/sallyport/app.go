package main

import (
	"context"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/identity"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
)

// app is one invocation of the tool.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// now is the clock that dates and leases are judged by.
	now func() time.Time
	// connect reaches a mesh; tests put a server in memory here.
	connect func(ctx context.Context, m meshFlags) (*connection, error)

	mesh meshFlags
	// toldStopped says that whoever asks knows already that the mesh is stopped: an
	// answer may take several questions.
	toldStopped bool
}

// meshFlags say which mesh is meant.
type meshFlags struct {
	// dir is a local mesh's directory.
	dir string
	// server is a remote control plane's host:port.
	server string
	// serverID is that control plane's SPIFFE ID.
	serverID string
	// workloadAPI is where the operator's own SVID comes from; empty means
	// SPIFFE_ENDPOINT_SOCKET.
	workloadAPI string
	// keySet is the file that says who may sign a policy; empty means the local
	// mesh's own.
	keySet string
}

// run is the tool: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now}
	a.connect = a.dial
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return a.report(cmd, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "Ask and govern a mesh of identity-aware gateways",
		Long: `sallyport checks, signs and publishes the policy of a mesh, and says what crossed
from one environment to another, who answers for it, and why it was let through.

A mesh is named by --dir (a local one, running or stopped) or by --server and
--server-id (a remote one, met with an SVID of the Workload API).

Exit codes: 0 yes; 1 no (a refused policy, a denied call, nothing found);
2 could not tell (no connection, bad usage).`,
		Version:       buildOf(debug.ReadBuildInfo()).String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          choose,
	}
	f := root.PersistentFlags()
	f.StringVar(&a.mesh.dir, "dir", os.Getenv("SALLYPORT_DIR"), "directory of a local mesh (SALLYPORT_DIR)")
	f.StringVar(&a.mesh.server, "server", "", "HOST:PORT of a remote control plane")
	f.StringVar(&a.mesh.serverID, "server-id", "", "SPIFFE ID that the remote control plane must have")
	f.StringVar(&a.mesh.workloadAPI, "workload-api", "", "address of the Workload API that gives your SVID (SPIFFE_ENDPOINT_SOCKET)")
	f.StringVar(&a.mesh.keySet, "keyset", "", "file of the keys that may sign a policy (DIR/operator/keyset.json)")
	own := identity.Tool{Stdin: a.stdin, Stdout: a.stdout, Now: a.now, WorkloadAPI: &a.mesh.workloadAPI, Group: group, Usage: usage}
	root.AddCommand(a.questionsCommand(), a.ownerCommand(), a.matrixCommand(), a.policyCommand(), a.traceCommand(), a.crossingsCommand(), a.unmatchedCommand(), a.transitionsCommand(),
		a.logCommand(), a.gatewaysCommand(), a.workloadsCommand(), a.quarantineCommand(), a.actsCommand(), a.holdsCommand(), a.sealedCommand(), own.SVID(), own.Label(), a.attachCommand(),
		a.demoCommand(), a.versionCommand())
	root.SetVersionTemplate("{{.Version}}\n")
	return root
}

// choose is what a command that only groups others does.
func choose(cmd *cobra.Command, _ []string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return usage("choose a command: %s; see %s --help", strings.Join(names, ", "), cmd.CommandPath())
}

// group makes a command that only groups others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: choose}
	cmd.AddCommand(subs...)
	return cmd
}

// formatFlag gives a read command its -o.
func formatFlag(cmd *cobra.Command, f *render.Format) {
	cmd.Flags().VarP(f, "output", "o", "table, json or yaml")
	complete(cmd, "output", render.Formats()...)
}

// complete offers words to the shell for a flag's value.
func complete(cmd *cobra.Command, flag string, words ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist: a broken program
	}
}

// print answers in the wanted format: value for scripts, table for people.
func (a *app) print(f render.Format, value any, table func(w io.Writer) error) error {
	switch f {
	case render.JSON:
		return render.WriteJSON(a.stdout, value)
	case render.YAML:
		return render.WriteYAML(a.stdout, value)
	}
	return table(a.stdout)
}
