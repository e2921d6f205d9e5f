package main

import (
	"context"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/asked"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func (a *app) questionsCommand() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "questions",
		Short: "Answer the five questions of a security team, from what is there now",
		Long: `Answer, from what crossed and what the gateways state now: how many systems have to be
opened to trace a request; which open transitions nobody owns; how many policy languages
it takes to prove segmentation; whether signals of all environments are joined; and which
teams see only their own layer.

Exit codes: 0 all is as it should be; 1 an answer is not; 2 an answer is unknown.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.questions(cmd.Context(), format) },
	}
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) questions(ctx context.Context, format render.Format) error {
	transitions, err := a.transitions(ctx)
	if err != nil {
		return err
	}
	findings, err := a.findings(ctx, &controlv1.ListUnmatchedRequest{})
	if err != nil {
		return err
	}
	all := render.Answers(transitions, findings)
	list := make(render.List, len(all))
	code := yes
	for i, q := range all {
		list[i] = q
		switch {
		case q.Answer == render.Unknown:
			code = couldNotSay
		case q.Bad && code == yes:
			code = refused
		}
	}
	if err := a.print(format, list, func(w io.Writer) error { return render.Questions(w, all) }); err != nil || code == yes {
		return err
	}
	return quiet(code)
}

// transitions asks for all pairs of environments.
func (a *app) transitions(ctx context.Context) ([]*controlv1.TransitionStatus, error) {
	r, err := call(ctx, a, "list transitions", controlv1.CrossingServiceClient.ListTransitions,
		controlv1.NewCrossingServiceClient, &controlv1.ListTransitionsRequest{})
	return r.GetTransitions(), err
}

func (a *app) ownerCommand() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "owner FROM TO",
		Short: "Say who answers for a transition, and where its records land",
		Long: `Say who owns security for the transition from one environment to another, where its log
entries land, when it is reviewed next, and what crossed it.

Exit codes: 0 somebody owns it; 1 it is shut: nobody does; 2 could not tell.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.owner(cmd.Context(), format, args[0], args[1]) },
	}
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) owner(ctx context.Context, format render.Format, from, to string) error {
	transitions, err := a.transitions(ctx)
	if err != nil {
		return err
	}
	o := render.Ownership{Now: a.now()}
	err = a.withPolicy(ctx, func(p *published) error {
		o.Policy, o.Serial = p.policy, p.manifest.GetSerial()
		return nil
	})
	if err != nil {
		return err
	}
	known := slices.Sorted(maps.Keys(o.Policy.GetEnvironments()))
	for _, name := range []string{from, to} {
		if !slices.Contains(known, name) {
			return noEnvironment(name, known)
		}
	}
	if from == to {
		return usage("a transition is from one environment to another; what stays in %s crosses nothing", from)
	}
	for _, t := range transitions {
		if t.GetFrom() == from && t.GetTo() == to {
			o.Status = t
		}
	}
	if o.Status == nil {
		o.Status = &controlv1.TransitionStatus{From: from, To: to}
	}
	if o.LastDay, err = a.lastDay(ctx, from, to); err != nil {
		return err
	}
	if err := a.print(format, o.Value(), func(w io.Writer) error { return render.Owner(w, o) }); err != nil {
		return err
	}
	if !o.Status.GetOpen() || o.Status.GetOwner() == "" {
		return quiet(refused)
	}
	return nil
}

// day is the time of which `owner` counts what crossed.
const day = 24 * time.Hour

// lastDay counts what crossed a transition in the last 24 hours.
func (a *app) lastDay(ctx context.Context, from, to string) (t render.Tally, err error) {
	m, err := call(ctx, a, "count what crossed", controlv1.CrossingServiceClient.GetMatrix,
		controlv1.NewCrossingServiceClient, &controlv1.GetMatrixRequest{Since: timestamppb.New(a.now().Add(-day))})
	for _, c := range m.GetCells() {
		if c.GetFrom() == from && c.GetTo() == to {
			t.Add(c)
		}
	}
	return t, err
}

func (a *app) matrixCommand() *cobra.Command {
	var format render.Format
	var since, until string
	request := controlv1.GetMatrixRequest{Talkers: 10}
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Show what crossed from each environment to each other one, and who talked most",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if request.Since, request.Until, err = asked.Window(since, until, a.now()); err != nil {
				return usage("%v", err)
			}
			return a.matrix(cmd.Context(), format, &request)
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "what opened then or later, in whole minutes: RFC 3339 time, or how long ago, such as 24h")
	cmd.Flags().StringVar(&until, "until", "", "what opened earlier than that: as --since")
	cmd.Flags().Uint32Var(&request.Talkers, "talkers", 10, "how many of those who talked most")
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) matrix(ctx context.Context, format render.Format, request *controlv1.GetMatrixRequest) error {
	m, err := call(ctx, a, "count what crossed", controlv1.CrossingServiceClient.GetMatrix, controlv1.NewCrossingServiceClient, request)
	if err != nil {
		return err
	}
	transitions, err := a.transitions(ctx)
	if err != nil {
		return err
	}
	return a.print(format, render.Message(m), func(w io.Writer) error { return render.Matrix(w, transitions, m) })
}
