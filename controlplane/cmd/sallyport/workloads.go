package main

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

func (a *app) workloadsCommand() *cobra.Command {
	return group("workloads", "List workloads and register where they are",
		a.workloadsList(), a.workloadsBindings(), a.workloadsRegister(), a.workloadsWithdraw())
}

func (a *app) workloadsList() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the workloads that the policy in force names",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withPolicy(cmd.Context(), func(p *published) error {
				workloads := render.WorkloadsOf(p.policy)
				list := make(render.List, len(workloads))
				for i, w := range workloads {
					list[i] = w.Value()
				}
				if err := a.print(format, list, func(w io.Writer) error { return render.Workloads(w, workloads) }); err != nil {
					return err
				}
				return found(len(workloads), "workload")
			})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) workloadsBindings() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "bindings [WORKLOAD]",
		Short: "List where workloads are, until when, and who says so",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := new(controlv1.ListBindingsRequest)
			if len(args) > 0 {
				request.Workload = args[0]
			}
			r, err := call(cmd.Context(), a, "list bindings", controlv1.WorkloadServiceClient.ListBindings,
				controlv1.NewWorkloadServiceClient, request)
			if err != nil {
				return err
			}
			return listed(a, format, "binding", r.GetBindings(), render.Bindings)
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

// registerFlags say where a workload is.
type registerFlags struct {
	endpoints, labels map[string]string
	addresses         []string
	cgroup            string
	lease             time.Duration
	format            render.Format
}

func (a *app) workloadsRegister() *cobra.Command {
	f := new(registerFlags)
	cmd := &cobra.Command{
		Use:   "register WORKLOAD --endpoint SERVICE=HOST:PORT...",
		Short: "Say where a workload is, for a time",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := f.request(args[0])
			if err != nil {
				return err
			}
			return a.register(cmd.Context(), f.format, request)
		},
	}
	flags := cmd.Flags()
	flags.StringToStringVar(&f.endpoints, "endpoint", nil, "SERVICE=HOST:PORT, HOST a literal IP address; repeat it for each service")
	flags.StringSliceVar(&f.addresses, "address", nil, "IP address of the workload; repeat it")
	flags.StringToStringVar(&f.labels, "label", nil, "KEY=VALUE; repeat it")
	flags.StringVar(&f.cgroup, "cgroup", "", "cgroup that it runs in")
	flags.DurationVar(&f.lease, "lease", 0, "how long this holds, such as 5m; for ever if 0")
	formatFlag(cmd, &f.format)
	return cmd
}

// request checks the flags; names are refused here because a name would be
// looked up by somebody else's DNS.
func (f *registerFlags) request(workload string) (*controlv1.RegisterRequest, error) {
	if len(f.endpoints) == 0 && len(f.addresses) == 0 {
		return nil, usage("register %s: give --endpoint SERVICE=HOST:PORT or --address IP", workload)
	}
	for service, endpoint := range f.endpoints {
		if _, err := netip.ParseAddrPort(endpoint); err != nil {
			return nil, usage("--endpoint %s=%s: want an IP address and a port, such as 10.1.7.20:8080", service, endpoint)
		}
	}
	for _, address := range f.addresses {
		if _, err := netip.ParseAddr(address); err != nil {
			return nil, usage("--address %s: want an IP address", address)
		}
	}
	if f.lease < 0 {
		return nil, usage("--lease %s: want a time to come, or 0 for ever", f.lease)
	}
	request := &controlv1.RegisterRequest{
		Workload: workload, Endpoints: f.endpoints, Addresses: f.addresses, Labels: f.labels, Cgroup: f.cgroup,
	}
	if f.lease > 0 {
		request.Lease = durationpb.New(f.lease)
	}
	return request, nil
}

func (a *app) workloadsWithdraw() *cobra.Command {
	var source string
	var format render.Format
	cmd := &cobra.Command{
		Use:   "withdraw WORKLOAD",
		Short: "Take back what you registered of a workload",
		Long: `Take back what you registered of a workload, or what --source did: then what others
registered or the policy says holds. The next call goes there.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := call(cmd.Context(), a, "withdraw "+args[0], controlv1.WorkloadServiceClient.Withdraw,
				controlv1.NewWorkloadServiceClient, &controlv1.WithdrawRequest{Workload: args[0], Source: source})
			if err != nil {
				return err
			}
			return a.print(format, render.Message(b), func(w io.Writer) error {
				return render.Bindings(w, []*controlv1.Binding{b})
			})
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "SPIFFE ID that registered it (you)")
	formatFlag(cmd, &format)
	return cmd
}

func (a *app) register(ctx context.Context, format render.Format, request *controlv1.RegisterRequest) error {
	b, err := call(ctx, a, "register "+request.GetWorkload(), controlv1.WorkloadServiceClient.Register,
		controlv1.NewWorkloadServiceClient, request)
	if err != nil {
		return err
	}
	return a.print(format, render.Message(b), func(w io.Writer) error {
		return render.Bindings(w, []*controlv1.Binding{b})
	})
}
