package lint

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGeneratedIsFresh generates the protobuf code again and compares. It
// needs buf, which is large: it runs where the tools were built.
func TestGeneratedIsFresh(t *testing.T) {
	buf, err := exec.LookPath("buf")
	if err != nil {
		skipUnlessRequired(t, "needs buf on the PATH: go build -modfile=.ci/tools.mod -o DIR github.com/bufbuild/buf/cmd/buf")
	}
	out := t.TempDir()
	cmd := exec.Command(buf, "generate", "--output", out)
	cmd.Dir = root
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("buf generate: %v\n%s", err, msg)
	}
	committed, err := filepath.Glob(filepath.Join(root, "proto/sallyport/*/v1/*.pb.go"))
	if err != nil || len(committed) < 4 {
		t.Fatalf("found %d generated files (%v)", len(committed), err)
	}
	for _, name := range committed {
		rel, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(out, rel))
		if err != nil {
			t.Errorf("%s: no longer generated: %v", rel, err)
			continue
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run make generate", rel)
		}
	}
}

// skipUnlessRequired skips a test for what it needs. Where everything is
// there, SALLYPORT_REQUIRE_ALL turns the skip into a failure.
func skipUnlessRequired(t *testing.T, needs string) {
	t.Helper()
	if os.Getenv("SALLYPORT_REQUIRE_ALL") != "" {
		t.Fatal(needs)
	}
	t.Skip(needs)
}
