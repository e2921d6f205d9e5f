package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sallyport-mesh/sallyport/controlplane"
)

// Exit codes: a configuration that is refused is a "no", anything that stops a
// good one from running a "could not".
const (
	exitOK      = 0
	exitRefused = 1
	exitFailed  = 2
)

// refusedError says that what is wrong is what the command was given.
type refusedError struct{ error }

func (r refusedError) Unwrap() error { return r.error }

// run is the command without the process around it. It returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(stderr, "sallyport-controlplane:", err) // there is nobody left to tell
	if _, refused := err.(refusedError); refused {              //nolint:errorlint // made in this package, not wrapped
		return exitRefused
	}
	return exitFailed
}

const runHelp = `Run the control plane of the mesh: the API, xDS, and the joined records.

The configuration, YAML or JSON, with paths relative to the file:

  listen: 127.0.0.1:8444              # of the API and xDS; this is the default
  advertise: cp.example:8444          # in gateways' bootstrap files; listen if absent
  dir: state                          # the embedded store; or
  nats: nats://nats-1:4222            # an external NATS cluster with JetStream
  logDir: state/log                   # of the environments' signed logs; DIR/log if absent
  recordsDir: state/records           # of the joined records and their archive; DIR/records if absent
  retention: 4392h                    # how long records are kept, but for what is held; this is the default
  hot: 168h                           # how long in the database, where answers are fastest; this is the default
  logListen: 127.0.0.1:8447           # where they are served for reading, over HTTP; nowhere if absent
  witnesses:                          # that are asked to cosign their checkpoints
    - {vkey: auditor.example/witness+1a2b3c4d+BA..., url: https://witness.auditor.example/}
    - {vkey: aws.example/witness+5e6f7a8b+BA..., url: https://witness.aws.example/, for: [onprem.example, azure.example]}
  workloadApi: unix:///run/cp.sock    # of its own SVID; SPIFFE_ENDPOINT_SOCKET if absent
  policyKeys: keyset.json             # who may sign a policy
  operators: [spiffe://mesh.example/operators/alice]
  bundles: {aws.example: aws.json}    # of trust domains that the Workload API does not have
  federates:                          # bundle endpoints that it follows by itself
    - trustDomain: gcp.example
      endpoint: {url: https://bundles.gcp.example/, profile: https_web}`

const authorityHelp = `Run the issuer and the SPIFFE Workload API of one environment.

The configuration, YAML or JSON, with paths relative to the file:

  trustDomain: onprem.example
  dir: authority                      # keys, issuing log, and bundle.json for the other environments
  entries:
    - id: spiffe://onprem.example/ai/orchestrator
      socket: run/orchestrator.sock   # of the Workload API; entries may share one
      dnsNames: [orchestrator.onprem.mesh]
      users: [orchestrator]           # who gets it: one of these users, by name, or by number:
      uids: [1000]                    # with neither, and no selectors, the authority's own user
      selectors:                      # and what the process must be beside that, all of it
        - unix:path:/usr/bin/orchestrator
  x509Ttl: 1h                         # how long an X509-SVID lasts; this is the default
  jwtTtl: 1h                          # how long a JWT-SVID lasts; this is the default and the most
  intermediateLife: 720h              # this is the default; it is replaced at half of it
  rootLife: 87600h                    # this is the default; see "authority root"
  refreshHint: 1m                     # how often others should look for the bundle; this is the default
  signer: /run/signer.sock            # a process that keeps the keys; files in dir if absent
  policy: {keys: keyset.json, file: policy.json} # issue only for workloads that it names
  federated: {aws.example: aws.json}  # first bundles of the other trust domains
  controlPlane:                       # carries bundles, each signed by its authority
    address: cp.example:8444
    id: spiffe://mesh.example/sallyport/controlplane/cp-1
  federates:                          # bundle endpoints that it follows by itself
    - trustDomain: aws.example
      endpoint:
        url: https://aws.example:8447/
        profile: https_spiffe         # or https_web, which has no id
        id: spiffe://aws.example/sallyport/authority/main
  bundleEndpoints:                    # where it publishes its own bundle
    - listen: :8447                   # https_spiffe; https_web with a certificate:
    - {listen: ":443", path: /bundle.json, certificate: web.pem, key: web.key}

Selectors: unix:uid:N, unix:gid:N, unix:supplementary_gid:N, unix:path:PATH,
unix:sha256:HEX of the program's file, cgroup:PATH and what is below it. All but
uid and gid need Linux 6.5; path and sha256 of other users' processes need
CAP_SYS_PTRACE.

A file in federated is where federation with a trust domain begins. What comes
later, signed or from an endpoint, takes its place, and is kept in the directory.
A file that changes counts again if it is newer, or if neither was heard lately.
These files and the policy are looked at every two seconds. While one is missing or
wrong, the last good one stays in force.`

// flags are what all commands share.
type flags struct {
	config, level string
	stderr        io.Writer
}

func newRoot(stderr io.Writer) *cobra.Command {
	f := &flags{stderr: stderr}
	root := &cobra.Command{
		Use:           "sallyport-controlplane",
		Short:         "Run the control plane, an environment's authority, or a witness",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&f.config, "config", "", "configuration `FILE`, YAML or JSON")
	root.PersistentFlags().StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	root.AddCommand(
		&cobra.Command{
			Use:   "run --config FILE",
			Short: "Run the roles policy and view: once for the whole mesh",
			Long:  runHelp,
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return f.runControlPlane(cmd.Context()) },
		},
		f.authorityCommand(),
		&cobra.Command{
			Use:   "bundles --config FILE",
			Short: "Publish the bundle of an issuer such as SPIRE: in its environment",
			Long:  bundlesHelp,
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return f.runBundles(cmd.Context()) },
		},
		f.witnessCommand(),
	)
	return root
}

func (f *flags) runControlPlane(ctx context.Context) error {
	log, err := f.logger()
	if err != nil {
		return err
	}
	cfg, err := readControlPlane(f.config)
	if err != nil {
		return refusedError{err}
	}
	cfg.Log = log
	c, err := controlplane.New(ctx, cfg)
	if err != nil {
		return err
	}
	tellReady(log)
	return c.Run(ctx)
}

func (f *flags) runAuthority(ctx context.Context) error {
	log, err := f.logger()
	if err != nil {
		return err
	}
	cfg, err := readAuthority(f.config)
	if err != nil {
		return refusedError{err}
	}
	cfg.Log = log
	a, err := controlplane.NewAuthority(cfg)
	if err != nil {
		return err
	}
	tellReady(log)
	return a.Run(ctx)
}

// tellReady is no reason to end if it fails: whoever waits for it in vain will.
func tellReady(log *zap.Logger) {
	if err := notifyReady(); err != nil {
		log.Warn("readiness not told", zap.Error(err))
	}
}

// logger writes JSON to standard error.
func (f *flags) logger() (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(f.level)
	if err != nil {
		return nil, refusedError{fmt.Errorf("--log-level: %w", err)}
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	sink := zapcore.Lock(zapcore.AddSync(f.stderr))
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoder), sink, level)), nil
}
