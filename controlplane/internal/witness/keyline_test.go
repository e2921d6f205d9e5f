package witness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeyLine holds what a keys file gets of a witness, while it runs and later.
func TestKeyLine(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, newLog(t, testOrigin))
	if line, err := cfg.KeyLine(); err == nil || !strings.Contains(err.Error(), "start the witness once") {
		t.Errorf("before it ran: %q, %v", line, err)
	}
	w := open(t, cfg)
	wants := func(want string) {
		t.Helper()
		if line, err := cfg.KeyLine(); err != nil || line != want {
			t.Errorf("KeyLine = %q, %v, want %q", line, err, want)
		}
	}
	wants("witness " + testName + " " + w.VKey())
	w.close()
	cfg.URL = "https://auditor.example/witness/"
	wants("witness " + testName + " " + w.VKey() + " https://auditor.example/witness/")
	cfg.Name = "another"
	if line, err := cfg.KeyLine(); err == nil || !strings.Contains(err.Error(), "not of \"another\"") {
		t.Errorf("of another name: %q, %v", line, err)
	}
	cfg.Name = testName
	if err := os.Chmod(filepath.Join(cfg.Dir, vkeyName), 0); err != nil {
		t.Fatal(err)
	}
	if line, err := cfg.KeyLine(); os.Geteuid() != 0 && err == nil {
		t.Errorf("of a file that cannot be read: %q", line)
	}
}

// TestValidate holds that a line in a policy file can be made of each name and URL
// that is taken.
func TestValidate(t *testing.T) {
	t.Parallel()
	good := testConfig(t, newLog(t, testOrigin))
	for _, name := range []string{"", "none", "quorum", "any", "two words", "a+b", "a#b", "a\tb", "a\nb"} {
		cfg := good
		cfg.Name = name
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "name:") {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, url := range []string{"auditor.example", "ftp://auditor.example/", "https:///w", "https://u@auditor.example/", "https://auditor.example/#w", "https://auditor.example/?w=1", "https://auditor.example/a b", "/w"} {
		cfg := good
		cfg.URL = url
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "url:") {
			t.Errorf("url %q: %v", url, err)
		}
	}
	for _, url := range []string{"", "http://127.0.0.1:8448", "http://[::1]:8448/", "https://auditor.example/w/"} {
		cfg := good
		cfg.URL = url
		if err := cfg.Validate(); err != nil {
			t.Errorf("url %q: %v", url, err)
		}
	}
}
