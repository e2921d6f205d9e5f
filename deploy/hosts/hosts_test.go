package hosts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// program is what a unit runs.
var program = regexp.MustCompile(`/usr/local/bin/(sallyport-\w+)`)

// maxExposure is the most that `systemd-analyze security` may say of a unit, in
// tenths: it calls 0 to 2 OK and more than 7 exposed.
const maxExposure = "20"

// TestUnits has systemd check the units as it would before it starts them, and
// judge how much they may do, the gateway that captures too. Their programs are not
// installed where tests run.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		skipUnlessRequired(t, "needs systemd-analyze (Debian package systemd)")
	}
	dir := t.TempDir()
	files, err := filepath.Glob("units/*.service")
	if err != nil || len(files) != 3 {
		t.Fatalf("units: %v, %v", files, err)
	}
	var units []string
	for _, file := range files {
		units = append(units, harmless(t, file, dir))
	}
	captures := t.TempDir()
	if err := os.CopyFS(captures, os.DirFS("units")); err != nil {
		t.Fatal(err)
	}
	units = append(units, harmless(t, "units/sallyport-gateway.service", captures))
	for _, unit := range units {
		for _, args := range [][]string{
			{"verify", "--man=no", unit},
			{"security", "--offline=true", "--no-pager", "--threshold=" + maxExposure, unit},
		} {
			out, err := exec.Command(analyze, args...).CombinedOutput()
			if err != nil || args[0] == "verify" && len(out) > 0 {
				t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	}
}

// harmless puts a unit into a directory, with a program that is everywhere, and
// gives its path there.
func harmless(t *testing.T, file, dir string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, filepath.Base(file))
	os.Remove(unit) // a copy may not be written to
	if err := os.WriteFile(unit, program.ReplaceAll(text, []byte("/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	return unit
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

// TestUnitsRunWhatIsBuilt holds the names of the programs to those that the
// README builds.
func TestUnitsRunWhatIsBuilt(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	build := regexp.MustCompile(`(?m)^go build -o bin/ .*$`).Find(readme)
	files, err := filepath.Glob("units/*.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		runs := program.FindSubmatch(text)
		if runs == nil || !strings.Contains(string(build)+" ", "/cmd/"+string(runs[1])+" ") {
			t.Errorf("%s runs %q, the README builds with %q", file, runs, build)
		}
	}
}
