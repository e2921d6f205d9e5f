package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// reviewAfter is when somebody looks at an act, unless its author says otherwise.
const reviewAfter = 7 * 24 * time.Hour

// actFlags say how an act is made.
type actFlags struct {
	reason, reviewBy string
	keys             []string
	format           render.Format
}

func (f *actFlags) bind(cmd *cobra.Command, denies bool) {
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "", "why, in a line, for whoever reviews it")
	flags.StringArrayVar(&f.keys, "key", nil, "file of a policy key (DIR/operator/policy.key)")
	if denies {
		flags.StringVar(&f.reviewBy, "review-by", "", "date until which somebody looks at it, such as 2026-12-31 (in a week)")
	}
	formatFlag(cmd, &f.format)
}

func (a *app) quarantineCommand() *cobra.Command {
	f := new(actFlags)
	cmd := &cobra.Command{
		Use:   "quarantine SPIFFE-ID --reason TEXT",
		Short: "Deny one identity at every gateway, now",
		Long: `Deny every crossing from and to one workload at every gateway, whatever the policy
says, and end those that are open. One policy key is enough; somebody reviews it
afterwards. The answer comes when every connected gateway has applied it; if some have
not within five seconds they are named, and the exit code is 2.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.act(cmd.Context(), f, func(p *policy.Policy) (*policyv1.Act, error) { return a.quarantine(p, args[0]) })
		},
	}
	f.bind(cmd, true)
	cmd.AddCommand(a.liftCommand("lift SPIFFE-ID --reason TEXT", "Take the quarantine of an identity back",
		func(_ *policy.Policy, text string) (spiffeid.ID, error) { return parseSubject(text) }))
	return cmd
}

func (a *app) gatewaysRevoke() *cobra.Command {
	f := new(actFlags)
	cmd := &cobra.Command{
		Use:   "revoke NAME --reason TEXT",
		Short: "Shut one gateway out of the mesh, now",
		Long: `Shut one gateway out: its peers close their tunnels to it and let it in no more, and it
lets nothing through itself once it hears of it. One policy key is enough; somebody
reviews it afterwards. The answer comes as for a quarantine.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.act(cmd.Context(), f, func(p *policy.Policy) (*policyv1.Act, error) {
				id, err := gatewayNamed(p, args[0])
				return &policyv1.Act{Kind: policyv1.Act_REVOKE_GATEWAY, Subject: id.String()}, err
			})
		},
	}
	f.bind(cmd, true)
	return cmd
}

func (a *app) gatewaysRestore() *cobra.Command {
	return a.liftCommand("restore NAME --reason TEXT", "Take the revocation of a gateway back", gatewayNamed)
}

