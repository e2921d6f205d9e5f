package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/attach"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/reach"
)

// killAfter is how long a program may take to end once it was asked to.
const killAfter = 10 * time.Second

// attachFlags say how a program attaches.
type attachFlags struct {
	gateway, gatewayID, listen string
	openAI, anthropic          string
	proxy, prove               bool
	uids                       []uint
}

func (a *app) attachCommand() *cobra.Command {
	var f attachFlags
	cmd := &cobra.Command{
		Use:   "attach [flags] [-- COMMAND ARG...]",
		Short: "Run a program that knows nothing of SPIFFE as a workload",
		Long: `Run a program as the workload whose SVID the Workload API gives here. It speaks plain HTTP
to an address on this host, which is in SALLYPORT_ATTACH, and this command carries that to
the gateway by mTLS. Credentials are renewed beneath it: it may run for as long as it likes.
Only the user that this runs under, and those of --uid, may connect.

--openai and --anthropic set what SDKs read to that destination, --proxy what HTTP clients
read. --prove is for destinations of which the policy requires a workload-proof: the gateway
cannot call them in the workload's name by itself. Without a COMMAND the address is served until this is stopped, and its variables are
printed. The exit code is that of COMMAND.`,
		Example: `  sallyport attach --gateway 10.0.0.5:8443 --openai llm.azure.mesh:8000 -- python3 agent.py
  sallyport attach --gateway 10.0.0.5:8443 --listen 127.0.0.1:8080`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.attach(cmd.Context(), &f, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.gateway, "gateway", os.Getenv("SALLYPORT_GATEWAY"),
		"HOST:PORT where workloads attach (SALLYPORT_GATEWAY); with --dir that mesh's")
	flags.StringVar(&f.gatewayID, "gateway-id", "", "SPIFFE ID that the gateway must have (any gateway of your trust domain)")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "loopback HOST:PORT, or unix:PATH")
	flags.StringVar(&f.openAI, "openai", "", "NAME.ENVIRONMENT.mesh:PORT that OpenAI's SDKs are to call")
	flags.StringVar(&f.anthropic, "anthropic", "", "NAME.ENVIRONMENT.mesh:PORT that Anthropic's SDKs are to call")
	flags.BoolVar(&f.proxy, "proxy", false, "have HTTP clients send everything through the gateway")
	flags.BoolVar(&f.prove, "prove", false, "send with each request a proof that the workload itself calls (require: workload-proof)")
	flags.UintSliceVar(&f.uids, "uid", nil, "another user who may connect")
	return cmd
}

func (a *app) attach(ctx context.Context, f *attachFlags, command []string) error {
	helper, closeSource, err := a.newAttach(ctx, f)
	if err != nil {
		return err
	}
	defer closeSource()
	set := f.environment(helper.Addr(), os.LookupEnv)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- helper.Run(ctx) }()
	if len(command) == 0 {
		for _, v := range set {
			fmt.Fprintf(a.stdout, "export %s\n", v)
		}
		return <-served
	}
	err = a.runProgram(ctx, command, set)
	stop()
	return errors.Join(err, <-served)
}

