package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// binDir is where this run of the tests has the programs.
var binDir = sync.OnceValues(func() (string, error) {
	return os.MkdirTemp("", fmt.Sprintf("%s%d-bin", prefix, os.Getpid()))
})

// Main runs a package's tests and removes the programs that were built for
// them. Call it from TestMain.
func Main(m *testing.M) {
	m.Run()
	if dir, err := binDir(); err == nil {
		os.RemoveAll(dir)
	}
}

// root is the repository. It is found from the directory that a test runs in,
// its package's.
var root = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the tests")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
})

// scp is scp between the hosts of a Network: HOST:FILE is a file below /mnt/HOST.
const scp = `#!/bin/sh -e
at() { echo "$1" | sed 's|^\([a-z0-9-]*\):|/mnt/\1|'; }
cp "$(at "$1")" "$(at "$2")"
`

// build builds the programs once, as the README says, and those that play workloads
// and programs that know nothing of a mesh.
var build = sync.OnceValues(func() (string, error) {
	dir, err := binDir()
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	top, err := root()
	if err != nil {
		return "", err
	}
	line, err := buildLine(filepath.Join(top, walkFile))
	if err != nil {
		return "", err
	}
	args := strings.Fields(strings.Replace(line, "-o bin/", "-o "+dir+"/", 1))
	cmd := exec.Command(args[0], append(args[1:], "./e2e/netns/cmd/workload", "./e2e/netns/cmd/legacy")...)
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return dir, os.WriteFile(filepath.Join(dir, "scp"), []byte(scp), 0o755)
})
