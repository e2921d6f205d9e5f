package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// childDir, in the environment, makes the test binary the child of a crash test:
// it appends to that directory until it is killed, saying what was answered for.
const childDir = "SALLYPORT_STORE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(appendUntilKilled(dir))
	}
	os.Exit(m.Run())
}

func appendUntilKilled(dir string) int {
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir, Log: zap.NewNop()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var revision uint64
	for i := 0; ; i++ {
		if err := s.AppendFrames(ctx, "g", [][]byte{fmt.Appendf(nil, "frame %d", i)}); err != nil {
			fmt.Println("error", err)
			continue
		}
		if revision, err = s.PutPolicy(ctx, signed(fmt.Sprintf("policy %d", i)), revision); err != nil {
			fmt.Println("error", err)
			continue
		}
		fmt.Println("answered", i)
	}
}

// child starts the child over dir and gives what it prints.
func child(t *testing.T, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// kill kills the child and reads the rest of what it said: the number of the
// last frame that was answered for.
func kill(t *testing.T, cmd *exec.Cmd, out *bufio.Scanner, last int) int {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for out.Scan() {
		_, _ = fmt.Sscanf(out.Text(), "answered %d", &last) // a line cut short counts for nothing
	}
	_ = cmd.Wait() // it was killed
	return last
}

func TestWhatWasAnsweredForSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	cmd, out := child(t, dir)
	last := -1
	for last < 20 && out.Scan() {
		if _, err := fmt.Sscanf(out.Text(), "answered %d", &last); err != nil {
			t.Fatalf("the child said %q", out.Text())
		}
	}
	last = kill(t, cmd, out, last)
	if last < 20 {
		t.Fatalf("the child ended after %d", last)
	}
	s := open(t, Config{Dir: dir})
	defer closeStore(t, s)
	got := replay(t, s)
	if len(got) < last+1 {
		t.Fatalf("%d frames are there, %d were answered for", len(got), last+1)
	}
	for i, d := range got {
		if want := fmt.Sprintf("frame %d", i); d.Frame != want {
			t.Fatalf("frame %d is %q, want %q", i, d.Frame, want)
		}
	}
	policy, _, err := s.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(string(policy.GetManifest()), "policy %d", &n); err != nil || n < last {
		t.Errorf("the policy is %q, want at least number %d", policy.GetManifest(), last)
	}
}

func TestFullDiskSurfaces(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("needs a small file system of its own, which needs root: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	s := open(t, Config{Dir: dir})
	defer closeStore(t, s)
	frame := make([]byte, 60<<10)
	for range 100 {
		if err := s.AppendFrames(t.Context(), "g", [][]byte{frame}); err != nil {
			t.Logf("the disk being full reads: %v", err)
			return
		}
	}
	t.Error("6 MB were answered for on a disk of 2 MiB")
}
