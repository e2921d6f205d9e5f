package netns

import (
	"errors"
	"os/exec"
	"testing"
	"time"
)

// pace is how often a condition is looked at: what a process on another host did
// tells nobody.
const pace = 100 * time.Millisecond

// Await waits until a condition holds, for a bounded time, and returns how long
// it took. The test fails with the condition's last error if it never did.
func Await(t testing.TB, within time.Duration, what string, holds func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		err := holds()
		if took := time.Since(begin); err == nil {
			return took
		} else if took > within {
			t.Fatalf("wait %s for %s: %v", within, what, err)
		}
		<-ticker.C
	}
}

// stderrOf is what a command complained about.
func stderrOf(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return ": " + string(exit.Stderr)
	}
	return ""
}
