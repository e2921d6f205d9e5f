package netns

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// walkFile is the deployment's README, below the repository's root.
const walkFile = "deploy/hosts/README.md"

// A step is one block of the walk: shell commands, and the hosts that they are
// for. The block without hosts is the one that builds the programs.
type step struct {
	line  int
	hosts []string
	text  string
}

// readWalk reads the blocks that begin with "```sh HOST...".
func readWalk(path string) ([]step, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var steps []step
	var open *step
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		hosts, begins := strings.CutPrefix(line, "```sh")
		switch {
		case open == nil && begins:
			open = &step{line: n, hosts: strings.Fields(hosts)}
		case open != nil && line == "```":
			steps, open = append(steps, *open), nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s:%d: a block without an end", path, open.line)
	}
	return steps, lines.Err()
}

// buildLine is the command that builds the programs.
func buildLine(path string) (string, error) {
	steps, err := readWalk(path)
	if err != nil {
		return "", err
	}
	for _, s := range steps {
		if len(s.hosts) == 0 && strings.HasPrefix(s.text, "go build -o bin/ ") {
			return strings.TrimSpace(s.text), nil
		}
	}
	return "", fmt.Errorf("%s no longer says how to build", path)
}
