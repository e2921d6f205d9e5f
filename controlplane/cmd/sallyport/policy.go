package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/policykey"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func (a *app) policyCommand() *cobra.Command {
	return group("policy", "Check, sign, publish and question the policy",
		a.policyCheck(), a.policyApply(), a.policyDiff(), a.policyShow(), a.policyExplain(), a.policyExport(), a.policyKeygen())
}

// published is the policy in force, as a mesh told it.
type published struct {
	signed   *policyv1.SignedPolicy
	manifest *policyv1.Manifest
	policy   *policyv1.Policy
}

// ref names the published policy.
func (p *published) ref() policy.Ref {
	return policy.Ref{Serial: p.manifest.GetSerial(), Revision: p.manifest.GetRevision()}
}

// errNoPolicy says that a mesh has no policy yet.
var errNoPolicy = errors.New("no policy is in force yet")

// current asks for the policy in force and verifies it under the key set, so that
// a control plane cannot show an operator what nobody signed. It fails with
// errNoPolicy if there is none.
func (a *app) current(ctx context.Context, c *connection, keys *policyv1.KeySet) (*published, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sp, err := controlv1.NewPolicyServiceClient(c).GetPolicy(ctx, &controlv1.GetPolicyRequest{})
	if status.Code(err) == codes.NotFound {
		return nil, &outcome{code: refused, text: errNoPolicy.Error(), cause: errNoPolicy}
	}
	if err != nil {
		return nil, answered("get the policy in force", c, err)
	}
	if keys == nil {
		fmt.Fprintln(a.stderr, "sallyport: without a key set (--keyset) nobody vouches for this policy but the control plane")
		return unverified(sp)
	}
	manifest, p, err := signed.Verify(sp, keys)
	if err != nil {
		return nil, fmt.Errorf("verify the policy in force under your key set: %w", err)
	}
	return &published{signed: sp, manifest: manifest, policy: p}, nil
}

// unverified reads a policy without looking at its signatures.
func unverified(sp *policyv1.SignedPolicy) (*published, error) {
	manifest := new(policyv1.Manifest)
	if err := protojson.Unmarshal(sp.GetManifest(), manifest); err != nil {
		return nil, fmt.Errorf("read the manifest of the policy in force: %w", err)
	}
	p, err := signed.Decode(sp.GetPolicy())
	if err != nil {
		return nil, fmt.Errorf("read the policy in force: %w", err)
	}
	return &published{signed: sp, manifest: manifest, policy: p}, nil
}

// keySet reads the key set of --keyset or of the local mesh. It is nil if neither
// is there.
func (a *app) keySet() (*policyv1.KeySet, error) {
	path := a.mesh.keySet
	if path == "" && a.mesh.dir != "" && a.mesh.server == "" {
		path = filepath.Join(a.mesh.dir, "operator", policykey.KeySetFile)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			path = ""
		}
	}
	if path == "" {
		return nil, nil // no key set is an answer: then nothing is verified, and the operator is told
	}
	return policykey.ReadSet(path)
}

// neededKeySet is keySet where nothing can be done without one.
func (a *app) neededKeySet() (*policyv1.KeySet, error) {
	set, err := a.keySet()
	if err == nil && set == nil {
		err = usage("give --keyset FILE: the keys that may sign a policy (`sallyport policy keygen` makes a set)")
	}
	return set, err
}

func (a *app) policyShow() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the policy in force",
		Long: `Show the policy in force. As yaml it is in the form that people write, without what
was compiled from it, so that it can be edited and applied again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withPolicy(cmd.Context(), func(p *published) error {
				text := written(p.policy)
				if format == render.YAML { // a comment, so that it can be applied
					fmt.Fprintf(a.stdout, "# serial %d, revision %s\n", p.ref().Serial, p.ref().Revision)
				}
				return a.print(format, shownValue(format, p.ref(), text), func(w io.Writer) error {
					return render.Policy(w, p.manifest, text)
				})
			})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

// shownValue is a policy for scripts, after its serial and revision; in YAML
// without them, as people write it.
func shownValue(format render.Format, ref policy.Ref, text *policyv1.Policy) render.Object {
	o := render.Sparse(text)
	if format == render.YAML {
		return o
	}
	return append(render.Object{
		{Name: "serial", Value: render.Number(ref.Serial)}, {Name: "revision", Value: ref.Revision},
	}, o...)
}

// withPolicy asks for the policy in force and passes it on.
func (a *app) withPolicy(ctx context.Context, f func(p *published) error) error {
	keys, err := a.keySet()
	if err != nil {
		return err
	}
	return a.ask(ctx, func(c *connection) error {
		p, err := a.current(ctx, c, keys)
		if err != nil {
			return err
		}
		return f(p)
	})
}

func (a *app) policyKeygen() *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use:   "keygen DIR",
		Short: "Make a policy key and a key set of it",
		Long: `Make an Ed25519 key that signs policies (DIR/policy.key) and the key set that gateways
pin in their bootstrap files (DIR/keyset.json). Nothing that exists is replaced. The
key stays with you: the control plane must never hold it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, _, err := policykey.Generate(args[0], id)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "key %s in %s, its key set in %s\n", key.KeyID(),
				filepath.Join(args[0], policykey.KeyFile), filepath.Join(args[0], policykey.KeySetFile))
			return nil
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "id of the key in key sets (made of its digest)")
	return cmd
}
