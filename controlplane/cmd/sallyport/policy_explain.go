package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/dataclass"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// explainFlags are a question to the policy.
type explainFlags struct {
	with   []string
	file   string
	format render.Format
}

func (a *app) policyExplain() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain FROM TO [SERVICE]",
		Short: "Ask the policy about a call: the decision, why, and who answers for it",
		Long: `Ask the policy in force, or that of --file, how a call is decided and why. FROM and TO
are workloads' names (FROM may be a SPIFFE ID). What is not said with --with is not
known: an allow that needs it does not match, a deny does. Data of no class counts as
the last one; what that does, and what would be if the caller or the callee were
registered as a lower one, is said. The exit code is 1 if the call would be denied.`,
		Example: `  sallyport policy explain orchestrator llm chat --with http.method=POST --with http.path=/v1/chat/completions`,
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.explain(cmd.Context(), f, append(args, "")[:3])
		},
	}
	cmd.Flags().StringArrayVar(&f.with, "with", nil, "attribute of the call as NAME=VALUE, such as ai.model=gpt-oss-20b; repeat it")
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "policy file or directory to ask instead of the policy in force")
	formatFlag(cmd, &f.format)
	return cmd
}

func (a *app) explain(ctx context.Context, f explainFlags, who []string) error {
	attributes, err := attributes(f.with)
	if err != nil {
		return err
	}
	of, compiled, err := a.askedPolicy(ctx, f.file, f.format)
	if err != nil {
		return err
	}
	e, err := policy.Explain(compiled, who[0], who[1], who[2], attributes, a.now())
	if err != nil {
		return usage("%v", err)
	}
	classes, err := dataclass.Missing(of, compiled, e)
	if err != nil {
		return err
	}
	if err := a.print(f.format, render.ExplanationValue(e, classes, compiled.Ref()), func(w io.Writer) error {
		return render.Explanation(w, e, classes, compiled.Ref())
	}); err != nil {
		return err
	}
	if !e.Decision.Allow {
		return quiet(refused)
	}
	return nil
}

// askedPolicy is the policy of a file, or without one the policy in force, as it is
// written and compiled.
func (a *app) askedPolicy(ctx context.Context, file string, format render.Format) (of *policyv1.Policy, compiled *policy.Policy, err error) {
	if file != "" {
		c, err := a.checkPolicy(file, format)
		if err != nil {
			return nil, nil, err
		}
		compiled, err = policy.Compile(c.policy, policy.Ref{Revision: c.revision})
		return c.policy, compiled, err
	}
	err = a.withPolicy(ctx, func(p *published) (err error) {
		of = p.policy
		compiled, err = policy.Compile(of, p.ref())
		return err
	})
	return of, compiled, err
}

// attributes reads NAME=VALUE words; values may hold anything.
func attributes(words []string) (map[string]string, error) {
	m := map[string]string{}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, usage("--with %q: want NAME=VALUE", word)
		}
		if _, twice := m[name]; twice {
			return nil, usage("--with %s: given twice", name)
		}
		m[name] = value
	}
	return m, nil
}
