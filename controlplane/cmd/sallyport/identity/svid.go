// Package identity is the commands that use the operator's or a workload's own SVID:
// svid shows it to programs that do not speak to a Workload API, and label signs with
// it of what class the content of a request is.
package identity

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/reach"
)

// Tool is what the commands take from the tool that they are part of.
type Tool struct {
	Stdin  io.Reader
	Stdout io.Writer
	// Now is the clock that dates are judged by.
	Now func() time.Time
	// WorkloadAPI is the address of the Workload API that gives the SVID; empty means
	// SPIFFE_ENDPOINT_SOCKET. It is known once a command runs.
	WorkloadAPI *string
	// Group makes a command that only groups others.
	Group func(use, short string, subs ...*cobra.Command) *cobra.Command
	// Usage is the error of bad usage.
	Usage func(format string, args ...any) error
}

// SVID is the command `svid` with what is below it.
func (t Tool) SVID() *cobra.Command {
	return t.Group("svid", "Fetch your own SVID, for programs that do not speak to a Workload API", t.svidX509(), t.svidJWT())
}

func (t Tool) svidX509() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "x509 --out DIR",
		Short: "Write your X509-SVID, its key and your trust domain's bundle as PEM",
		Long: `Write your X509-SVID (DIR/svid.pem), its key (DIR/key.pem, for you alone) and your trust
domain's bundle (DIR/bundle.pem), in place of earlier ones. They come from the Workload
API of --workload-api or SPIFFE_ENDPOINT_SOCKET, last for an hour at most if it is
Sallyport's, and are not renewed here: programs that speak to the Workload API have
theirs renewed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withSVID(cmd.Context(), func(_ context.Context, s *certs.Source) error { return t.writeSVID(out, s) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "directory to write to; made if it is not there")
	return required(cmd, "out")
}

func (t Tool) svidJWT() *cobra.Command {
	var audience string
	cmd := &cobra.Command{
		Use:   "jwt --audience SPIFFE_ID",
		Short: "Print a JWT-SVID, such as an API key for a gateway",
		Long: `Print a JWT-SVID of yours for one audience: a gateway's SPIFFE ID makes it an API key
for that gateway. Whoever has it is you until it expires. It comes from the Workload API
of --workload-api or SPIFFE_ENDPOINT_SOCKET.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := spiffeid.FromString(audience); err != nil {
				return t.Usage("--audience %q is no SPIFFE ID: %v", audience, err)
			}
			return t.withSVID(cmd.Context(), func(ctx context.Context, s *certs.Source) error {
				token, _, err := s.FetchJWTSVID(ctx, audience)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(t.Stdout, token)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&audience, "audience", "", "SPIFFE ID of whom it is shown to")
	return required(cmd, "audience")
}

// required makes it bad usage not to give flags.
func required(cmd *cobra.Command, flags ...string) *cobra.Command {
	for _, name := range flags {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag does not exist: a broken program
		}
	}
	return cmd
}

// withSVID opens the Workload API and passes on what it gives.
func (t Tool) withSVID(ctx context.Context, f func(context.Context, *certs.Source) error) error {
	ctx, cancel := context.WithTimeout(ctx, reach.Timeout)
	defer cancel()
	source, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: *t.WorkloadAPI, Log: zap.NewNop()})
	if err != nil {
		return fmt.Errorf("get an SVID from the Workload API (--workload-api, SPIFFE_ENDPOINT_SOCKET): %w", err)
	}
	return errors.Join(f(ctx, source), source.Close())
}

func (t Tool) writeSVID(dir string, s *certs.Source) error {
	svid, err := s.GetX509SVID()
	if err != nil {
		return err
	}
	chain, key, err := svid.Marshal()
	if err != nil {
		return fmt.Errorf("encode the SVID: %w", err)
	}
	bundle, err := s.GetX509BundleForTrustDomain(s.TrustDomain())
	if err != nil {
		return err
	}
	var roots bytes.Buffer
	for _, root := range bundle.X509Authorities() {
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the SVID's directory: %w", err)
	}
	for _, f := range []struct {
		name string
		text []byte
		mode fs.FileMode
	}{{"bundle.pem", roots.Bytes(), 0o644}, {"key.pem", key, 0o600}, {"svid.pem", chain, 0o644}} {
		if err := replaceFile(filepath.Join(dir, f.name), f.text, f.mode); err != nil {
			return fmt.Errorf("write the SVID: %w", err)
		}
	}
	_, err = fmt.Fprintf(t.Stdout, "wrote svid.pem, key.pem and bundle.pem to %s: %s until %s\n",
		dir, svid.ID, svid.Certificates[0].NotAfter.UTC().Format(time.RFC3339))
	return err
}

// replaceFile puts a file in place as a whole; it never has another mode than this.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}
