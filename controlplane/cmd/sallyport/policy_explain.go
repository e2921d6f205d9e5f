package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
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
known: an allow that needs it does not match, a deny does. The exit code is 1 if the
call would be denied.`,
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
	compiled, err := a.askedPolicy(ctx, f.file, f.format)
	if err != nil {
		return err
	}
	e, err := policy.Explain(compiled, who[0], who[1], who[2], attributes, a.now())
	if err != nil {
		return usage("%v", err)
	}
	if err := a.print(f.format, render.ExplanationValue(e, compiled.Ref()), func(w io.Writer) error {
		return render.Explanation(w, e, compiled.Ref())
	}); err != nil {
		return err
	}
	if !e.Decision.Allow || e.Decision.Limited { // gateways of this release keep no obligations: they deny
		return quiet(refused)
	}
	return nil
}

// askedPolicy is the policy of a file, or without one the policy in force.
func (a *app) askedPolicy(ctx context.Context, file string, format render.Format) (*policy.Policy, error) {
	if file != "" {
		c, err := a.checkPolicy(file, format)
		if err != nil {
			return nil, err
		}
		return policy.Compile(c.policy, policy.Ref{Revision: c.revision})
	}
	var compiled *policy.Policy
	err := a.withPolicy(ctx, func(p *published) error {
		var err error
		compiled, err = policy.Compile(p.policy, p.ref())
		return err
	})
	return compiled, err
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
