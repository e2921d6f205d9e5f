package netns

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWalk holds the deployment's README to what Deploy needs of it: hosts that
// exist, and something to change for environments that only dial out.
func TestWalk(t *testing.T) {
	t.Parallel()
	top, err := root()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := readWalk(filepath.Join(top, walkFile))
	if err != nil || len(steps) < 10 {
		t.Fatalf("%d steps, %v", len(steps), err)
	}
	hosts, err := readNames(filepath.Join(top, nameFile))
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, s := range steps {
		text += s.text
		for _, name := range s.hosts {
			if !slices.ContainsFunc(hosts, func(n named) bool { return n.name == name }) {
				t.Errorf("%s:%d: there is no host %q", walkFile, s.line, name)
			}
		}
	}
	policy, err := os.ReadFile(filepath.Join(top, "deploy/hosts/policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range Workloads {
		env := []string{w.Environment}
		if changed := dialsOut(string(policy), env); !strings.Contains(changed, w.Environment+"-1: {dialOut: true}") {
			t.Errorf("the policy's gateway %s-1 cannot be made to dial out", w.Environment)
		}
		if strings.Count(dialsOut(text, env), "--tunnel") != strings.Count(text, "--tunnel")-1 {
			t.Errorf("the walk's gateway %s-1 cannot be added without --tunnel", w.Environment)
		}
	}
}

// TestReadWalk holds what counts as a step.
func TestReadWalk(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "README.md")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a\n```sh\ngo build -o bin/ ./x\n```\n```yaml\nb: c\n```\n```sh one two\nd\ne\n```\n")
	steps, err := readWalk(file)
	if err != nil || len(steps) != 2 || steps[1].line != 8 || steps[1].text != "d\ne\n" || !slices.Equal(steps[1].hosts, []string{"one", "two"}) {
		t.Errorf("readWalk() = %+v, %v", steps, err)
	}
	if line, err := buildLine(file); err != nil || line != "go build -o bin/ ./x" {
		t.Errorf("buildLine() = %q, %v", line, err)
	}
	write("```sh one\nd\n")
	if steps, err := readWalk(file); err == nil {
		t.Errorf("a block without an end was read as %+v", steps)
	}
}
