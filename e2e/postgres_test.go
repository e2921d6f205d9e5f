package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

// TestPortCarriesPostgreSQL: psql and a PostgreSQL server, neither of which knows
// of any mesh, over a mapped port. A relay beside psql speaks TLS for it.
func TestPortCarriesPostgreSQL(t *testing.T) {
	t.Parallel()
	m := meshtest.WithPorts(t, policyWith(t, connectIntent), "llm.azure.mesh:7000")
	if err := m.Register(m.Context, "llm", map[string]string{"vectors": startPostgreSQL(t, m.Context)}); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&rows, "%d\t%s\n", i, strings.Repeat("x", 100))
	}
	script := "CREATE TABLE t (n int, s text);\nCOPY t FROM STDIN;\n" + rows.String() + "\\.\n" +
		"SELECT count(*), sum(n), sum(length(s)) FROM t;\nLISTEN news;\nNOTIFY news, 'arrived';\nSELECT s FROM t;\n"
	out := psql(t, m, script)
	for _, want := range []string{"20000|199990000|2000000", `Asynchronous notification "news" with payload "arrived"`} {
		if !strings.Contains(out, want) {
			t.Errorf("psql did not say %q", want)
		}
	}
	if n := strings.Count(out, strings.Repeat("x", 100)); n != 20_000 {
		t.Errorf("%d rows came back", n)
	}
	r := of(t, m, "llm.azure.mesh:7000")
	if !r.GetAgree() || r.GetEgress().GetRequestBytes() < 2_000_000 || r.GetEgress().GetResponseBytes() < 2_000_000 {
		t.Errorf("record: %v", r)
	}
}

// psql runs a script over the first port.
func psql(t *testing.T, m *meshtest.Mesh, script string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		plain, err := l.Accept()
		if err != nil {
			return
		}
		secured := dialPort(t, m, 0, "orchestrator")
		go func() {
			io.Copy(secured, plain)
			secured.CloseWrite()
		}()
		io.Copy(plain, secured)
		plain.Close()
	}()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	cmd := exec.CommandContext(m.Context, "psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-U", "mesh", "postgres")
	cmd.Env = append(os.Environ(), "PGSSLMODE=disable", "PGGSSENCMODE=disable")
	cmd.Stdin = strings.NewReader(script)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	l.Close()
	if err != nil {
		t.Fatalf("psql: %v: %s", err, complaints.String())
	}
	<-relayed
	return string(out)
}

// startPostgreSQL runs a server until the test ends, and gives its address.
func startPostgreSQL(t *testing.T, ctx context.Context) string {
	t.Helper()
	bin := postgreSQL(t)
	dir := meshtest.Dir(t)
	as := &syscall.SysProcAttr{}
	if os.Getuid() == 0 { // the server refuses to be run by root
		const nobody = 65534
		as.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "mesh", "-A", "trust", "--no-sync", "-E", "UTF8", "--no-locale")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	port := freePort(t)
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-k", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB")
	server.SysProcAttr, server.Dir = as, dir
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(syscall.SIGQUIT) // nothing of it is kept
		server.Wait()
	})
	awaitLine(t, log, "database system is ready to accept connections")
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// postgreSQL is the folder of the server's programs, which Debian puts on no PATH.
func postgreSQL(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if _, missing := exec.LookPath("psql"); err != nil || len(found) == 0 || missing != nil {
		skipUnlessRequired(t, "needs PostgreSQL: apt-get install postgresql")
	}
	return filepath.Dir(found[len(found)-1])
}

// freePort is a port that nobody listens at now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// awaitLine reads what a program says until it has said that, and goes on reading
// so that the program never waits for a reader.
func awaitLine(t *testing.T, from io.Reader, want string) {
	t.Helper()
	up, ended := make(chan struct{}), make(chan struct{})
	go func() {
		lines := bufio.NewScanner(from)
		for lines.Scan() && !strings.Contains(lines.Text(), want) {
		}
		if lines.Err() == nil && strings.Contains(lines.Text(), want) {
			close(up)
		} else {
			close(ended)
		}
		io.Copy(io.Discard, from)
	}()
	select {
	case <-up:
	case <-ended:
		t.Fatalf("the program ended and never said %q", want)
	case <-time.After(meshtest.Patience):
		t.Fatalf("nobody said %q", want)
	}
}

// skipUnlessRequired skips a test for what it needs. Where everything is
// there, SALLYPORT_REQUIRE_ALL turns the skip into a failure.
func skipUnlessRequired(t *testing.T, needs string) {
	t.Helper()
	if os.Getenv("SALLYPORT_REQUIRE_ALL") != "" {
		t.Fatal(needs)
	}
	t.Skip(needs)
}
