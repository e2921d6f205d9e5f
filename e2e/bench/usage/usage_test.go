//go:build linux

package usage

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestChildrenCount: a shell's busy child counts as the shell does.
func TestChildrenCount(t *testing.T) {
	cmd := exec.Command("sh", "-c", "while :; do :; done & echo up; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range family(cmd.Process.Pid) {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
		cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		used, err := CPU(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if used >= 50*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a busy child used %s", used)
		}
	}
	if n, err := Threads(cmd.Process.Pid); err != nil || n != 2 {
		t.Errorf("%d threads, %v; want the shell's and its child's", n, err)
	}
}

func TestOwn(t *testing.T) {
	before, err := Descriptors(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if after, err := Descriptors(os.Getpid()); err != nil || after != before+1 {
		t.Errorf("%d descriptors with one more open, %v; before %d", after, err, before)
	}
	shared, err := Memory(os.Getpid())
	if alone, err2 := Resident(os.Getpid()); err != nil || err2 != nil || shared < 1<<20 || alone < shared {
		t.Errorf("memory %d, %v; resident %d, %v", shared, err, alone, err2)
	}
}

func TestNobody(t *testing.T) {
	const never = 1 << 30 // beyond the kernel's largest process id
	if _, err := CPU(never); err == nil {
		t.Error("the CPU time of nobody was found")
	}
	if _, err := Memory(never); err == nil {
		t.Error("the memory of nobody was found")
	}
}
