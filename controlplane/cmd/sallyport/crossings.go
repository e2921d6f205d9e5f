package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/asked"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// crossingFilter is the flags of `crossings`.
type crossingFilter struct {
	request  controlv1.ListCrossingsRequest
	identity string
	decision string
	state    string
	since    string
	until    string
	open     bool
	calls    callFlags
	format   render.Format
}

func (a *app) crossingsCommand() *cobra.Command {
	f := new(crossingFilter)
	cmd := &cobra.Command{
		Use:   "crossings",
		Short: "List what crossed from one environment to another, and what was denied",
		Long: `List what crossed from one environment to another, and what was denied.

With --ai these are calls of AI services, with what they were asked for and what they
took: the model, and the one that served if it was another; tokens, marked by ≥ where
the provider reported none and the gateway counted what passed; and at the end what all
that is listed took, by model. By --model, --tool and --data-class there is no index: the
control plane reads what the other filters leave, which --since keeps short.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := f.build(a.now())
			if err != nil {
				return err
			}
			if request.Identity, err = a.identity(cmd.Context(), f.identity); err != nil {
				return err
			}
			if err := a.knowEnvironments(cmd.Context(), request.GetFrom(), request.GetTo()); err != nil {
				return err
			}
			form, err := f.calls.form(f.format)
			if err != nil {
				return err
			}
			if request.GetFollow() {
				return a.follow(cmd.Context(), form, request, f.open)
			}
			return a.list(cmd.Context(), form, request)
		},
	}
	f.flags(cmd)
	f.calls.flags(cmd, &f.request)
	formatFlag(cmd, &f.format)
	cmd.AddCommand(a.refusedCommand())
	return cmd
}

func (f *crossingFilter) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.request.From, "from", "", "environment of the caller")
	flags.StringVar(&f.request.To, "to", "", "environment of the callee")
	flags.StringVar(&f.identity, "identity", "", "the caller or the callee: a workload's name or a SPIFFE ID")
	flags.StringVar(&f.decision, "decision", "", "allow (neither gateway denied it) or deny (one did)")
	flags.StringVar(&f.state, "state", "", "of the record: "+strings.Join(asked.States(), ", "))
	flags.StringVar(&f.since, "since", "", "what opened then or later: RFC 3339 time, or how long ago, such as 10m")
	flags.StringVar(&f.until, "until", "", "what opened earlier than that: as --since")
	flags.StringVar(&f.request.Owner, "owner", "", "team that owns the transition")
	flags.Uint32Var(&f.request.Limit, "limit", 0, "the newest so many; 0 for all")
	flags.StringVar(&f.request.Before, "before", "", "crossing: with --limit the page before the one that begins with it")
	flags.BoolVar(&f.request.Follow, "follow", false, "go on with each crossing, once it is finished")
	flags.BoolVar(&f.open, "open", false, "with --follow: show each crossing when it opens, too")
	complete(cmd, "decision", "allow", "deny")
	complete(cmd, "state", asked.States()...)
}

// build makes the request that the flags ask for.
func (f *crossingFilter) build(now time.Time) (*controlv1.ListCrossingsRequest, error) {
	request := proto.CloneOf(&f.request)
	if f.open && !request.GetFollow() {
		return nil, usage("--open goes with --follow: a list shows open crossings anyway")
	}
	switch strings.ToLower(f.decision) {
	case "":
	case "allow":
		request.Decision = crossingv1.Decision_ALLOW
	case "deny":
		request.Decision = crossingv1.Decision_DENY
	default:
		return nil, usage("--decision %q: want allow or deny", f.decision)
	}
	if request.GetBefore() != "" {
		id, err := uuid.Parse(request.GetBefore())
		if err != nil {
			return nil, usage("--before %q is no crossing's id, such as 01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88", request.GetBefore())
		}
		request.Before = id.String()
	}
	var err error
	if request.State, err = asked.State(f.state); err != nil {
		return nil, usage("%v", err)
	}
	if request.Since, request.Until, err = asked.Window(f.since, f.until, now); err != nil {
		return nil, usage("%v", err)
	}
	return request, nil
}

// knowEnvironments refuses names that no transition has: what is misspelt would match
// nothing, and look like an answer. Empty ones are not asked about.
func (a *app) knowEnvironments(ctx context.Context, names ...string) error {
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	if len(names) == 0 {
		return nil
	}
	transitions, err := a.transitions(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, t := range transitions {
		known[t.GetFrom()], known[t.GetTo()] = true, true
	}
	for _, name := range names {
		if len(known) > 0 && !known[name] { // of a mesh without a policy there is nothing to know
			return noEnvironment(name, slices.Sorted(maps.Keys(known)))
		}
	}
	return nil
}

// noEnvironment says which there are where none is near.
func noEnvironment(name string, known []string) error {
	return usage("%q is no environment of the policy%s", name, cmp.Or(nearest.Hint(name, known), "; it has "+strings.Join(known, ", ")))
}

// identity is the SPIFFE ID that a name or an ID stands for. A name is the
// policy's: what is neither would match nothing, and look like an answer.
func (a *app) identity(ctx context.Context, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if strings.Contains(text, "://") {
		id, err := spiffeid.FromString(text)
		if err != nil {
			return "", usage("--identity %q is no SPIFFE ID: %v", text, err)
		}
		return id.String(), nil
	}
	var workload *policyv1.Workload
	var known []string
	err := a.withPolicy(ctx, func(p *published) error {
		workload, known = p.policy.GetWorkloads()[text], slices.Collect(maps.Keys(p.policy.GetWorkloads()))
		return nil
	})
	if err != nil && !errors.Is(err, errNoPolicy) {
		return "", err
	}
	switch id := workload.GetId(); {
	case workload == nil:
		return "", usage("--identity %q is no workload of the policy in force and no SPIFFE ID%s", text, nearest.Hint(text, known))
	case strings.Contains(id, "*"):
		return "", usage("--identity %q stands for any ID of the form %s: give one of them", text, id)
	default:
		return id, nil
	}
}

func (a *app) list(ctx context.Context, form crossingForm, request *controlv1.ListCrossingsRequest) error {
	records, err := a.records(ctx, request)
	if err != nil {
		return err
	}
	list := make(render.List, len(records))
	for i, r := range records {
		list[i] = form.value(r)
	}
	if err := a.print(form.format, list, func(w io.Writer) error { return form.table(w, records) }); err != nil {
		return err
	}
	return found(len(records), "crossing")
}

func (a *app) refusedCommand() *cobra.Command {
	var format render.Format
	var from string
	cmd := &cobra.Command{
		Use:   "refused",
		Short: "List what was refused before there was an identity, counted by reason, prefix and second",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			earliest, err := asked.Time("--since", from, a.now())
			if err != nil {
				return usage("%v", err)
			}
			return a.refused(cmd.Context(), format, &controlv1.ListRefusalsRequest{Since: earliest})
		},
	}
	cmd.Flags().StringVar(&from, "since", "", "RFC 3339 time, or how long ago, such as 10m")
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) refused(ctx context.Context, format render.Format, request *controlv1.ListRefusalsRequest) error {
	list := render.List{}
	g := render.Refusals()
	err := a.ask(ctx, func(c *connection) error {
		stream, err := controlv1.NewCrossingServiceClient(c).ListRefusals(ctx, request)
		if err != nil {
			return answered("list refusals", c, err)
		}
		return each("list refusals", c, stream.Recv, func(r *controlv1.GatewayRefusal) error {
			list = append(list, render.Message(r))
			render.RefusalRow(g, r.GetGateway(), r.GetRefusal())
			return nil
		})
	})
	if err != nil {
		return err
	}
	if err := a.print(format, list, g.Flush); err != nil {
		return err
	}
	return found(len(list), "refusal")
}
