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
	log := newLog(stderr, level)
	if err := serve(ctx, gateway.Config{Bootstrap: bootstrap, Log: log}); err != nil {
		log.Error("gateway ended", zap.String("bootstrap", *path), zap.Error(err))
		return failed
	}
	return ended
}

// serve runs a gateway until the context ends, which is no error.
func serve(ctx context.Context, cfg gateway.Config) error {
	g, err := gateway.New(ctx, cfg)
	if err != nil {
		return err
	}
	if err := notifyReady(); err != nil {
		cfg.Log.Warn("readiness not told", zap.Error(err))
	}
	err = g.Run(ctx)
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
