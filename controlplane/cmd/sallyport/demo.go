package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/tour"
)

// errToured ends a demo that was asked to run once.
var errToured = errors.New("the tour is over")

// demo is one run of the demo command.
type demo struct {
	*app
	once bool
	logs string
	kept bool // the mesh's directory outlasts the demo
}

func (a *app) demoCommand() *cobra.Command {
	d := &demo{app: a}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run three environments on this machine, with a tour",
		Long: `demo brings up a whole mesh on this machine: three environments, each with its own
trust domain, gateway and workloads, and a control plane. It needs no cloud, no
root, no configuration and no network. It makes calls that must cross and calls
that must not, shows what became of each, and stays up until it is interrupted.
With --once it exits 0 after the tour if every step did what it should, and 1 if one
did not. With --dir it keeps everything in that directory and goes on there next time.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	cmd.Flags().BoolVar(&d.once, "once", false, "exit after the tour")
	cmd.Flags().StringVar(&d.logs, "logs", "warn", "what the mesh logs to standard error: debug, info, warn, error")
	return cmd
}

func (d *demo) run(ctx context.Context) error {
	dir := d.mesh.dir
	d.kept = dir != ""
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "sallyport-"); err != nil {
			return fmt.Errorf("make a directory for the mesh: %w", err)
		}
		defer os.RemoveAll(dir)
	}
	log, err := d.logger()
	if err != nil {
		return err
	}
	began := d.now()
	fmt.Fprint(d.stdout, "Sallyport demo: three environments on this machine, nothing to configure.\n"+
		"A scripted llm stands in for a model. All keys are on this machine: this shows the mechanism, not independence.\n\n")
	err = localmesh.Run(ctx, localmesh.Config{Dir: dir, Log: log}, func(ctx context.Context, m *localmesh.Mesh) error {
		return d.show(ctx, m, began)
	})
	switch {
	case errors.Is(err, errToured):
		return nil
	case errors.Is(err, localmesh.ErrRunning):
		return usage("a mesh already runs in %s: ask it with sallyport --dir %s crossings, or start another with another --dir", dir, dir)
	}
	return err
}

func (d *demo) show(ctx context.Context, m *localmesh.Mesh, began time.Time) error {
	if err := d.estate(ctx, m); err != nil {
		return err
	}
	if err := d.tour(ctx, m); err != nil {
		return err
	}
	took := d.now().Sub(began).Seconds()
	if d.once {
		after := ""
		if !d.kept {
			after = ", and with --dir DIR it can be asked afterwards"
		}
		fmt.Fprintf(d.stdout, "\nDone in %.1f s. Without --once the mesh stays up%s.\n", took, after)
		return errToured
	}
	fmt.Fprintf(d.stdout, "\nThe mesh stays up until Ctrl-C. In another shell:\n"+
		"  export SALLYPORT_DIR=%s\n"+
		"  sallyport crossings --follow\n"+
		"  sallyport policy apply $SALLYPORT_DIR/policy.yaml\n", m.Dir())
	return nil
}

// tour makes the tour, unless the policy in force is another than it was written
// for. A step that fails is a no of a demo that was asked to run once; otherwise it
// is said, and the mesh stays up to be looked into.
func (d *demo) tour(ctx context.Context, m *localmesh.Mesh) error {
	p, err := m.InForce(ctx)
	if err != nil {
		return err
	}
	if misfit := tour.Misfit(p, d.now()); misfit != "" {
		const line = "the policy in force, serial %d, is not the tour's, so the tour is skipped (%s)"
		if d.once {
			return no(line, p.Ref().Serial, misfit)
		}
		_, err := fmt.Fprintf(d.stdout, line+"\n", p.Ref().Serial, misfit)
		return err
	}
	tool := "sallyport"
	if d.kept || !d.once { // else its directory is gone when this is read
		tool += " --dir " + m.Dir()
	}
	err = tour.Run(ctx, d.stdout, m, tool)
	if _, failed := errors.AsType[*tour.StepError](err); !failed {
		return err
	}
	if d.once {
		return no("%v", err)
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(d.stderr, "sallyport: "+render.Printable(strings.TrimRight(line, "\n")))
	}
	return nil
}

// estate says what is up.
func (d *demo) estate(ctx context.Context, m *localmesh.Mesh) error {
	g := render.NewGrid().Indent()
	for _, env := range localmesh.Environments() {
		g.Row(env, localmesh.GatewayID(env).TrustDomain().IDString(), "gateway "+env+"-1", m.Workloads(env))
	}
	if err := g.Flush(d.stdout); err != nil {
		return err
	}
	line, err := m.PolicyLine(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.stdout, "  policy  %s\n\n", line)
	return err
}

// logger writes what goes wrong to standard error, for people.
func (d *demo) logger() (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(d.logs)
	if err != nil {
		return nil, usage("--logs %s: %v", d.logs, err)
	}
	config := zap.NewDevelopmentEncoderConfig()
	config.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(config), zapcore.AddSync(d.stderr), level)), nil
}
