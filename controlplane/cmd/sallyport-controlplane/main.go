// Command sallyport-controlplane runs the control plane, or an environment's
// authority. It is not the operator's tool, which is sallyport. Its one
// invariant: it runs under a configuration file that was understood whole, or not
// at all.
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
