// Package sealed is the command `sealed`: what is kept of contents, and how a reviewer opens
// it. What it is given it decrypts here, with a key that goes nowhere.
//
// The one invariant: nothing is asked for that the reviewer's key does not open, for to be
// given it is an act in a log.
package sealed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// Tool is what the command takes from the tool that it is part of.
type Tool struct {
	// Ask has a mesh asked; doing is what for, as in "list sealed contents". Its error is
	// one for people.
	Ask func(ctx context.Context, doing string, question func(context.Context, controlv1.SealedServiceClient) error) error
	// Print answers in a format: value for scripts, table for people.
	Print func(f render.Format, value any, table func(io.Writer) error) error
	// Found makes an empty list the answer no.
	Found func(n int, what string) error
	// Format gives a command its -o.
	Format func(cmd *cobra.Command, f *render.Format)
}

// Command is `sealed` with what is below it.
func Command(t Tool) *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "sealed",
		Short: "List the contents that are kept, sealed to reviewers, and open one",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return t.list(cmd.Context(), format, "") },
	}
	t.Format(cmd, &format)
	cmd.AddCommand(t.listCommand(), t.openCommand())
	return cmd
}

func (t Tool) listCommand() *cobra.Command {
	var format render.Format
	var crossing string
	cmd := &cobra.Command{
		Use:   "list [--crossing ID]",
		Short: "List the contents that are kept; nothing of them is shown",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return t.list(cmd.Context(), format, crossing) },
	}
	cmd.Flags().StringVar(&crossing, "crossing", "", "id of a crossing; all if empty")
	t.Format(cmd, &format)
	return cmd
}

func (t Tool) list(ctx context.Context, format render.Format, crossing string) error {
	all, err := t.parts(ctx, crossing)
	if err != nil {
		return err
	}
	list := make(render.List, len(all))
	for i, p := range all {
		list[i] = render.Message(p)
	}
	if err := t.Print(format, list, func(w io.Writer) error { return table(w, all) }); err != nil {
		return err
	}
	return t.Found(len(all), "sealed content")
}

func (t Tool) parts(ctx context.Context, crossing string) (all []*controlv1.SealedPart, err error) {
	err = t.Ask(ctx, "list sealed contents", func(ctx context.Context, c controlv1.SealedServiceClient) error {
		r, err := c.ListSealed(ctx, &controlv1.ListSealedRequest{Crossing: crossing})
		all = r.GetParts()
		return err
	})
	return all, err
}

// table has a line for each part.
func table(w io.Writer, all []*controlv1.SealedPart) error {
	g := render.NewGrid("CROSSING", "PART", "INTENT", "REVIEWER", "SIZE", "CREATED", "KEPT", "")
	for _, p := range all {
		g.Row(p.GetCrossing(), word(p), p.GetIntent(), p.GetReviewer(), render.Size(p.GetBytes()),
			p.GetCreated().AsTime().Format(time.RFC3339), strconv.Itoa(int(p.GetRetentionDays()))+"d", lacks(p))
	}
	return g.Flush(w)
}

func word(p *controlv1.SealedPart) string { return strings.ToLower(p.GetPart().String()) }

// lacks says what is not there of a part.
func lacks(p *controlv1.SealedPart) string {
	switch {
	case p.GetBroken():
		return "broken off"
	case p.GetCut():
		return "cut"
	}
	return ""
}

// request is what is to be opened, and how.
type request struct {
	crossing, part, key string
	raw                 bool
}

