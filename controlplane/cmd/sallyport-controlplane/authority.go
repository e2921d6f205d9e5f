package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/certs/authority/admin"
	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
	"github.com/sallyport-mesh/sallyport/certs/authority/issued"
	"github.com/sallyport-mesh/sallyport/certs/authority/keys"
)

func (f *flags) authorityCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "authority --config FILE",
		Short: "Run an environment's issuer and Workload API: in that environment, by its owner",
		Long:  authorityHelp,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.runAuthority(cmd.Context()) },
	}
	cmd.AddCommand(f.rootCommand(), f.issuedCommand(), f.signerCommand())
	return cmd
}

const rootHelp = `Replace the root of a trust domain, step by step, while the authority runs:

  prepare   make a new root. Others learn it by the bundle; nothing is issued by it.
  activate  issue everything under it from now on. The root before it is old: it
            issues nothing, and is trusted for what it has issued. Refused until the
            bundle's refresh hint has passed and all known followers hold the root:
            the control plane, and the gateways of other environments.
  retire    take the old root out of the bundle and destroy its key. Refused while
            anything is valid that was issued under it.
  abandon   take a prepared root out of the bundle instead of activating it.

Refused steps can be forced: whoever has not learnt the root then stops being
understood, or an SVID that is still used stops being believed. The key of
JWT-SVIDs is replaced with the root. Intermediates are replaced by themselves.`

func (f *flags) rootCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "root",
		Short: "Look at the roots of a running authority, and replace them",
		Long:  rootHelp,
		Args:  cobra.NoArgs,
	}
	show := &cobra.Command{Use: "show --config FILE", Short: "Show the roots of the bundle", Args: cobra.NoArgs}
	asJSON := jsonFlag(show)
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.withAdmin(func(c *admin.Client) error {
			roots, err := c.Roots(cmd.Context())
			if err != nil {
				return err
			}
			return showRoots(cmd.OutOrStdout(), *asJSON, roots)
		})
	}
	cmd.AddCommand(show)
	for _, s := range []struct{ name, short string }{
		{"prepare", "Make a new root, for others to learn"},
		{"activate", "Issue everything under the prepared root"},
		{"retire", "End the trust in the old root"},
		{"abandon", "Drop the prepared root"},
	} {
		cmd.AddCommand(f.stepCommand(s.name, s.short))
	}
	return cmd
}

func (f *flags) stepCommand(name, short string) *cobra.Command {
	cmd := &cobra.Command{Use: name + " --config FILE", Short: short, Args: cobra.NoArgs}
	force := false
	if name == "activate" || name == "retire" {
		cmd.Flags().BoolVar(&force, "force", false, "even if it breaks what others do now")
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.withAdmin(func(c *admin.Client) error {
			step := c.Step
			if force {
				step = c.ForceStep
			}
			roots, err := step(cmd.Context(), name)
			if errors.Is(err, admin.ErrNotYet) {
				return refusedError{fmt.Errorf("%w (--force does it all the same)", err)}
			}
			if err != nil {
				return err
			}
			return showRoots(cmd.OutOrStdout(), *asJSON, roots)
		})
	}
	return cmd
}

// jsonFlag is -o json.
func jsonFlag(cmd *cobra.Command) *bool {
	asJSON := false
	cmd.Flags().VarP((*outputFlag)(&asJSON), "output", "o", "table or json")
	return &asJSON
}

// outputFlag is set if the output is to be JSON.
type outputFlag bool

// Set implements pflag.Value.
func (o *outputFlag) Set(text string) error {
	if text != "json" && text != "table" {
		return errors.New("choose table or json")
	}
	*o = text == "json"
	return nil
}

// String implements pflag.Value.
func (o *outputFlag) String() string {
	if *o {
		return "json"
	}
	return "table"
}

// Type implements pflag.Value.
func (*outputFlag) Type() string { return "FORMAT" }

