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
	class, to, request, caller string
}

// Label is the command `label`.
func (t Tool) Label() *cobra.Command {
	var f labelFlags
	cmd := &cobra.Command{
		Use:   "label --class CLASS --to HOST --request 'METHOD PATH' [--for SPIFFE_ID] FILE",
		Short: "Sign of what data class one request is, where that is not its sender's",
		Long: `Sign of what data class the request is whose content is in FILE ("-" is the standard
input), and print the label: the caller sends it in the field ` + label.Field + ` of that
request, within five minutes. It is good for this content, caller, destination, method
and path alone, byte for byte, and only if the policy lets you label: the signature is by
your X509-SVID, from the Workload API of --workload-api or SPIFFE_ENDPOINT_SOCKET.`,
		Example: `  sallyport label --class public --to llm.azure.mesh --request 'POST /v1/chat/completions' request.json`,
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return t.label(cmd.Context(), f, args[0]) },
	}
	cmd.Flags().StringVar(&f.class, "class", "", "data class of the policy")
	cmd.Flags().StringVar(&f.to, "to", "", "host name of the destination, NAME.ENVIRONMENT.mesh, without a port")
	cmd.Flags().StringVar(&f.request, "request", "", "method, a space, and the path with its query, as the destination is asked")
	cmd.Flags().StringVar(&f.caller, "for", "", "SPIFFE ID of the caller, if that is not you")
	return required(cmd, "class", "to", "request")
}

func (t Tool) label(ctx context.Context, f labelFlags, file string) error {
	if strings.Count(f.to, ".") != 2 || !strings.HasSuffix(f.to, ".mesh") || strings.Contains(f.to, ":") {
		return t.Usage("--to %q is not NAME.ENVIRONMENT.mesh", f.to)
	}
	var caller spiffeid.ID
	if f.caller != "" {
		var err error
		if caller, err = spiffeid.FromString(f.caller); err != nil {
			return t.Usage("--for %q is no SPIFFE ID: %v", f.caller, err)
		}
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
		if caller.IsZero() {
			caller = svid.ID
		}
		signed, err := label.Sign(svid, label.Request{Caller: caller, Host: f.to, Line: f.request}, f.class, content, t.Now())
		if err != nil {
			return t.Usage("%v", err)
		}
		_, err = fmt.Fprintln(t.Stdout, signed)
		return err
	})
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
