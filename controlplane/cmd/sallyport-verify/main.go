// Command sallyport-verify checks evidence of what crossed between environments: the proof
// of one crossing, or a pack of all of them. It is given public keys, needs no network and
// believes nobody else.
//
//	sallyport-verify --keys KEYS [--since CHECKPOINT] [-o text|json] FILE
//
// FILE is a proof, as "sallyport log prove" writes it, or a pack, as "sallyport log export"
// does; its first bytes say which. KEYS names whom to believe. FORMAT.md specifies all
// three. It shares no code with what makes them: whoever doubts that has only this
// directory and the Go standard library to read.
//
// Of a pack, --since gives a checkpoint that was kept from before: what it is over must be
// the beginning of what there is now.
//
// Whoever has stolen a key that has expired since can sign with any time that he likes. So
// what a pack has is judged by the log's clock, too, which is no gateway's word and never
// goes back: a statement that came into a log more than an hour after the last SVID that
// announced its key had expired counts only if something that came in time names it by its
// hash; and none counts that is dated after that SVID. FORMAT.md, "Expired keys", says why
// that suffices. A proof has no announcements: it says how late a log took its statements.
//
// The invariant is the exit code. 0: all that is in FILE is proven. 1: it is not, and what
// is wrong with it is printed. 2: it could not be told, because FILE or KEYS could not be
// read, or something is signed by somebody of whom KEYS says nothing. No answer is never
// taken for a good one.
package main

import (
	"os"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifier"
)

func main() { os.Exit(verifier.Run(os.Args[1:], os.Stdout, os.Stderr)) }
