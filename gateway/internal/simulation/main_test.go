package simulation

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain lets garbage wait: schedules are short, and leave nothing behind.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
