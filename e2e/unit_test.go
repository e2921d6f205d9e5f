package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// gatewayUnit is a gateway that is run as a service manager runs it: it is told
// which process is the gateway's main one.
type gatewayUnit struct {
	name    string
	file    string // its bootstrap file
	state   string // its state directory
	admin   string // where it tells of itself
	log     *os.File
	changed chan int // the main process changed to this one

	mu   sync.Mutex // guards pids
	pids []int      // all that were the main process, the last one now
}

// startUnit starts a gateway of the mesh, which drains for drainTime.
func startUnit(t *testing.T, m *meshtest.Mesh, name string) *gatewayUnit {
	t.Helper()
	b := m.Started(t, name)
	b.Drain = durationpb.New(drainTime)
	b.Admin = freeAdmin(t)
	text, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(m.Dir(), name+".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	u := &gatewayUnit{name: name, file: file, admin: b.GetAdmin(), state: b.GetStateDir(), changed: make(chan int, 1)}
	if u.log, err = os.Create(filepath.Join(m.Dir(), name+".log")); err != nil {
		t.Fatal(err)
	}
	manager, socket := u.manage(t, m.Dir())
	cmd := exec.Command(meshtest.Binary(t, "sallyport-gateway"), "run", "--bootstrap", file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	cmd.Stdout, cmd.Stderr = u.log, u.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	u.pids = []int{cmd.Process.Pid}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		u.end(t)
		<-ended
		manager.Close()
	})
	return u
}

// manage listens to what the gateway tells its service manager.
func (u *gatewayUnit) manage(t *testing.T, dir string) (*net.UnixConn, string) {
	t.Helper()
	socket := filepath.Join(dir, u.name+".notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		said := make([]byte, 256)
		for {
			n, err := manager.Read(said)
			if err != nil {
				return
			}
			for line := range bytes.Lines(said[:n]) {
				text, ok := strings.CutPrefix(string(bytes.TrimSpace(line)), "MAINPID=")
				if pid, err := strconv.Atoi(text); ok && err == nil {
					u.changed <- pid
				}
			}
		}
	}()
	return manager, socket
}

// reload restarts the gateway as `systemctl reload` does, and waits for the
// process that takes over.
func (u *gatewayUnit) reload(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(u.main(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case pid := <-u.changed:
		u.mu.Lock()
		u.pids = append(u.pids, pid)
		u.mu.Unlock()
	case <-time.After(meshtest.Patience):
		t.Fatalf("no process takes over from %s:\n%s", u.name, u.tail())
	}
}

// reloadInVain reloads with a bootstrap file that nobody can start from: the
// process goes on, and says so.
func (u *gatewayUnit) reloadInVain(t *testing.T) {
	t.Helper()
	good, err := os.ReadFile(u.file)
	if err == nil {
		err = os.WriteFile(u.file, []byte(`{"gatewy": ""}`), 0o600)
	}
	if err == nil {
		err = syscall.Kill(u.main(), syscall.SIGHUP)
	}
	if err != nil {
		t.Fatal(err)
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); !bytes.Contains(u.tail(), []byte("no successor took over")); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not say that nobody took over:\n%s", u.name, u.tail())
		}
	}
	if err := os.WriteFile(u.file, good, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (u *gatewayUnit) main() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.pids[len(u.pids)-1]
}

// earlier are the processes that were the main one and still run.
func (u *gatewayUnit) earlier() []int {
	u.mu.Lock()
	defer u.mu.Unlock()
	var pids []int
	for _, pid := range u.pids[:len(u.pids)-1] {
		if runs(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// runs says whether a process runs. One that has ended and that nobody has asked
// how does not.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !os.IsNotExist(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// awaitAlone waits until the processes before the main one have ended, and until
// it has delivered and removed what they left.
func (u *gatewayUnit) awaitAlone(t *testing.T) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(drainTime + stopTime); ; <-ticker.C {
		left, err := filepath.Glob(filepath.Join(u.state, "spool", "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(u.earlier()) == 0 && len(left) <= 3 { // its lock, the run of now and what that knows of chains
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("of %s run %v besides the main process, and in its spool is %q:\n%s", u.name, u.earlier(), left, u.tail())
		}
	}
}

// end ends all processes, and shows the log if the test has failed.
func (u *gatewayUnit) end(t *testing.T) {
	u.mu.Lock()
	pids := u.pids
	u.mu.Unlock()
	for _, pid := range pids {
		if runs(pid) {
			syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(stopTime)
	for _, pid := range pids {
		for runs(pid) {
			if time.Now().After(deadline) {
				t.Errorf("%s: process %d goes on after SIGTERM", u.name, pid)
				syscall.Kill(pid, syscall.SIGKILL)
				break
			}
			<-ticker.C
		}
	}
	if t.Failed() {
		t.Logf("%s said:\n%s", u.name, u.tail())
	}
	u.log.Close()
}

// tail is the end of what the gateway's processes said.
func (u *gatewayUnit) tail() []byte {
	const enough = 24 << 10
	text, err := os.ReadFile(u.log.Name())
	if err != nil {
		return fmt.Appendf(nil, "%v", err)
	}
	return text[max(0, len(text)-enough):]
}
