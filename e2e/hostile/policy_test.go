package hostile

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/policykey"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// tenMegabytes is a policy's length that nobody has to read.
const tenMegabytes = 10_000_000

// padded is a policy of that many bytes, most of them a comment.
func padded(text string, size int) string {
	const line = "# a comment that says nothing of what may cross from where to where and on whose account ......\n"
	return text + strings.Repeat(line, max(0, size-len(text))/len(line)+1)
}

// TestHugePolicyFile gives the operator's tool a policy of 10 MB: it names the
// limit, soon, in bounded memory, and nothing is published.
func TestHugePolicyFile(t *testing.T) {
	m := meshtest.Start(t, nil)
	before, err := m.Reload(m.Context)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, says string }{
		{"a policy and a comment", padded(m.PolicyText(t), tenMegabytes), "the policy has more than 8 MiB, the limit"},
		{"nothing but brackets", strings.Repeat("[", tenMegabytes), "the policy has more than 8 MiB, the limit"},
		{"many more bytes than anybody reads", padded(m.PolicyText(t), 64<<20), "the policy has more than 8 MiB, the limit"},
		{"brackets within the limit", strings.Repeat("[", 8<<20), "not YAML"},
		{"an alias for an alias", "teams: &a {x: &b {contact: y}}\nsinks: *a\n", "an alias: write it out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := meshtest.WriteFile(t, c.text)
			for _, what := range []string{"check", "apply"} {
				s := meshtest.Sallyport(t, m.Dir(), "policy", what, file)
				if s.Code != 1 || s.Stdout != "" || !strings.Contains(s.Stderr, file+":") || !strings.Contains(s.Stderr, c.says) {
					t.Errorf("policy %s: exit code %d, want 1, and %q: %.300s%.300s", what, s.Code, c.says, s.Stdout, s.Stderr)
				}
				if len(s.Stderr) > 4<<10 {
					t.Errorf("policy %s said %d bytes", what, len(s.Stderr))
				}
			}
		})
	}
	after, err := m.Reload(m.Context)
	if d := cmp.Diff(before, after, protocmp.Transform()); d != "" || err != nil {
		t.Errorf("the policy in force (-before +after), %v:\n%s", err, d)
	}
	meshtest.WantCrossing(t, m)
}

// endless is a policy that never ends.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	return copy(p, bytes.Repeat([]byte("#"), len(p))), nil
}

// TestEndlessPolicy gives the operator's tool a policy without an end on its
// standard input: it does not wait for one.
func TestEndlessPolicy(t *testing.T) {
	in := new(endless)
	cmd := exec.CommandContext(patiently(t), meshtest.Binary(t, "sallyport"), "policy", "check", "-")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = in, &stderr
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "the policy has more than 8 MiB, the limit") {
		t.Errorf("policy check: %v, want exit code 1: %s", err, stderr.String())
	}
	if in.read > 32<<20 {
		t.Errorf("it read %d bytes", in.read)
	}
}

// TestHugePolicy hands the API policies that no tool would: of 10 MB and more,
// signed by the operator's own key where that gets them further.
func TestHugePolicy(t *testing.T) {
	m := meshtest.Start(t, nil)
	before, err := m.Reload(m.Context)
	if err != nil {
		t.Fatal(err)
	}
	operator, err := m.Source(m.Context, "operator")
	if err != nil {
		t.Fatal(err)
	}
	api := controlv1.NewPolicyServiceClient(calling(t, m, operator))
	for _, c := range []struct {
		name   string
		signed *policyv1.SignedPolicy
		code   codes.Code
		says   string
	}{
		{"10 MB that nobody signed", unsigned(before, make([]byte, tenMegabytes)), codes.InvalidArgument, "not the one that the manifest names"},
		{"10 MB of blanks", signedText(t, m, before, bytes.Repeat([]byte(" "), tenMegabytes)), codes.InvalidArgument, "read policy"},
		{"10 MB of brackets", signedText(t, m, before, bytes.Repeat([]byte("["), tenMegabytes)), codes.InvalidArgument, "read policy"},
		{"1 MB of faults", signedText(t, m, before, []byte(`{"dataClasses":["`+strings.Repeat(`a","`, tenMegabytes/40)+`a"],"policy":"local"}`)), codes.InvalidArgument, "dataClasses"},
		{"13 MB", signedText(t, m, before, bytes.Repeat([]byte(" "), 13<<20)), codes.InvalidArgument, "at most 12582912"},
		{"15 MB", unsigned(before, make([]byte, 15<<20)), codes.InvalidArgument, "the most is 14680064"},
		{"20 MB", unsigned(before, make([]byte, 20<<20)), codes.ResourceExhausted, "16777216"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := api.Publish(patiently(t), &controlv1.PublishRequest{Signed: c.signed}, grpc.MaxCallSendMsgSize(32<<20))
			if status.Code(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Publish() = %.300v, want %s that says %q", err, c.code, c.says)
			}
			if n := len(status.Convert(err).Message()); n > 4<<10 {
				t.Errorf("the error has %d bytes", n)
			}
		})
	}
	after, err := m.Reload(m.Context)
	if d := cmp.Diff(before, after, protocmp.Transform()); d != "" || err != nil {
		t.Errorf("the policy in force (-before +after), %v:\n%s", err, d)
	}
	meshtest.WantCrossing(t, m)
}

// unsigned is another policy under the signature of the one in force.
func unsigned(before *policyv1.SignedPolicy, text []byte) *policyv1.SignedPolicy {
	return &policyv1.SignedPolicy{Manifest: before.GetManifest(), Signatures: before.GetSignatures(), Policy: text}
}

// signed is a policy that the operator has signed without looking at it.
func signedText(t *testing.T, m *meshtest.Mesh, before *policyv1.SignedPolicy, text []byte) *policyv1.SignedPolicy {
	t.Helper()
	dir := filepath.Join(m.Dir(), "operator")
	set, err := policykey.ReadSet(filepath.Join(dir, policykey.KeySetFile))
	if err != nil {
		t.Fatal(err)
	}
	key, err := policykey.Read(filepath.Join(dir, policykey.KeyFile), set)
	if err != nil {
		t.Fatal(err)
	}
	was := new(policyv1.Manifest)
	if err := protojson.Unmarshal(before.GetManifest(), was); err != nil {
		t.Fatal(err)
	}
	manifest := []byte(`{"policy":"` + was.GetPolicy() + `","previous":"` + was.GetRevision() + `","revision":"` + signed.Revision(text) + `","serial":"2"}`)
	return &policyv1.SignedPolicy{
		Manifest: manifest, Policy: text,
		Signatures: []*policyv1.Signature{{Key: key.KeyID(), Ed25519: key.Sign(append([]byte("sallyport policy manifest v1\n"), manifest...))}},
	}
}
