package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/policykey"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// bootstrapFlags are what a bootstrap file says of the gateway's own host.
type bootstrapFlags struct {
	out      string
	own      configv1.Bootstrap
	stateDir string
	ports    map[string]string // where to listen, to destination
}

func (a *app) gatewaysAdd() *cobra.Command {
	f := new(bootstrapFlags)
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Write the bootstrap file of a gateway that the policy names",
		Long: `Write the bootstrap file of a gateway that the policy names: its control plane and how
to know it, and the keys that may sign a policy. The keys come from your own key set
(--keyset), never from the control plane. The file holds no secret.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.addGateway(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.out, "out", "o", "", "file to write, - for standard output (NAME.bootstrap.json)")
	flags.StringVar(&f.own.WorkloadApi, "gateway-workload-api", "", "Workload API on the gateway's host (SPIFFE_ENDPOINT_SOCKET there)")
	flags.StringVar(&f.own.Attach, "attach", "", "HOST:PORT where workloads attach by TLS (127.0.0.1:8443)")
	flags.StringVar(&f.own.AttachLoopback, "attach-loopback", "", "loopback HOST:PORT where workloads attach by a JWT-SVID without TLS (none)")
	flags.StringVar(&f.own.Tunnel, "tunnel", "", "HOST:PORT to listen on for peer gateways (the policy's tunnel address)")
	flags.StringVar(&f.own.Admin, "admin", "", "loopback HOST:PORT of health, readiness and metrics (none)")
	flags.StringSliceVar(&f.own.Carriers, "carrier", nil, "carrier of tunnels to use, TCP or QUIC (both)")
	flags.StringToStringVar(&f.ports, "port", nil, "HOST:PORT=WORKLOAD.ENVIRONMENT.mesh:PORT, a TLS address whose connections go to one destination (none)")
	flags.StringVar(&f.stateDir, "state-dir", "", "directory of the last good policy and the spool (/var/lib/sallyport/NAME)")
	return cmd
}

func (a *app) addGateway(ctx context.Context, name string, f *bootstrapFlags) error {
	keys, err := a.neededKeySet()
	if err != nil {
		return err
	}
	r, err := call(ctx, a, "get the bootstrap of gateway "+name, controlv1.GatewayServiceClient.GetBootstrap,
		controlv1.NewGatewayServiceClient, &controlv1.GetBootstrapRequest{Gateway: name})
	if err != nil {
		return err
	}
	b := f.bootstrap(name, r)
	b.PolicyKeys = keys
	var text bytes.Buffer
	if err := render.WriteJSON(&text, render.Message(b)); err != nil {
		return err
	}
	if f.out == "-" {
		_, err := a.stdout.Write(text.Bytes())
		return err
	}
	path := f.out
	if path == "" {
		path = name + ".bootstrap.json"
	}
	if err := policykey.WriteNew(path, text.Bytes(), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "wrote %s; on the gateway's host: sallyport-gateway run --bootstrap %s\n", path, filepath.Base(path))
	return err
}

// bootstrap joins what the control plane says with what the flags say of the
// gateway's host.
func (f *bootstrapFlags) bootstrap(name string, r *controlv1.GetBootstrapResponse) *configv1.Bootstrap {
	b := &configv1.Bootstrap{
		Gateway:        name,
		Environment:    r.GetEnvironment(),
		TrustDomain:    r.GetTrustDomain(),
		ControlPlane:   &configv1.ControlPlane{Address: r.GetAddress(), Id: r.GetId(), Bundle: r.GetBundle()},
		WorkloadApi:    f.own.GetWorkloadApi(),
		Attach:         f.own.GetAttach(),
		AttachLoopback: f.own.GetAttachLoopback(),
		Tunnel:         f.own.GetTunnel(),
		Admin:          f.own.GetAdmin(),
		Carriers:       f.own.GetCarriers(),
		StateDir:       f.stateDir,
	}
	for _, at := range slices.Sorted(maps.Keys(f.ports)) {
		b.Ports = append(b.Ports, &configv1.Port{Listen: at, To: f.ports[at]})
	}
	if b.Tunnel == "" {
		b.Tunnel = r.GetTunnel()
	}
	if b.StateDir == "" {
		b.StateDir = filepath.Join("/var/lib/sallyport", name)
	}
	return b
}