// newAttach has an identity before the program starts, and its address bound.
func (a *app) newAttach(ctx context.Context, f *attachFlags) (*attach.Attach, func(), error) {
	var id spiffeid.ID
	if f.gatewayID != "" {
		var err error
		if id, err = spiffeid.FromString(f.gatewayID); err != nil {
			return nil, nil, usage("--gateway-id %q is no SPIFFE ID: %v", f.gatewayID, err)
		}
	}
	if strings.HasPrefix(f.listen, "unix:") && (f.openAI != "" || f.anthropic != "" || f.proxy) {
		return nil, nil, usage("--openai, --anthropic and --proxy need a TCP address: no client reads a Unix socket from them")
	}
	wait, cancel := context.WithTimeout(ctx, reach.Timeout)
	defer cancel()
	source, err := certs.NewSource(wait, certs.Options{WorkloadAPI: a.mesh.workloadAPI, Log: zap.NewNop()})
	if err != nil {
		return nil, nil, fmt.Errorf("get an SVID from the Workload API (--workload-api, SPIFFE_ENDPOINT_SOCKET): %w", err)
	}
	closeSource := func() { _ = source.Close() } // nothing is to be done about it
	if f.gateway == "" && a.mesh.dir != "" {
		f.gateway, err = localGateway(a.mesh.dir, source.TrustDomain())
	}
	if f.gateway == "" && err == nil {
		err = usage("which gateway? Give --gateway HOST:PORT (or SALLYPORT_GATEWAY), or --dir DIR of a local mesh")
	}
	if err != nil {
		closeSource()
		return nil, nil, err
	}
	c := attach.Config{Source: source, Gateway: f.gateway, GatewayID: id, Listen: f.listen, Prove: f.prove, Log: a.warnings()}
	for _, uid := range f.uids {
		c.UIDs = append(c.UIDs, uint32(uid))
	}
	helper, err := attach.New(c)
	if err != nil {
		closeSource()
		return nil, nil, usage("%v", err)
	}
	return helper, closeSource, nil
}

// localGateway is the attach address of a local mesh's gateway in a trust domain.
func localGateway(dir string, td spiffeid.TrustDomain) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "bootstrap.json"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		var b struct{ TrustDomain, Attach string }
		if err := json.Unmarshal(text, &b); err != nil {
			return "", fmt.Errorf("read %s: %w", file, err)
		}
		if b.TrustDomain == td.Name() {
			return b.Attach, nil
		}
	}
	return "", no("the mesh in %s has no gateway of trust domain %s", dir, td.Name())
}

// environment is what the program is told: NAME=VALUE. What it has is looked up, so
// that an API key of its own stays.
func (f *attachFlags) environment(addr net.Addr, has func(string) (string, bool)) []string {
	if addr.Network() == "unix" {
		return []string{"SALLYPORT_ATTACH=unix:" + addr.String()}
	}
	base := "http://" + addr.String()
	set := []string{"SALLYPORT_ATTACH=" + base}
	// SDKs do not start without a key. The gateway knows the workload by its SVID, and
	// leaves a key to the destination.
	key := func(name string) {
		if _, ok := has(name); !ok {
			set = append(set, name+"=attached")
		}
	}
	if f.openAI != "" {
		url := base + "/" + f.openAI + "/v1"
		set = append(set, "OPENAI_BASE_URL="+url, "OPENAI_API_BASE="+url)
		key("OPENAI_API_KEY")
	}
	if f.anthropic != "" {
		set = append(set, "ANTHROPIC_BASE_URL="+base+"/"+f.anthropic)
		key("ANTHROPIC_API_KEY")
	}
	if f.proxy {
		const itself = "localhost,127.0.0.1,::1"
		for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
			set = append(set, name+"="+base)
		}
		set = append(set, "no_proxy="+itself, "NO_PROXY="+itself, "NODE_USE_ENV_PROXY=1")
	}
	return set
}

// runProgram runs the program to its end and gives its exit code. When this command
// is to stop, the program is asked to.
func (a *app) runProgram(ctx context.Context, command, set []string) error {
	p := exec.CommandContext(ctx, command[0], command[1:]...)
	p.Stdin, p.Stdout, p.Stderr = a.stdin, a.stdout, a.stderr
	p.Env = append(os.Environ(), set...)
	p.Cancel = func() error { return p.Process.Signal(syscall.SIGTERM) }
	p.WaitDelay = killAfter
	err := p.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		const bySignal = 128 // as shells tell it
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return quiet(bySignal + int(status.Signal()))
		}
		return quiet(exit.ExitCode())
	}
	if err != nil {
		return usage("run %s: %v", command[0], err)
	}
	return nil
}

// warnings is a log of what the program's user should know of.
func (a *app) warnings() *zap.Logger {
	c := zap.NewProductionConfig()
	c.Level, c.Encoding, c.DisableStacktrace, c.DisableCaller = zap.NewAtomicLevelAt(zap.WarnLevel), "console", true, true
	log, err := c.Build()
	if err != nil {
		return zap.NewNop()
	}
	return log
}
