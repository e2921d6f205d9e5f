package netns

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// need is why namespaces cannot be used here; empty if they can.
var need = sync.OnceValue(func() string {
	if os.Geteuid() != 0 {
		return "needs root, for network namespaces"
	}
	for _, p := range []struct{ name, of string }{
		{"ip", "iproute2"}, {"nft", "nftables"}, {"unshare", "util-linux"}, {"setpriv", "util-linux"}, {"useradd", "passwd"}, {"curl", "curl"},
	} {
		if _, err := exec.LookPath(p.name); err != nil {
			return fmt.Sprintf("needs %s (Debian package %s)", p.name, p.of)
		}
	}
	name := fmt.Sprintf("%s%d-try", prefix, os.Getpid())
	out, err := exec.Command("ip", "netns", "add", name).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("needs the right to make network namespaces: %v: %s", err, strings.TrimSpace(string(out)))
	}
	out, err = exec.Command("ip", "netns", "exec", name, "unshare", "--uts", "nft", "list", "ruleset").CombinedOutput()
	if gone := exec.Command("ip", "netns", "delete", name).Run(); err == nil && gone != nil {
		return fmt.Sprintf("needs to delete network namespaces: %v", gone)
	}
	if err != nil {
		return fmt.Sprintf("needs nftables in a namespace: %v: %s", err, strings.TrimSpace(string(out)))
	}
	return ""
})

// Require skips a test that cannot have namespaces here, saying what it needs.
// Where everything is there, SALLYPORT_REQUIRE_ALL turns the skip into a failure.
func Require(t testing.TB) {
	t.Helper()
	switch why := need(); {
	case why == "":
	case os.Getenv("SALLYPORT_REQUIRE_ALL") != "":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}
