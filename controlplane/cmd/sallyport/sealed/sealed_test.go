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
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const crossing = "01a207e6-e4d8-7d3e-9a54-000000000001"

// fake is a control plane that keeps parts, and counts what it gives.
type fake struct {
	controlv1.SealedServiceClient
	parts []*controlv1.SealedPart
	data  [][]byte
	given int
}

func (f *fake) ListSealed(_ context.Context, q *controlv1.ListSealedRequest, _ ...grpc.CallOption) (*controlv1.ListSealedResponse, error) {
	r := &controlv1.ListSealedResponse{}
	for _, p := range f.parts {
		if q.GetCrossing() == "" || q.GetCrossing() == p.GetCrossing() {
			r.Parts = append(r.Parts, p)
		}
	}
	return r, nil
}

type fakeGiven struct {
	grpc.ServerStreamingClient[controlv1.OpenSealedResponse]
	all []*controlv1.OpenSealedResponse
}

func (g *fakeGiven) Recv() (*controlv1.OpenSealedResponse, error) {
	if len(g.all) == 0 {
		return nil, io.EOF
	}
	r := g.all[0]
	g.all = g.all[1:]
	return r, nil
}

func (f *fake) OpenSealed(_ context.Context, q *controlv1.OpenSealedRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[controlv1.OpenSealedResponse], error) {
	g := &fakeGiven{}
	for i, p := range f.parts {
		if q.GetCrossing() == p.GetCrossing() && q.GetPart() == p.GetPart() {
			f.given++
			half := len(f.data[i]) / 2
			g.all = append(g.all, &controlv1.OpenSealedResponse{Part: p},
				&controlv1.OpenSealedResponse{Data: f.data[i][:half]}, &controlv1.OpenSealedResponse{Data: f.data[i][half:]})
		}
	}
	return g, nil
}

// keep keeps what was sealed, without its last bytes.
func (f *fake) keep(t *testing.T, part controlv1.SealedPart_Part, to *age.X25519Identity, content string, without int) *controlv1.SealedPart {
	t.Helper()
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, content)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()[:b.Len()-without]
	sum := sha256.Sum256(data)
	p := &controlv1.SealedPart{
		Crossing: crossing, Part: part, Intent: "plan", Reviewer: "dpo", Key: to.Recipient().String(), RetentionDays: 30,
		Bytes: uint64(len(data)), Sha256: hex.EncodeToString(sum[:]), Broken: without > 0,
	}
	f.parts, f.data = append(f.parts, p), append(f.data, data)
	return p
}

var errNone = errors.New("none found")

// run runs the command with arguments over a fake.
func run(t *testing.T, f *fake, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := Command(Tool{
		Ask: func(ctx context.Context, _ string, q func(context.Context, controlv1.SealedServiceClient) error) error {
			return q(ctx, f)
		},
		Print: func(_ render.Format, _ any, table func(io.Writer) error) error { return table(&out) },
		Found: func(n int, what string) error {
			if n == 0 {
				return fmt.Errorf("%w: %s", errNone, what)
			}
			return nil
		},
		Format: func(cmd *cobra.Command, f *render.Format) { cmd.Flags().VarP(f, "output", "o", "") },
	})
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func newIdentity(t *testing.T) (*age.X25519Identity, string) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "reviewer.txt")
	if err := os.WriteFile(path, []byte("# a comment\n"+identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return identity, path
}

func TestOpen(t *testing.T) {
	dpo, key := newIdentity(t)
	f := &fake{}
	f.keep(t, controlv1.SealedPart_ANSWER, dpo, "an \x1b[2Janswer\n", 0)
	f.keep(t, controlv1.SealedPart_REQUEST, dpo, "a\tprompt\n", 0)
	for _, c := range []struct {
		args  []string
		want  string
		given int
	}{
		{[]string{"open", crossing, "--key", key}, "a\tprompt\nan \ufffd[2Janswer\n", 2},
		{[]string{"open", crossing, "--key", key, "--part", "answer", "--raw"}, "an \x1b[2Janswer\n", 1},
		{[]string{"open", crossing, "--key", key, "--part", "request"}, "a\tprompt\n", 1},
	} {
		f.given = 0
		got, said, err := run(t, f, c.args...)
		if err != nil || got != c.want || f.given != c.given || !strings.Contains(said, "by intent plan, for dpo") {
			t.Errorf("%q: %q, %q, %v, given %d", c.args, got, said, err, f.given)
		}
	}
	if got, _, err := run(t, f, "list"); err != nil || strings.Count(got, "\n") != 3 || !strings.Contains(got, "dpo") {
		t.Errorf("list: %q, %v", got, err)
	}
}

// TestNotAsked: what could not be opened anyway is not asked for.
func TestNotAsked(t *testing.T) {
	dpo, key := newIdentity(t)
	other, _ := newIdentity(t)
	_ = dpo
	f := &fake{}
	f.keep(t, controlv1.SealedPart_REQUEST, other, "a prompt", 0)
	none := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(none, []byte("AGE-SECRET-KEY-1NOT"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"sealed to this key":     {crossing, "--key", key},
		"of that crossing":       {"01a207e6-e4d8-7d3e-9a54-000000000009", "--key", key},
		"has no age identity":    {crossing, "--key", none},
		"no such file":           {crossing, "--key", none + "s"},
		"neither request nor":    {crossing, "--key", key, "--part", "both"},
		`required flag(s) "key"`: {crossing},
	} {
		got, _, err := run(t, f, append([]string{"open"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) || got != "" || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %q, %v, want %q", args, got, err, want)
		}
	}
	if f.given != 0 {
		t.Errorf("given %d times", f.given)
	}
}

// TestSpoilt: what is not as it was sealed is not shown, but for what is known to be broken off.
func TestSpoilt(t *testing.T) {
	dpo, key := newIdentity(t)
	long := strings.Repeat("x", 64<<10) + "y"
	f := &fake{}
	f.keep(t, controlv1.SealedPart_REQUEST, dpo, long, 17)
	if got, said, err := run(t, f, "open", crossing, "--key", key, "--raw"); err != nil || got != long[:64<<10] || !strings.Contains(said, "broken off") {
		t.Errorf("broken off: %d bytes, %q, %v", len(got), said, err)
	}
	f.parts[0].Broken = false
	if got, _, err := run(t, f, "open", crossing, "--key", key, "--raw"); err == nil || got != "" {
		t.Errorf("cut short by somebody: %d bytes, %v", len(got), err)
	}
	f = &fake{}
	f.keep(t, controlv1.SealedPart_REQUEST, dpo, "a prompt", 0)
	f.data[0][len(f.data[0])-1] ^= 1
	if got, _, err := run(t, f, "open", crossing, "--key", key); err == nil || !strings.Contains(err.Error(), "digest") || got != "" {
		t.Errorf("another one: %q, %v", got, err)
	}
	sum := sha256.Sum256(f.data[0])
	f.parts[0].Sha256 = hex.EncodeToString(sum[:])
	if got, _, err := run(t, f, "open", crossing, "--key", key); err == nil || got != "" {
		t.Errorf("a flipped bit: %q, %v", got, err)
	}
}
