package bench

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// quiet is how much of the machine's processors others may take while a figure
// is measured that is held to a bound.
const quiet = 0.1

// spent is processor time: of all programs, with what the host stole, and of
// this one.
type spent struct{ all, own time.Duration }

// spentNow reads what was spent until now. It is zero where the system does not
// say it.
func spentNow(t *testing.T) spent {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return spent{}
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var s spent
	for i, field := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the name, idle, waiting for disks, and guests, which user has too
			continue
		}
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatalf("/proc/stat: %v", err)
		}
		s.all += time.Duration(n) * 10 * time.Millisecond
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		t.Fatal(err)
	}
	s.own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return s
}

// others is what part of so many processors other programs took since then.
func (s spent) others(t *testing.T, wall time.Duration, processors int) float64 {
	t.Helper()
	now := spentNow(t)
	took := (now.all - s.all) - (now.own - s.own)
	return max(0, took.Seconds()) / (wall.Seconds() * float64(processors))
}