// liftCommand makes a command that lifts what is in force about a subject.
func (a *app) liftCommand(use, short string, subject func(p *policy.Policy, text string) (spiffeid.ID, error)) *cobra.Command {
	f := new(actFlags)
	cmd := &cobra.Command{
		Use: use, Short: short,
		Long: short + `. It needs as many policy keys as a policy does: repeat
--key where the key set wants several.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.lift(cmd.Context(), f, func(p *policy.Policy) (spiffeid.ID, error) { return subject(p, args[0]) })
		},
	}
	f.bind(cmd, false)
	return cmd
}

func parseSubject(text string) (spiffeid.ID, error) {
	id, err := spiffeid.FromString(text)
	if err != nil {
		return id, usage("%q is no SPIFFE ID, such as spiffe://onprem.demo/ai/orchestrator: %v", text, err)
	}
	return id, nil
}

func gatewayNamed(p *policy.Policy, name string) (spiffeid.ID, error) {
	var names []string
	for _, g := range p.Gateways() {
		if g.Name == name {
			return g.ID, nil
		}
		names = append(names, g.Name)
	}
	return spiffeid.ID{}, no("the policy in force has no gateway %s; it has %s", name, strings.Join(names, ", "))
}

// quarantine is the act, if it means something under the policy in force.
func (a *app) quarantine(p *policy.Policy, text string) (*policyv1.Act, error) {
	id, err := parseSubject(text)
	if err != nil {
		return nil, err
	}
	if _, known := p.EnvironmentOf(id.TrustDomain()); !known {
		return nil, no("no environment of the policy has trust domain %s: there is nothing to deny to %s", id.TrustDomain().Name(), id)
	}
	if p.WorkloadByID(id) == nil {
		fmt.Fprintf(a.stderr, "sallyport: warning: no workload of the policy has the ID %s; is it spelt right?\n", render.Printable(id.String()))
	}
	return &policyv1.Act{Kind: policyv1.Act_QUARANTINE, Subject: id.String()}, nil
}

// maker signs acts and sends them.
type maker struct {
	*app
	conn    *connection
	policy  *policy.Policy
	keys    *policyv1.KeySet
	signers []signed.Signer
}

// making prepares to make acts under the policy in force.
func (a *app) making(ctx context.Context, f *actFlags, do func(m *maker) error) error {
	if strings.TrimSpace(f.reason) == "" {
		return usage("give --reason TEXT: whoever reviews it needs one")
	}
	pinned, err := a.neededKeySet()
	if err != nil {
		return err
	}
	return a.ask(ctx, func(conn *connection) error {
		if conn.Stopped {
			return usage("the mesh in %s is stopped, so nothing was done; start it first", a.mesh.dir)
		}
		p, err := a.current(ctx, conn, pinned)
		if err != nil {
			return err
		}
		m := &maker{app: a, conn: conn}
		if m.policy, err = policy.Compile(p.policy, p.ref()); err != nil {
			return fmt.Errorf("read the policy in force: %w", err)
		}
		if m.keys, err = signed.Keys(p.signed, pinned); err != nil {
			return fmt.Errorf("find the keys that sign now: %w", err)
		}
		if m.signers, err = a.signers(f.keys, m.keys); err != nil {
			return err
		}
		return do(m)
	})
}

// act makes one act that denies.
func (a *app) act(ctx context.Context, f *actFlags, about func(*policy.Policy) (*policyv1.Act, error)) error {
	return a.making(ctx, f, func(m *maker) error {
		said, err := about(m.policy)
		if err != nil {
			return err
		}
		said.ReviewBy = cmp.Or(f.reviewBy, a.now().Add(reviewAfter).UTC().Format(time.DateOnly))
		r, err := m.make(ctx, f, said)
		if err != nil {
			return err
		}
		return a.acted(f.format, said, r)
	})
}

// lift lifts every act that is in force about a subject.
func (a *app) lift(ctx context.Context, f *actFlags, about func(*policy.Policy) (spiffeid.ID, error)) error {
	return a.making(ctx, f, func(m *maker) error {
		subject, err := about(m.policy)
		if err != nil {
			return err
		}
		all, err := listActs(ctx, m.conn)
		if err != nil {
			return err
		}
		var late error
		lifted := 0
		for _, s := range all {
			if s.GetAct().GetSubject() != subject.String() || s.GetLiftedBy() != "" || s.GetAct().GetKind() == policyv1.Act_LIFT {
				continue
			}
			lifted++
			said := &policyv1.Act{Kind: policyv1.Act_LIFT, Subject: subject.String(), Lifts: s.GetId()}
			r, err := m.make(ctx, f, said)
			if err != nil {
				return err
			}
			late = errors.Join(late, a.acted(f.format, said, r))
		}
		if lifted == 0 {
			return no("no act is in force against %s", subject)
		}
		return late
	})
}

// make signs and sends an act.
func (m *maker) make(ctx context.Context, f *actFlags, said *policyv1.Act) (*controlv1.MakeResponse, error) {
	said.Policy, said.Author, said.Reason, said.Made = m.policy.Name(), m.conn.As, f.reason, timestamppb.New(m.now())
	sa, err := act.Sign(said, m.signers...)
	if err != nil {
		return nil, usage("the act is not well formed: %v", err)
	}
	if _, err := act.Verify(sa, m.keys); err != nil {
		return nil, fmt.Errorf("verify the act before it is sent (does the key set want more --key?): %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := controlv1.NewActServiceClient(m.conn).Make(ctx, &controlv1.MakeRequest{Signed: sa})
	if s := status.Convert(err); s.Code() == codes.InvalidArgument || s.Code() == codes.FailedPrecondition {
		return nil, &outcome{code: refused, text: "the control plane refuses the act: " + s.Message(), cause: err}
	}
	return r, answered("make the act", m.conn, err)
}

// acted says where an act is in force.
func (a *app) acted(format render.Format, said *policyv1.Act, r *controlv1.MakeResponse) error {
	if err := a.print(format, render.Message(r), func(w io.Writer) error { return actedText(w, said, r) }); err != nil {
		return err
	}
	if len(r.GetBehind()) > 0 {
		return usage("behind: %s; they apply it when they are reached, and `sallyport acts` says when", strings.Join(r.GetBehind(), ", "))
	}
	return nil
}

func actedText(w io.Writer, said *policyv1.Act, r *controlv1.MakeResponse) error {
	in, all := len(r.GetInForce()), len(r.GetInForce())+len(r.GetBehind())
	_, err := fmt.Fprintf(w, "act %s in force at %d of %s after %s: %s %s\n", act.Short(r.GetId()), in, counted(all, "gateway"),
		render.Took(r.GetTook().AsDuration()), render.Printable(said.GetSubject()), outcomeOf(said))
	return err
}

// outcomeOf is what an act makes of its subject.
func outcomeOf(said *policyv1.Act) string {
	switch said.GetKind() {
	case policyv1.Act_QUARANTINE:
		return "is quarantined, to be reviewed by " + said.GetReviewBy()
	case policyv1.Act_REVOKE_GATEWAY:
		return "is revoked, to be reviewed by " + said.GetReviewBy()
	}
	return "is denied no more by act " + act.Short(said.GetLifts())
}

func listActs(ctx context.Context, c *connection) ([]*controlv1.ActStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := controlv1.NewActServiceClient(c).ListActs(ctx, &controlv1.ListActsRequest{})
	return r.GetActs(), answered("list acts", c, err)
}

func (a *app) actsCommand() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "acts [ID]",
		Short: "List quarantines and revocations: who, why, where they are in force, which are to be reviewed",
		Long: `List what operators have quarantined, revoked and lifted, and at how many gateways each
act was applied. With the beginning of an act's ID, say when each gateway applied it by
that gateway's own record.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), func(c *connection) error {
				all, err := listActs(cmd.Context(), c)
				if err != nil {
					return err
				}
				if len(args) == 0 {
					return listed(a, format, "act", all, render.Acts)
				}
				return a.showAct(format, all, args[0])
			})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

// showAct shows the one act that a text begins the ID of.
func (a *app) showAct(format render.Format, all []*controlv1.ActStatus, text string) error {
	prefix := "sha256:" + strings.TrimPrefix(text, "sha256:")
	var found []*controlv1.ActStatus
	for _, s := range all {
		if strings.HasPrefix(s.GetId(), prefix) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return no("no act's ID begins with %s", text)
	case 1:
		return a.print(format, render.Message(found[0]), func(w io.Writer) error { return render.Act(w, found[0]) })
	}
	return usage("%d acts' IDs begin with %s; give more of it", len(found), text)
}
