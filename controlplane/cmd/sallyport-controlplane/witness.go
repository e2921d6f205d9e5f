package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/witness"
)

// witnessFile is the configuration file of `witness`. Paths in it are relative to
// the file.
type witnessFile struct {
	// Listen is the host:port of the HTTP interface; witness.DefaultListen if empty.
	Listen string `yaml:"listen"`
	// Name is the witness's key name, such as auditor.example/witness.
	Name string `yaml:"name"`
	// URL is where logs reach it, for its line in keys files.
	URL string `yaml:"url"`
	// Dir holds what was cosigned, evidence, and the key.
	Dir string `yaml:"dir"`
	// Key is the file of the private key; witness.key in Dir if empty.
	Key string `yaml:"key"`
	// Logs are whose checkpoints it cosigns.
	Logs []witnessLog `yaml:"logs"`
}

// witnessLog is a log that a witness knows.
type witnessLog struct {
	// Origin is the first line of the log's checkpoints.
	Origin string `yaml:"origin"`
	// VKey is the log's verifier key.
	VKey string `yaml:"vkey"`
	// NextVKey is one more that counts, while the log's key is replaced.
	NextVKey string `yaml:"nextVkey"`
}

const witnessHelp = `Cosign the checkpoints of logs, as a witness of C2SP's tlog-witness: a log that
several of them cosign cannot show one history to one reader and another one to the
next. A witness counts if whoever runs it is not the owner of the log: run one in
each environment for the logs of the others, and let an auditor run one. It needs
this program and its configuration, YAML or JSON, and nothing else of the mesh:

  name: auditor.example/witness       # in each cosignature; a URL without a scheme
  dir: /var/lib/sallyport/witness     # what it cosigned, evidence, key; a path relative to the file
  listen: 127.0.0.1:8448              # HTTP; this is the default
  url: https://witness.auditor.example/ # where logs reach it, for its line in keys files
  key: witness.key                    # made if it is missing; in dir if absent
  logs:
    - origin: aws.example/sallyport/log # the first line of its checkpoints
      vkey: aws.example/sallyport/log+1a2b3c4d+AS...  # as log.vkey beside the log has it
      nextVkey: aws.example/sallyport/log+5e6f7a8b+AS... # one more, while its key is replaced

Its verifier key, for the logs and for who checks cosignatures, is in witness.vkey
in dir, and in its log at each start; "witness keys" prints the line that keys files
have of it. Nothing that goes over HTTP is secret, and all of it is signed.

It does not start where its directory is incomplete or damaged: it would cosign a
fork of what it has forgotten. Do not put back an older copy of the directory either,
which it cannot tell from the newest: begin anew with another one, and another key.

A log that signed two checkpoints of one size has forked. Both are kept under
evidence, with the log's signatures, and are named in the witness's log. So is a
checkpoint that came without a proof that it contains the one cosigned, and one of
fewer entries, which somebody may only have sent again: ask the log for a proof
between the two. A log that has none has forked, or dropped its tail.`

const witnessKeysHelp = `Print the witness's line in the keys file of whoever checks cosignatures, which is
also its line in a policy of C2SP's tlog-policy: "witness NAME VKEY URL". The witness
may run meanwhile. It must have run: its key is made when it starts first.`

func (f *flags) witnessCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "witness --config FILE",
		Short: "Cosign the checkpoints of others' logs: in another environment, or by an auditor",
		Long:  witnessHelp,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.runWitness(cmd.Context()) },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "keys --config FILE",
		Short: "Print the witness's line in a keys file",
		Long:  witnessKeysHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := readWitness(f.config)
			if err != nil {
				return refusedError{err}
			}
			line, err := cfg.KeyLine()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
			return err
		},
	})
	return cmd
}

func readWitness(path string) (witness.Config, error) {
	var file witnessFile
	if err := decode(path, &file); err != nil {
		return witness.Config{}, err
	}
	f := &faults{path: path}
	cfg := witness.Config{
		Listen: file.Listen, Name: file.Name, URL: file.URL, Dir: f.resolve(file.Dir), Key: f.resolve(file.Key),
		Logs: make([]witness.Log, 0, len(file.Logs)),
	}
	for _, l := range file.Logs {
		cfg.Logs = append(cfg.Logs, witness.Log{Origin: l.Origin, Keys: l.keys()})
	}
	if err := cfg.Validate(); len(f.errs) == 0 && err != nil {
		f.errs = append(f.errs, fmt.Errorf("%s: %w", path, err))
	}
	return cfg, f.join()
}

func (l witnessLog) keys() []string {
	return slices.DeleteFunc([]string{l.VKey, l.NextVKey}, func(key string) bool { return key == "" })
}

func (f *flags) runWitness(ctx context.Context) error {
	log, err := f.logger()
	if err != nil {
		return err
	}
	cfg, err := readWitness(f.config)
	if err != nil {
		return refusedError{err}
	}
	cfg.Log = log
	w, err := witness.New(cfg)
	if err != nil {
		return err
	}
	tellReady(log)
	return w.Run(ctx)
}
