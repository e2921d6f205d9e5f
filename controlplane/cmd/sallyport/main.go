// Command sallyport is the operator's tool: it checks, signs and publishes the
// policy, and asks a mesh what crossed, who answers for it, and why.
//
// It holds no state of its own and is no part of a crossing's way; the policy key
// never leaves it. Its invariant is its exit code: 0 is yes, 1 is no, and 2 is
// that it could not tell; no answer is never taken for a good one.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) // stop has nothing left to undo
}
