package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/label"
)

// labelFlags say what a label says.
type labelFlags struct {
	class, to, answerTo, request, sender string
}

// Label is the command `label`.
func (t Tool) Label() *cobra.Command {
	var f labelFlags
	cmd := &cobra.Command{
		Use:   "label --class CLASS (--to HOST | --answer-to SPIFFE_ID) --request 'METHOD PATH' [--for SPIFFE_ID] FILE",
		Short: "Sign of what data class one request or answer is, where that is not its sender's",
		Long: `Sign of what data class the request is whose content is in FILE ("-" is the standard
input), and print the label: the caller sends it in the field ` + label.Field + ` of that
request, within five minutes. It is good for this content, caller, destination, method
and path alone, byte for byte, and only if the policy lets you label: the signature is by
your X509-SVID, from the Workload API of --workload-api or SPIFFE_ENDPOINT_SOCKET.

With --answer-to it is of an answer to that caller, whose content is in FILE: the callee
sends it in the same field of the answer, whose status is 200. It can only raise the class.`,
		Example: `  sallyport label --class public --to llm.azure.mesh --request 'POST /v1/chat/completions' request.json
  sallyport label --class restricted --answer-to spiffe://onprem.demo/ai/orchestrator --request 'GET /datasets/train.jsonl' train.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.label(cmd.Context(), f, args[0]) },
	}
	cmd.Flags().StringVar(&f.class, "class", "", "data class of the policy")
	cmd.Flags().StringVar(&f.to, "to", "", "host name of the destination, NAME.ENVIRONMENT.mesh, without a port")
	cmd.Flags().StringVar(&f.answerTo, "answer-to", "", "SPIFFE ID of the caller, if it is of an answer")
	cmd.Flags().StringVar(&f.request, "request", "", "method, a space, and the path with its query, as the destination is asked")
	cmd.Flags().StringVar(&f.sender, "for", "", "SPIFFE ID of who sends it, the caller or the callee, if that is not you")
	cmd.MarkFlagsMutuallyExclusive("to", "answer-to")
	cmd.MarkFlagsOneRequired("to", "answer-to")
	return required(cmd, "class", "request")
}

func (t Tool) label(ctx context.Context, f labelFlags, file string) error {
	if f.answerTo == "" && (strings.Count(f.to, ".") != 2 || !strings.HasSuffix(f.to, ".mesh") || strings.Contains(f.to, ":")) {
		return t.Usage("--to %q is not NAME.ENVIRONMENT.mesh", f.to)
	}
	sender, err := t.id("for", f.sender)
	if err != nil {
		return err
	}
	answered, err := t.id("answer-to", f.answerTo)
	if err != nil {
		return err
	}
	content, err := t.digest(file)
	if err != nil {
		return err
	}
	return t.withSVID(ctx, func(_ context.Context, s *certs.Source) error {
		svid, err := s.GetX509SVID()
		if err != nil {
			return err
		}
		if sender.IsZero() {
			sender = svid.ID
		}
		var signed string
		if answered.IsZero() {
			signed, err = label.Sign(svid, label.Request{Caller: sender, Host: f.to, Line: f.request}, f.class, content, t.Now())
		} else {
			signed, err = label.SignAnswer(svid, label.Answer{Callee: sender, Caller: answered, Line: f.request}, f.class, content, t.Now())
		}
		if err != nil {
			return t.Usage("%v", err)
		}
		_, err = fmt.Fprintln(t.Stdout, signed)
		return err
	})
}

// id is the SPIFFE ID of a flag; zero if it was not given.
func (t Tool) id(flag, text string) (id spiffeid.ID, err error) {
	if text == "" {
		return id, nil
	}
	if id, err = spiffeid.FromString(text); err != nil {
		err = t.Usage("--%s %q is no SPIFFE ID: %v", flag, text, err)
	}
	return id, err
}

// digest is that of a file's content.
func (t Tool) digest(file string) (sum [sha256.Size]byte, err error) {
	in := t.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return sum, t.Usage("%v", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return sum, fmt.Errorf("read %s: %w", file, err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
