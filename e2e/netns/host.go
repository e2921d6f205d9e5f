package netns

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Host is one host: a network namespace, and directories of its own in place of
// the machine's where programs keep and look up things.
type Host struct {
	// Name is its host name.
	Name string

	net   *Network
	ns    string // the namespace's name
	root  string // the directory that holds what it sees
	links map[string]*Link
}

// own are the directories that each host has for itself.
var own = []string{"etc", "var/lib", "run", "root"}

// enter runs in the namespaces, before the program: $1 the host's root, $2 the
// programs, $3 all hosts' roots, $4 the host's name, $5 the user. Mounts are the
// program's own and end with it.
const enter = `set -e
root=$1 bin=$2 all=$3 name=$4 user=$5
shift 5
echo "$name" > /proc/sys/kernel/hostname
mount --bind "$all" /mnt
mount --bind "$bin" /usr/local/bin
mount --bind "$root/root" /root
mount --bind "$root/var/lib" /var/lib
mount --bind "$root/run" /run
mount --bind "$root/etc" /etc
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || : # not everywhere
cd /
[ "$user" = root ] || exec setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs -- "$@"
cd /root
exec "$@"
`

// makeRoot makes the host's directories: no users but root, and no host names.
func (h *Host) makeRoot() error {
	for _, dir := range append([]string{"etc/systemd/system", "log"}, own...) {
		if err := os.MkdirAll(h.Path(dir), 0o755); err != nil {
			return err
		}
	}
	for file, text := range map[string]string{
		"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\n",
		"etc/group":         "root:x:0:\n",
		"etc/shadow":        "",
		"etc/gshadow":       "",
		"etc/login.defs":    "SYS_UID_MIN 100\nSYS_UID_MAX 999\nSYS_GID_MIN 100\nSYS_GID_MAX 999\nUSERGROUPS_ENAB yes\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
		"etc/hosts":         "127.0.0.1 localhost\n",
		"etc/resolv.conf":   "",
	} {
		if err := os.WriteFile(h.Path(file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return os.MkdirAll(h.Path("run/workloads"), 0o777)
}

// Namespace is the name of its network namespace, for ip(8).
func (h *Host) Namespace() string { return h.ns }

// Link is its cable at the interface of that name: eth0 is the first.
func (h *Host) Link(dev string) *Link {
	h.net.t.Helper()
	l := h.links[dev]
	if l == nil {
		h.net.t.Fatalf("%s has no %s", h.Name, dev)
	}
	return l
}

// Path is where the test finds a file of the host.
func (h *Host) Path(path string) string { return filepath.Join(h.root, path) }

// Command is a command on the host, run by a user that the host knows, with no
// environment but the usual. Its process is the program itself.
func (h *Host) Command(ctx context.Context, user string, args ...string) *exec.Cmd {
	all := []string{
		"netns", "exec", h.ns, "unshare", "--uts", "sh", "-c", enter, "sh", h.root, h.net.bin, h.net.dir, h.Name, user,
	}
	cmd := exec.CommandContext(ctx, "ip", append(all, args...)...)
	cmd.Env = []string{"HOME=/root", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C.UTF-8"}
	return cmd
}

// Run runs a shell script as root, in its home. The test fails if the script does.
func (h *Host) Run(t testing.TB, script string) string {
	t.Helper()
	out, err := h.Command(t.Context(), "root", "sh", "-e", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("on %s: %v\n$ %s\n%s", h.Name, err, strings.TrimSpace(script), out)
	}
	return string(out)
}

// ip runs ip(8) in the host's namespace.
func (h *Host) ip(args ...string) {
	h.net.t.Helper()
	ip(h.net.t, append([]string{"-n", h.ns}, args...)...)
}

// nft gives nft(8) a ruleset in the host's namespace.
func (h *Host) nft(rules string) {
	h.net.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", h.ns, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.net.t.Fatalf("nft on %s: %v: %s\n%s", h.Name, err, out, rules)
	}
}

// forward makes the host a router.
func (h *Host) forward() {
	h.net.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", h.ns, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.net.t.Fatalf("forward on %s: %v: %s", h.Name, err, out)
	}
}

// ids are a user's and its group's numbers, as the host's /etc/passwd has them.
func (h *Host) ids(user string) (uid, gid int, err error) {
	text, err := os.ReadFile(h.Path("etc/passwd"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(line, ":")
		if len(f) < 4 || f[0] != user {
			continue
		}
		if uid, err = strconv.Atoi(f[2]); err == nil {
			gid, err = strconv.Atoi(f[3])
		}
		return uid, gid, err
	}
	return 0, 0, fmt.Errorf("%s has no user %q", h.Name, user)
}
