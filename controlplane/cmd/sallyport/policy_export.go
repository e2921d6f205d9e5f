package main

import (
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
)

func (a *app) policyExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Write the policy in force with its signatures",
		Long: `Write the policy in force with its signatures, as JSON, for those who verify it by
themselves: an authority that issues for nobody but whom the policy names.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withPolicy(cmd.Context(), func(p *published) error {
				text, err := protojson.Marshal(p.signed)
				if err != nil {
					return err
				}
				_, err = a.stdout.Write(append(text, '\n'))
				return err
			})
		},
	}
}
