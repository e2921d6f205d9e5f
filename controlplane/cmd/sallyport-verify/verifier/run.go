// Package verifier is the command sallyport-verify: what it is asked, what it says, and
// its exit code.
package verifier

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/note"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/pack"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/proof"
)

// Exit codes.
const (
	proven    = 0
	notProven = 1
	notTold   = 2
)

// request is what the command was asked.
type request struct {
	keys, since, file string
	json              bool
}

// Run checks what the arguments name, says what came of it, and gives the exit code.
func Run(args []string, stdout, stderr io.Writer) int {
	r, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return proven
	}
	if err != nil {
		fmt.Fprintln(stderr, "sallyport-verify:", err)
		return notTold
	}
	a := r.answer()
	if err := a.print(stdout, r.json); err != nil {
		fmt.Fprintln(stderr, "sallyport-verify:", err)
		return notTold
	}
	return a.code
}

func parse(args []string, stderr io.Writer) (r request, err error) {
	flags := flag.NewFlagSet("sallyport-verify", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&r.keys, "keys", "", "`file` that says whom to believe")
	flags.StringVar(&r.since, "since", "", "`file` with a checkpoint from before, of a pack")
	output := flags.String("o", "text", "`form` of the answer: text or json")
	flags.Usage = func() {
		fmt.Fprint(stderr, "usage: sallyport-verify --keys KEYS [--since CHECKPOINT] [-o text|json] FILE\n\n"+
			"Checks a proof of one crossing, or a pack of all, offline.\n"+
			"Exit codes: 0 proven; 1 not proven; 2 could not tell.\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return r, err
	}
	r.json = *output == "json"
	switch {
	case *output != "text" && *output != "json":
		return r, fmt.Errorf("-o %s: want text or json", *output)
	case r.keys == "":
		return r, errors.New("--keys is missing: it names the file that says whom to believe")
	case flags.NArg() != 1:
		return r, errors.New("want one file: a proof or a pack")
	}
	r.file = flags.Arg(0)
	return r, nil
}

// answer is what there is to say of the file.
func (r request) answer() *answer {
	text, err := readAll(r.keys, keys.MaxFile)
	if err != nil {
		return unknown(err)
	}
	k, err := keys.Parse(text)
	if err != nil {
		return unknown(fmt.Errorf("%s: %w", r.keys, err))
	}
	file, err := os.Open(r.file)
	if err != nil {
		return unknown(err)
	}
	defer file.Close()
	isProof, err := begins(file, proof.Magic)
	switch {
	case err != nil:
		return unknown(fmt.Errorf("%s: %w", r.file, err))
	case isProof && r.since != "":
		return unknown(errors.New("--since is of packs: a proof has one checkpoint"))
	case isProof:
		return checkProof(file, k)
	}
	isPack, err := begins(file, pack.First+"\x00")
	if err == nil && !isPack {
		err = errors.New("it is neither a proof nor a pack")
	}
	if err != nil {
		return unknown(fmt.Errorf("%s: %w", r.file, err))
	}
	return r.checkPack(file, k)
}

func (r request) checkPack(file *os.File, k *keys.File) *answer {
	var since *keys.Checkpoint
	if r.since != "" {
		text, err := readAll(r.since, note.MaxSize)
		if err == nil {
			since, err = k.Checkpoint(text)
		}
		if err != nil {
			return unknown(fmt.Errorf("%s: %w", r.since, err))
		}
	}
	info, err := file.Stat()
	if err != nil {
		return unknown(err)
	}
	report, err := pack.Check(file, info.Size(), k, since)
	if err != nil {
		return &answer{code: notProven, why: err.Error()}
	}
	codes := map[finding.Weight]int{finding.Note: proven, finding.Unknown: notTold, finding.Fault: notProven}
	return &answer{code: codes[report.Findings.Worst()], report: report, since: since}
}

// begins says whether a file begins with a text, and goes back to its begin.
func begins(file *os.File, text string) (bool, error) {
	head := make([]byte, len(text))
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return string(head[:n]) == text, err
}

// readAll reads a small file.
func readAll(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return limited(file, most)
}

func limited(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	return data, err
}

func checkProof(r io.Reader, k *keys.File) *answer {
	data, err := limited(r, proof.MaxSize)
	if err != nil {
		return unknown(err)
	}
	c, err := proof.Check(data, k)
	switch {
	case errors.Is(err, keys.ErrNoKey):
		return unknown(err)
	case err != nil:
		return &answer{code: notProven, why: err.Error()}
	}
	return &answer{code: proven, crossing: c}
}

func unknown(err error) *answer { return &answer{code: notTold, why: err.Error()} }
