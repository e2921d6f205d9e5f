// Command sallyport-gateway runs one gateway of a mesh from its bootstrap file.
//
// It is only the wiring: it reads the file, opens the log and runs gateway.Gateway
// until a signal ends it. Its invariant: a bootstrap file that is not understood
// to the last field is refused, since it names all that the gateway trusts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sallyport-mesh/sallyport/gateway"
	"github.com/sallyport-mesh/sallyport/gateway/internal/handover"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr)) // stop has nothing left to undo
}

// The exit codes.
const (
	ended   = 0 // by a signal
	failed  = 1 // the gateway could not run, or go on
	unasked = 2 // the command line or the bootstrap file was not understood
)

const help = `usage: sallyport-gateway run --bootstrap FILE [--log-level debug|info|warn|error]

Runs one gateway until SIGINT or SIGTERM. "sallyport gateways add NAME" writes the
bootstrap file. The log is JSON on standard error.

SIGHUP starts the same command again, with the program and the bootstrap file as
they are by then, and hands it the listening sockets. Once it is ready, this
process accepts nothing more and ends when what is open has ended, at the latest
after the bootstrap file's "drain" (a minute unless told). If it does not become
ready, this process goes on.
`

// run is the command; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sallyport-gateway", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	path := flags.String("bootstrap", "", "bootstrap file")
	level := zapcore.InfoLevel
	flags.Var(&level, "log-level", "least level that is logged")
	complain := func(err error) int {
		fmt.Fprintln(stderr, "sallyport-gateway: "+strings.ReplaceAll(err.Error(), "\n", "; "))
		return unasked
	}
	if len(args) == 0 || args[0] != "run" {
		fmt.Fprint(stderr, help)
		return unasked
	}
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		return ended
	case err != nil:
		return complain(err)
	case flags.NArg() > 0:
		return complain(fmt.Errorf("run takes no argument %q", flags.Arg(0)))
	case *path == "":
		return complain(errors.New("run needs --bootstrap FILE (`sallyport gateways add NAME` writes one)"))
	}
	bootstrap, err := readBootstrap(*path)
	if err != nil {
		return complain(err)
	}
	inheritance, err := inherit()
	if err != nil {
		return complain(err)
	}
	log := newLog(stderr, level)
	if err := serve(ctx, gateway.Config{Bootstrap: bootstrap, Inheritance: inheritance, Log: log}); err != nil {
		log.Error("gateway ended", zap.String("bootstrap", *path), zap.Error(err))
		return failed
	}
	return ended
}

// inherit takes what the process has handed over whose place this one takes.
func inherit() (*handover.Inheritance, error) {
	value := os.Getenv(handover.Variable)
	if err := os.Unsetenv(handover.Variable); err != nil {
		return nil, err
	}
	return handover.Receive(value)
}

// serve runs a gateway until the context ends, which is no error.
func serve(ctx context.Context, cfg gateway.Config) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // one that comes early waits
	defer signal.Stop(hangup)
	g, err := gateway.New(ctx, cfg)
	if err != nil {
		return err
	}
	err = (&process{gateway: g, inheritance: cfg.Inheritance, hangup: hangup, log: cfg.Log}).run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// newLog writes JSON lines with RFC 3339 times.
func newLog(w io.Writer, level zapcore.Level) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.EncodeTime = "time", zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(zapcore.AddSync(w)), level))
}
