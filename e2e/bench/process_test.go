//go:build linux

package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/bench/load"
	"github.com/sallyport-mesh/sallyport/e2e/netns/wan"
)

// patience bounds each wait for a process: far longer than anything takes.
const patience = 30 * time.Second

// process is one that a measurement is about, or stands beside.
type process struct {
	name   string
	in     *wan.Namespace // nil: that of this process
	cmd    *exec.Cmd
	stdin  io.Closer // open as long as it should run
	said   tail
	exited chan struct{} // closed when it has ended
}

// launch starts a command in dir, in a network namespace or in this one.
func launch(in *wan.Namespace, dir string, argv ...string) (*process, error) {
	p := &process{name: filepath.Base(argv[0]), in: in, cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, &p.said, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	start := p.cmd.Start
	if in != nil {
		start = func() error { return in.Start(p.cmd) }
	}
	if err := start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// state is whether the process runs, and if not, how it ended.
func (p *process) state() string {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.String()
	default:
		return "which runs"
	}
}

// stop asks the process to end, and makes it if it does not.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.stdin.Close()
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// goroutines ends a program of ours by SIGQUIT, upon which the Go runtime writes
// down every goroutine, and counts them.
func (p *process) goroutines() (int, error) {
	const enough = 64 << 20
	p.said.keep(enough)
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return 0, err
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		return 0, fmt.Errorf("%s goes on after SIGQUIT", p.name)
	}
	n := strings.Count(p.said.String(), "\ngoroutine ")
	if n == 0 {
		return 0, fmt.Errorf("%s ended without its goroutines: %s", p.name, p.said.String())
	}
	return n, nil
}

// tail keeps the last words of a process, for when it fails.
type tail struct {
	mu   sync.Mutex // guards what follows
	most int        // bytes that are kept; 8 KiB if 0
	text []byte
}

func (s *tail) keep(most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = most
}

func (s *tail) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, b...)
	s.text = s.text[max(0, len(s.text)-max(s.most, 8<<10)):]
	return len(b), nil
}

func (s *tail) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(bytes.TrimSpace(s.text))
}

// awaitListen waits until somebody listens at a TCP address. Programs of
// others say it in no other way.
func (p *process) awaitListen(address string) error {
	return p.await("listens at "+address, func(ctx context.Context) error {
		dial := new(net.Dialer).DialContext
		if p.in != nil {
			dial = p.in.DialContext
		}
		conn, err := dial(ctx, "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// awaitWord waits until the process says that it is ready.
func (p *process) awaitWord() error {
	return p.await("says that it is ready", func(context.Context) error {
		if strings.Contains(p.said.String(), "ready") {
			return nil
		}
		return fmt.Errorf("it said %q", p.said.String())
	})
}

func (p *process) await(what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	var err error
	for {
		now := check(ctx)
		if now == nil {
			return nil
		}
		if ctx.Err() == nil {
			err = now // what a check says when its time is up tells nothing
		}
		select {
		case <-ticker.C:
		case <-p.exited:
			return fmt.Errorf("%s ended before it %s: %s", p.name, what, p.said.String())
		case <-ctx.Done():
			return fmt.Errorf("%s never %s: %w: %s", p.name, what, err, p.said.String())
		}
	}
}

// awaitAnswer waits until the first request comes through a pair.
func (r *running) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := load.KeepAlive(ctx, r.target, 1, load.Bound{Count: 1, Time: 5 * time.Second})
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("no answer came through: %w", err)
		}
	}
}

// running is a pair that is up.
type running struct {
	target  load.Target
	web     load.Target // where it takes HTTP/1.1 requests that it understands; likewise the next two
	h2      load.Target // requests over HTTP/2
	grpc    load.Target // calls
	admins  []string    // addresses that tell what its gateways did; none of others' pairs
	objects string      // what to CONNECT to for large objects, if the pair tells classes of traffic apart
	counts  []*process  // whose CPU time and memory are the pair's
	beside  []*process  // whose are not
}

// bulk is where large objects come from: the same place, under the name that
// says so where the pair has one.
func (r *running) bulk() load.Target {
	t := r.target
	if r.objects != "" {
		t.Connect = r.objects
	}
	return t
}

func (r *running) pids() []int {
	var pids []int
	for _, p := range r.counts {
		pids = append(pids, p.pid())
	}
	return pids
}

func (r *running) stop() {
	var group sync.WaitGroup
	for _, p := range append(r.counts, r.beside...) {
		group.Go(p.stop)
	}
	group.Wait()
}

// said is the last words of all its processes.
func (r *running) said() string {
	var words []string
	for _, p := range append(r.counts, r.beside...) {
		words = append(words, fmt.Sprintf("%s, %s: %s", p.name, p.state(), p.said.String()))
	}
	return strings.Join(words, "\n")
}
