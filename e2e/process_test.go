package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

func TestMain(m *testing.M) { meshtest.Main(m) }

// process is a command of the mesh in a process of its own.
type process struct {
	t    *testing.T
	argv []string
	cmd  *exec.Cmd
}

// gatewayProcess is a gateway that is not started yet.
func gatewayProcess(t *testing.T, bootstrap string) *process {
	t.Helper()
	return &process{t: t, argv: []string{meshtest.Binary(t, "sallyport-gateway"), "run", "--bootstrap", bootstrap}}
}

// gatewayNames are those of a local mesh.
func gatewayNames() []string {
	var names []string
	for _, env := range localmesh.Environments() {
		names = append(names, env+"-1")
	}
	return names
}

// startGateways brings up a mesh each of whose gateways is a process, which ends with
// the test, at once. One that stops in order waits for a peer that was killed: over
// QUIC nothing says that it is gone.
func startGateways(t *testing.T, change func(*configv1.Bootstrap)) (*meshtest.Mesh, map[string]*process) {
	t.Helper()
	names := gatewayNames()
	m := meshtest.Start(t, func(cfg *localmesh.Config) { cfg.External, cfg.Bootstrap = names, change })
	gateways := map[string]*process{}
	for _, name := range names {
		p := gatewayProcess(t, m.Bootstrap(name))
		p.start()
		t.Cleanup(p.kill)
		gateways[name] = p
	}
	return m, gateways
}

func (p *process) start() {
	p.t.Helper()
	if err := p.launch(); err != nil {
		p.t.Fatal(err)
	}
}

// launch starts it with more in its environment.
func (p *process) launch(env ...string) error {
	p.cmd = exec.Command(p.argv[0], p.argv[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	if os.Getenv("SALLYPORT_TEST_LOG") != "" {
		p.cmd.Stderr = os.Stderr
	}
	return p.cmd.Start()
}

// launchReady starts it and waits until it tells its service manager that it is up.
func (p *process) launchReady(dir string) error {
	socket := filepath.Join(dir, filepath.Base(p.argv[0])+".ready")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket})
	if err != nil {
		return err
	}
	defer os.Remove(socket)
	defer manager.Close()
	if err := p.launch("NOTIFY_SOCKET=" + socket); err != nil {
		return err
	}
	if err := manager.SetReadDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		return err
	}
	if _, err := manager.Read(make([]byte, 256)); err != nil {
		return fmt.Errorf("wait until %s is up: %w", p.argv[0], err)
	}
	return nil
}

// kill ends it as the kernel would: no signal that it could catch.
func (p *process) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// stop ends it as a service manager does, and waits for that.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	late := time.AfterFunc(meshtest.Patience, func() { p.cmd.Process.Kill() })
	if err := p.cmd.Wait(); err != nil || !late.Stop() {
		p.t.Errorf("%s does not stop in order: %v", p.argv[0], err)
	}
}

// ask is sallyport for a question that must be answered with yes.
func ask(t *testing.T, dir string, args ...string) string {
	t.Helper()
	s := meshtest.Sallyport(t, dir, args...)
	if s.Code != 0 {
		t.Fatalf("sallyport %s: exit code %d: %s%s", strings.Join(args, " "), s.Code, s.Stdout, s.Stderr)
	}
	return s.Stdout
}

// upLine is the demo's last words before it waits.
const upLine = "The mesh stays up until Ctrl-C"

// demoProcess is `sallyport demo` in a process of its own.
type demoProcess struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and all its words are here

	mu     sync.Mutex // guards what it said
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// startDemo starts the demo in a directory and waits until its tour is over.
func startDemo(t *testing.T, dir string) *demoProcess {
	t.Helper()
	p := &demoProcess{cmd: exec.Command(meshtest.Binary(t, "sallyport"), "--dir", dir, "demo"), exited: make(chan struct{})}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() { p.read(stdout, &p.stdout, up) })
	readers.Go(func() { p.read(stderr, &p.stderr, nil) })
	go func() {
		readers.Wait()
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
	})
	select {
	case <-up:
	case <-p.exited:
		t.Fatalf("the demo ended: %s%s", p.out(), p.err())
	case <-time.After(meshtest.Patience):
		t.Fatalf("the demo does not come up: %s%s", p.out(), p.err())
	}
	return p
}

// read keeps what comes, and closes up when the demo says that it is.
func (p *demoProcess) read(from io.Reader, into *bytes.Buffer, up chan<- struct{}) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		p.mu.Lock()
		fmt.Fprintln(into, lines.Text())
		p.mu.Unlock()
		if up != nil && strings.HasPrefix(lines.Text(), upLine) {
			close(up)
			up = nil
		}
	}
}

func (p *demoProcess) out() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

func (p *demoProcess) err() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// stop interrupts the demo as Ctrl-C does, and holds how it ends.
func (p *demoProcess) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(meshtest.Patience):
		t.Fatalf("the demo goes on after SIGINT: %s", p.err())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the demo ended with exit code %d: %s", code, p.err())
	}
}
