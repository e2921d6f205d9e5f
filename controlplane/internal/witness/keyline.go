package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// policyWords are what no witness can be called in a policy file: "none" by
// tlog-policy, the others by programs that read such files.
var policyWords = []string{"none", "log", "witness", "group", "quorum", "any", "all"}

// validURL says whether a policy file can have the URL, and "/add-checkpoint" can
// follow it.
func validURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		u.User == nil && u.RawQuery == "" && !strings.ContainsAny(text, "#? \t")
}

// KeyLine is the witness's line in a policy file (tlog-policy), without a line end:
// "witness NAME VKEY URL", the last one only if the config has it. It needs no
// running witness, but one that has run: its key is made then.
func (c Config) KeyLine() (string, error) {
	path := filepath.Join(c.Dir, vkeyName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%q is missing: start the witness once, which makes its key", path)
	}
	if err != nil {
		return "", fmt.Errorf("read the witness's verifier key: %w", err)
	}
	vkey := strings.TrimSuffix(string(text), "\n")
	if name, _, _ := strings.Cut(vkey, "+"); name != c.Name {
		return "", fmt.Errorf("%q has the key of %q, not of %q", path, name, c.Name)
	}
	return strings.TrimSuffix("witness "+c.Name+" "+vkey+" "+c.URL, " "), nil
}