// withAdmin speaks to the authority that runs with the configuration.
func (f *flags) withAdmin(do func(*admin.Client) error) error {
	cfg, err := readAuthority(f.config)
	if err != nil {
		return refusedError{err}
	}
	socket := filepath.Join(cfg.Authority.Dir, admin.Socket)
	if err := do(admin.Dial(socket)); err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return fmt.Errorf("%w: does the authority run, and may you use %q?", err, socket)
		}
		return err
	}
	return nil
}

func showRoots(w io.Writer, asJSON bool, roots []admin.Root) error {
	if asJSON {
		return writeJSON(w, roots)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ROOT\tSTATE\tSINCE\tENDS\tINTERMEDIATE ENDS\tDIGEST")
	for _, r := range roots {
		intermediate := "none"
		if r.Intermediate != nil {
			intermediate = at(r.Intermediate.NotAfter)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", r.Number, r.State, at(r.Since), at(r.Root.NotAfter), intermediate, r.Root.SHA256)
	}
	return t.Flush()
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

const issuedHelp = `Print the issuing log of an authority, running or not: what was issued, to which
process, and what was found out about it. -o json prints the entries as they are,
one a line.`

func (f *flags) issuedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issued --config FILE",
		Short: "Print what was issued, and to whom",
		Long:  issuedHelp,
		Args:  cobra.NoArgs,
	}
	var id string
	cmd.Flags().StringVar(&id, "id", "", "only what was issued for this SPIFFE `ID`")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := readAuthority(f.config)
		if err != nil {
			return refusedError{err}
		}
		return printIssued(cmd.OutOrStdout(), cfg.Authority.Dir, id, *asJSON)
	}
	return cmd
}

func printIssued(w io.Writer, dir, id string, asJSON bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(t, "TIME\tKIND\tID\tENDS\tSERIAL\tROOT\tPROCESS\tATTESTED")
	}
	lines := json.NewEncoder(w)
	err := issued.Read(dir, func(e *issued.Entry) error {
		if id != "" && e.ID != id {
			return nil
		}
		if asJSON {
			return lines.Encode(e)
		}
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n",
			at(e.Time), e.Kind, e.ID, at(e.NotAfter), e.Serial, e.Root, e.PID, strings.Join(e.Attested, " "))
		return err
	})
	return errors.Join(err, t.Flush())
}

const signerHelp = `Keep an authority's keys in a process and under a user of its own: who takes over
the authority can have things signed while he is there, and takes no key along. The
authority's configuration names the socket as its signer. What speaks this socket's
protocol (documented in certs/authority/keys) can keep the keys in a token or a
cloud's key service instead.`

func (f *flags) signerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "signer --dir DIR --socket PATH --user NAME",
		Short: "Keep an authority's keys apart from it, and sign with them",
		Long:  signerHelp,
		Args:  cobra.NoArgs,
	}
	var dir, socket, name string
	cmd.Flags().StringVar(&dir, "dir", "", "where the keys are; made if it is missing")
	cmd.Flags().StringVar(&socket, "socket", "", "Unix `PATH` that the authority connects to")
	cmd.Flags().StringVar(&name, "user", "", "the authority's user, by name; the own one if absent")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if dir == "" || socket == "" {
			return refusedError{errors.New("give --dir and --socket")}
		}
		return f.runSigner(cmd.Context(), dir, socket, name)
	}
	return cmd
}

func (f *flags) runSigner(ctx context.Context, dir, socket, name string) error {
	log, err := f.logger()
	if err != nil {
		return err
	}
	users := attest.Selectors{UIDs: []uint32{uint32(os.Geteuid())}}
	if name != "" {
		names := &faults{path: "signer"}
		users.UIDs = names.users("--user", []string{name})
		if err := names.join(); err != nil {
			return refusedError{err}
		}
	}
	store, err := keys.OpenDisk(dir)
	if err != nil {
		return err
	}
	if socket, err = filepath.Abs(socket); err != nil {
		return err
	}
	l, err := keys.Listen(socket)
	if err != nil {
		return err
	}
	tellReady(log)
	return keys.Serve(ctx, l, store, users, log)
}
