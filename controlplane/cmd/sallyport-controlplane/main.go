// Command sallyport-controlplane runs the control plane, an environment's
// authority, or a witness of others' logs. It is not the operator's tool, which is
// sallyport. Its one invariant: it runs under a configuration file that was
// understood whole, or not at all.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