func (t Tool) openCommand() *cobra.Command {
	var r request
	cmd := &cobra.Command{
		Use:   "open CROSSING --key FILE [--part request|answer] [--raw]",
		Short: "Show the content of a crossing to its reviewer",
		Long: `Show the content of a crossing to its reviewer, whose age identity is in a file. That you
were given it is entered in the log of its gateway's environment before you are. It is
decrypted here: the key goes nowhere. With --raw it is written as it was; else what
could move the terminal's cursor is replaced.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.crossing = args[0]
			return t.open(cmd.Context(), r, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&r.key, "key", "", "file with your age identity (AGE-SECRET-KEY-1...)")
	cmd.Flags().StringVar(&r.part, "part", "", "request or answer; both if empty")
	cmd.Flags().BoolVar(&r.raw, "raw", false, "write the bytes as they were")
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err) // the flag does not exist: a broken program
	}
	return cmd
}

func (t Tool) open(ctx context.Context, r request, stdout, stderr io.Writer) error {
	identities, recipients, err := readKey(r.key)
	if err != nil {
		return err
	}
	part, ok := controlv1.SealedPart_Part_value[strings.ToUpper(r.part)]
	if r.part != "" && (!ok || part == 0) {
		return fmt.Errorf("--part: %q is neither request nor answer", r.part)
	}
	listed, err := t.parts(ctx, r.crossing)
	if err != nil {
		return err
	}
	wanted := map[controlv1.SealedPart_Part]bool{}
	for _, p := range listed {
		if recipients[p.GetKey()] && (part == 0 || part == int32(p.GetPart())) {
			wanted[p.GetPart()] = true
		}
	}
	if len(listed) > 0 && len(wanted) == 0 {
		return t.Found(0, "content of that crossing that is sealed to this key")
	}
	for _, one := range []controlv1.SealedPart_Part{controlv1.SealedPart_REQUEST, controlv1.SealedPart_ANSWER} {
		if wanted[one] {
			err = errors.Join(err, t.show(ctx, &controlv1.OpenSealedRequest{Crossing: r.crossing, Part: one}, identities, r.raw, stdout, stderr))
		}
	}
	return errors.Join(err, t.Found(len(wanted), "sealed content of that crossing"))
}

// readKey reads a file of age identities, and what is sealed to them.
func readKey(path string) ([]age.Identity, map[string]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the key: %w", err)
	}
	defer f.Close()
	identities, err := age.ParseIdentities(f)
	if err != nil {
		return nil, nil, fmt.Errorf("read the key: %s has no age identity", path) // nothing of it is shown
	}
	recipients := map[string]bool{}
	for _, i := range identities {
		if x, ok := i.(*age.X25519Identity); ok {
			recipients[x.Recipient().String()] = true
		}
	}
	return identities, recipients, nil
}

// show asks for parts, and writes what each was.
func (t Tool) show(ctx context.Context, q *controlv1.OpenSealedRequest, identities []age.Identity, raw bool, stdout, stderr io.Writer) error {
	var all []given
	err := t.Ask(ctx, "open sealed content", func(ctx context.Context, c controlv1.SealedServiceClient) (err error) {
		all, err = receive(ctx, c, q)
		return err
	})
	for _, g := range all {
		if err != nil {
			break
		}
		fmt.Fprintf(stderr, "%s of %s, by intent %s, for %s %s\n", word(g.part), g.part.GetCrossing(),
			render.Printable(g.part.GetIntent()), render.Printable(g.part.GetReviewer()), lacks(g.part))
		err = g.write(stdout, identities, raw)
	}
	return err
}

// given is a part as it was given.
type given struct {
	part *controlv1.SealedPart
	data []byte
}

func receive(ctx context.Context, c controlv1.SealedServiceClient, q *controlv1.OpenSealedRequest) (all []given, err error) {
	stream, err := c.OpenSealed(ctx, q)
	if err != nil {
		return nil, err
	}
	for {
		r, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		case r.GetPart() != nil:
			all = append(all, given{part: r.GetPart()})
		case len(all) == 0:
			return nil, errors.New("the control plane gives bytes of nothing")
		}
		last := &all[len(all)-1]
		last.data = append(last.data, r.GetData()...)
	}
}

// write decrypts it. Of what is broken off it writes what is there.
func (g given) write(w io.Writer, identities []age.Identity, raw bool) error {
	sum := sha256.Sum256(g.data)
	if hex.EncodeToString(sum[:]) != g.part.GetSha256() {
		return fmt.Errorf("the %s is not the one that was sealed: its digest is another", word(g.part))
	}
	clear, err := age.Decrypt(bytes.NewReader(g.data), identities...)
	if err != nil {
		return fmt.Errorf("open the %s: %w", word(g.part), err)
	}
	text, err := io.ReadAll(clear)
	if err != nil && !(g.part.GetBroken() && errors.Is(err, io.ErrUnexpectedEOF)) {
		return fmt.Errorf("open the %s: %w", word(g.part), err)
	}
	if !raw {
		text = printable(text)
	}
	_, err = w.Write(text)
	return err
}

// printable is a text for a terminal, with its lines.
func printable(text []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(text)) {
		for i, cell := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
			if i > 0 {
				out.WriteByte('\t')
			}
			out.WriteString(render.Printable(cell))
		}
		out.WriteByte('\n')
	}
	return out.Bytes()
}
