package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/policykey"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// applyFlags say how a policy is published.
type applyFlags struct {
	keys   []string
	urgent bool
	format render.Format
}

func (a *app) policyApply() *cobra.Command {
	var f applyFlags
	var flag string
	cmd := &cobra.Command{
		Use:   "apply FILE|DIR",
		Short: "Check, sign and publish a policy",
		Long: `Check a policy, run its tests, sign it as the successor of the policy in force, and
publish it. The answer comes when every connected gateway enforces it; if some do not
within two seconds they are named, and the exit code is 2. A mesh's first policy comes
before its gateways, so that it is enough that it is published.

` + aPolicy,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := policyName(args, flag)
			if err != nil {
				return err
			}
			return a.apply(cmd.Context(), name, f)
		},
	}
	fileFlag(cmd, &flag)
	cmd.Flags().StringArrayVar(&f.keys, "key", nil, "file of a policy key; repeat it where the key set wants several (DIR/operator/policy.key)")
	cmd.Flags().BoolVar(&f.urgent, "urgent", false, "do not wait until every gateway is prepared: for denies that cannot wait")
	formatFlag(cmd, &f.format)
	return cmd
}

func (a *app) apply(ctx context.Context, name string, f applyFlags) error {
	c, err := a.checkPolicy(name, f.format)
	if err != nil {
		return err
	}
	a.warn(c)
	set, err := a.neededKeySet()
	if err != nil {
		return err
	}
	return a.ask(ctx, func(conn *connection) error {
		if conn.Stopped {
			return usage("the mesh in %s is stopped, so nothing was published; start it first", a.mesh.dir)
		}
		return a.publish(ctx, conn, set, c, f)
	})
}

// signers reads the keys that sign.
func (a *app) signers(paths []string, set *policyv1.KeySet) ([]signed.Signer, error) {
	if len(paths) == 0 && a.mesh.dir != "" && a.mesh.server == "" {
		paths = []string{filepath.Join(a.mesh.dir, "operator", policykey.KeyFile)}
	}
	if len(paths) == 0 {
		return nil, usage("give --key FILE: the policy key to sign with")
	}
	signers := make([]signed.Signer, len(paths))
	for i, path := range paths {
		key, err := policykey.Read(path, set)
		if err != nil {
			return nil, err
		}
		signers[i] = key
	}
	return signers, nil
}

// publish signs the policy as the next after the one in force, and publishes it.
func (a *app) publish(ctx context.Context, conn *connection, pinned *policyv1.KeySet, c *checked, f applyFlags) error {
	before, err := a.current(ctx, conn, pinned)
	if errors.Is(err, errNoPolicy) {
		before = &published{manifest: &policyv1.Manifest{Policy: c.policy.GetPolicy()}}
	} else if err != nil {
		return err
	}
	if was := before.manifest.GetPolicy(); was != c.policy.GetPolicy() {
		return no("the policy in force is called %s, the file's %s: this is another mesh's policy", was, c.policy.GetPolicy())
	}
	if before.manifest.GetRevision() == c.revision {
		return a.unchanged(f.format, before.manifest)
	}
	keys, err := signed.Keys(before.signed, pinned)
	if err != nil {
		return fmt.Errorf("find the keys that sign now: %w", err)
	}
	signers, err := a.signers(f.keys, keys)
	if err != nil {
		return err
	}
	sp, err := signed.Sign(c.policy, before.manifest.GetSerial()+1, before.manifest.GetRevision(), f.urgent, signers...)
	if err != nil {
		return fmt.Errorf("sign the policy: %w", err)
	}
	sp.Rotations = before.signed.GetRotations() // gateways pin the first key set
	if _, _, err := signed.Verify(sp, pinned); err != nil {
		return fmt.Errorf("verify the signed policy before it is sent (does the key set want more --key?): %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := controlv1.NewPolicyServiceClient(conn).Publish(ctx, &controlv1.PublishRequest{Signed: sp})
	if err != nil {
		return notPublished(conn, err)
	}
	if before.manifest.GetSerial() == 0 && len(response.GetInForce()) == 0 && noneConnected(ctx, conn) {
		return a.first(f.format, response)
	}
	return a.inForce(f.format, response)
}

// noneConnected says that surely no gateway asks the control plane for policies.
func noneConnected(ctx context.Context, conn *connection) bool {
	r, err := controlv1.NewGatewayServiceClient(conn).ListGateways(ctx, &controlv1.ListGatewaysRequest{})
	return err == nil && !slices.ContainsFunc(r.GetGateways(), (*controlv1.GatewayStatus).GetConnected)
}

// first says that a mesh's first policy is published. Bootstrap files are written
// for the gateways that a policy names, so that none can be there before it: that
// it is in force nowhere is no fault.
func (a *app) first(format render.Format, r *controlv1.PublishResponse) error {
	return a.print(format, render.Message(r), func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "policy %s serial %d published; no gateway is there yet: `sallyport gateways add NAME` writes the bootstrap file of each\n",
			render.Short(r.GetRevision()), r.GetSerial())
		return err
	})
}

// notPublished tells a refusal, which is a no, from not knowing.
func notPublished(conn *connection, err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.InvalidArgument:
		return &outcome{code: refused, text: "the control plane refuses the policy: " + s.Message(), cause: err}
	case codes.FailedPrecondition, codes.Aborted:
		return &outcome{code: refused, text: "another policy was published meanwhile; look at it (sallyport policy diff FILE) and apply again: " + s.Message(), cause: err}
	}
	return answered("publish the policy", conn, err)
}

// unchanged says that the file is what is in force: a new serial of the same
// content would say nothing new to anybody.
func (a *app) unchanged(format render.Format, m *policyv1.Manifest) error {
	r := &controlv1.PublishResponse{Serial: m.GetSerial(), Revision: m.GetRevision()}
	return a.print(format, render.Message(r), func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "policy %s serial %d is in force already; nothing was published\n", render.Short(r.GetRevision()), r.GetSerial())
		return err
	})
}

// inForce says where the policy is enforced.
func (a *app) inForce(format render.Format, r *controlv1.PublishResponse) error {
	if err := a.print(format, render.Message(r), func(w io.Writer) error { return inForceText(w, r) }); err != nil {
		return err
	}
	if len(r.GetBehind()) > 0 {
		return usage("behind: %s; `sallyport gateways` says why", strings.Join(r.GetBehind(), ", "))
	}
	return nil
}

func inForceText(w io.Writer, r *controlv1.PublishResponse) error {
	in, all := len(r.GetInForce()), len(r.GetInForce())+len(r.GetBehind())
	_, err := fmt.Fprintf(w, "policy %s serial %d in force at %d of %s after %s\n",
		render.Short(r.GetRevision()), r.GetSerial(), in, counted(all, "gateway"), render.Took(r.GetTook().AsDuration()))
	return err
}
