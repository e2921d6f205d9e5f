package netns

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startTimeout is how long a unit may take until it says that it is ready.
const startTimeout = 60 * time.Second

// unit is as much of a systemd unit as a test can keep without systemd: what is
// run, by whom, with which directories.
type unit map[string]string

// readUnit reads the [Service] section of a unit and of what stands beside it in
// FILE.d, where of each key the last counts.
func readUnit(file string) (unit, error) {
	u := unit{}
	beside, err := filepath.Glob(file + ".d/*.conf")
	if err != nil {
		return nil, err
	}
	for _, f := range append([]string{file}, beside...) {
		if err := u.read(f); err != nil {
			return nil, err
		}
	}
	for _, key := range []string{"User", "ExecStart", "StateDirectory"} {
		if u[key] == "" {
			return nil, fmt.Errorf("%s has no %s", file, key)
		}
	}
	return u, nil
}

func (u unit) read(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, service, found := strings.Cut(string(text), "\n[Service]\n")
	if !found {
		return fmt.Errorf("%s has no [Service]", file)
	}
	service, _, _ = strings.Cut(service, "\n[")
	for line := range strings.Lines(service) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			u[key] = value
		}
	}
	return nil
}

// user is who starts the unit's program, and what comes before it: with
// capabilities it is root, who gives up all the others.
func (u unit) user() (string, []string) {
	caps := strings.Fields(strings.ToLower(strings.ReplaceAll(u["AmbientCapabilities"], "CAP_", "+")))
	if len(caps) == 0 {
		return u["User"], nil
	}
	set := "-all," + strings.Join(caps, ",")
	return "root", []string{
		"setpriv", "--reuid=" + u["User"], "--regid=" + u["User"], "--clear-groups", "--no-new-privs",
		"--bounding-set=" + set, "--inh-caps=" + set, "--ambient-caps=" + set, "--",
	}
}

// StartUnit does what `systemctl enable --now NAME` does: it starts the unit that
// is installed on the host and waits until it says that it is ready. It keeps none
// of the unit's limits but its capabilities, and does not start again what fails.
func (h *Host) StartUnit(t testing.TB, name string) *Process {
	t.Helper()
	u, err := readUnit(h.Path("etc/systemd/system/" + name + ".service"))
	if err != nil {
		t.Fatalf("on %s: %v", h.Name, err)
	}
	if err := h.makeDirectories(u); err != nil {
		t.Fatalf("on %s: %s: %v", h.Name, name, err)
	}
	manager, socket := h.manager(t, name)
	defer manager.Close() //nolint:errcheck // it was only read
	user, args := u.user()
	args = append(args, "env", "NOTIFY_SOCKET="+socket)
	if u["Environment"] != "" {
		args = append(args, u["Environment"])
	}
	p := h.Start(t, name, user, append(args, strings.Fields(u["ExecStart"])...)...)
	await(t, manager, p)
	return p
}

// manager is the service manager's socket for one unit.
func (h *Host) manager(t testing.TB, name string) (conn *net.UnixConn, socket string) {
	t.Helper()
	socket = "/run/" + name + ".notify"
	at := h.Path(socket)
	os.Remove(at)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at})
	if err == nil {
		err = os.Chmod(at, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn, socket
}

// await waits for READY=1.
func await(t testing.TB, manager *net.UnixConn, p *Process) {
	t.Helper()
	said := make(chan string, 1)
	go func() {
		text := make([]byte, 64)
		n, _ := manager.Read(text) // closed: then nobody listens any more
		said <- string(text[:n])
	}()
	select {
	case text := <-said:
		if text != "READY=1" {
			t.Fatalf("%s says %q to its manager", p.name, text)
		}
	case <-p.Exited:
		t.Fatalf("%s ended before it was ready:\n%s", p.name, p.tail())
	case <-time.After(startTimeout):
		t.Fatalf("%s is not ready after %s", p.name, startTimeout)
	}
}

// makeDirectories makes the state and runtime directories, as systemd does: what
// is above the last one is root's.
func (h *Host) makeDirectories(u unit) error {
	uid, gid, err := h.ids(u["User"])
	if err != nil {
		return err
	}
	for below, key := range map[string]string{"var/lib": "StateDirectory", "run": "RuntimeDirectory"} {
		if u[key] == "" {
			continue
		}
		mode := fs.FileMode(0o755)
		if text := u[key+"Mode"]; text != "" {
			m, err := strconv.ParseUint(text, 8, 12)
			if err != nil {
				return fmt.Errorf("%sMode: %w", key, err)
			}
			mode = fs.FileMode(m)
		}
		dir := h.Path(path.Join(below, u[key]))
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, mode); err != nil {
			return err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return err
		}
	}
	return nil
}
