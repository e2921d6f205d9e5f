package meshtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const module = "github.com/sallyport-mesh/sallyport/"

// commands are those that users run.
var commands = map[string]func() (string, error){
	"sallyport":              builtOnce("sallyport", module+"controlplane/cmd/sallyport"),
	"sallyport-verify":       builtOnce("sallyport-verify", module+"controlplane/cmd/sallyport-verify"),
	"sallyport-gateway":      builtOnce("sallyport-gateway", module+"gateway/cmd/sallyport-gateway"),
	"sallyport-controlplane": builtOnce("sallyport-controlplane", module+"controlplane/cmd/sallyport-controlplane"),
}

// binDir is where this run of the tests builds commands.
var binDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "spbin") })

func builtOnce(name, path string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		dir, err := binDir()
		if err != nil {
			return "", err
		}
		to := filepath.Join(dir, name)
		if out, err := exec.Command("go", "build", "-o", to, path).CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
		return to, nil
	})
}

// Binary is the path of a command, built without the race detector, once for all
// tests of a package, whose TestMain must call Main.
func Binary(t testing.TB, name string) string {
	t.Helper()
	path, err := commands[name]()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Main runs the tests of a package, and then removes what Binary has built.
func Main(m *testing.M) {
	m.Run()
	if dir, err := binDir(); err == nil {
		os.RemoveAll(dir)
	}
}
