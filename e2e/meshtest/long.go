package meshtest

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// Long skips a test that takes the better part of a minute, so that all others together
// take a few: it runs where -run names it, or SALLYPORT_REQUIRE_ALL asks for everything.
func Long(t testing.TB) {
	t.Helper()
	named := strings.Contains(flag.Lookup("test.run").Value.String(), t.Name())
	if !named && os.Getenv("SALLYPORT_REQUIRE_ALL") == "" {
		t.Skipf("it takes long: ask for it by -run %s, or by SALLYPORT_REQUIRE_ALL=1", t.Name())
	}
}
