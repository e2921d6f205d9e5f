//go:build linux

package bench

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"

	"github.com/sallyport-mesh/sallyport/e2e/bench/load"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/e2e/netns/wan"
)

// pair is two gateways, or what stands in for them: plaintext in, mutual TLS
// or QUIC between them, plaintext out.
type pair struct {
	name  string
	start func(b *bench, at *site) (*running, error)
}

// site is where a pair stands: all on this host's loopback, or its two ends in
// namespaces of their own.
type site struct {
	near, far *wan.Namespace // nil: that of this process
	farHost   string         // the address of the far end
	backend   string         // HOST:PORT as the far end reaches it
	mesh      *meshtest.Mesh
}

// target is an address at the near end, where clients are.
func (at *site) target(address string) load.Target {
	t := load.Target{Address: address}
	if at.near != nil {
		t.Dial = at.near.DialContext
	}
	return t
}

// takes is a pair as its clients see it that takes everything where its near end
// listens.
func (at *site) takes(near one) *running {
	h1, h2 := at.target(near.Listen), at.target(near.H2Listen)
	return &running{target: h1, web: h1, h2: h2, grpc: h2}
}

// errNeeds is wrapped by what a pair needs and this machine has not.
var errNeeds = errors.New("needs")

// peers are the pairs of others, and the bare ones of our own.
var peers = []pair{
	{"haproxy-tcp", haproxy("tcp")},
	{"haproxy-h2", haproxy("h2")},
	{"nginx-stream", nginx("nginx-stream.conf")},
	{"nginx-http", nginx("nginx-http.conf")},
	{"caddy", startCaddy},
	{"bare-tls", bare("tls")},
	{"bare-quic", bare("quic")},
	{"bare-h2", bare("h2")},
	{"bare-proxy", bare("proxy")},
	{"plain-tcp", startPlain},
}

// one is what a configuration's template is filled with.
type one struct {
	End, Mode, Listen, Target, Port string
	H2Listen, H2Target, H2Port      string // the same for HTTP/2, where a program takes it at another address
	Certs, Dir, Modules             string
	CPUs                            int
	in                              *wan.Namespace
}

// ends are the two ends of a pair before our backend, far end first.
func (b *bench) ends(at *site, mode string) ([]one, error) {
	near, far := [2]string{}, [2]string{}
	for i := range near {
		var err1, err2 error
		near[i], err1 = freeAddress()
		far[i], err2 = freeAddress()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		far[i] = strings.Replace(far[i], "127.0.0.1", at.farHost, 1)
	}
	base := one{Mode: mode, Certs: b.certs, CPUs: runtime.NumCPU(), Modules: nginxModules}
	there, here := base, base
	there.in, here.in = at.far, at.near
	there.End, there.Listen, there.Target = "far", far[0], at.backend
	there.H2Listen, there.H2Target = far[1], at.backend
	here.End, here.Listen, here.Target = "near", near[0], far[0]
	here.H2Listen, here.H2Target = near[1], far[1]
	return []one{there, here}, nil
}

// freeAddress is a loopback address that nobody listens on now: below those that
// systems give to whoever connects, of whom there are many at every moment.
func freeAddress() (string, error) {
	const first, last, tries = 20_000, 32_000, 100
	for range tries {
		address := fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(last-first))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address, nil
		}
	}
	return "", fmt.Errorf("no address from port %d to %d is free", first, last)
}

// configured starts both ends of a pair from a template in testdata; argv
// says how a program is given its file.
func (b *bench) configured(at *site, mode, file string, argv func(path string) []string) (*running, error) {
	ends, err := b.ends(at, mode)
	if err != nil {
		return nil, err
	}
	text, err := template.ParseFiles(filepath.Join("testdata", file))
	if err != nil {
		return nil, err
	}
	r := at.takes(ends[1])
	for _, end := range ends {
		if err := b.configure(r, &end, text, argv); err != nil {
			r.stop()
			return nil, err
		}
	}
	return r, nil
}

func (b *bench) configure(r *running, end *one, text *template.Template, argv func(string) []string) error {
	var err error
	if end.Dir, err = os.MkdirTemp(b.dir, end.End); err != nil {
		return err
	}
	_, end.Port, _ = net.SplitHostPort(end.Listen) // they come of freeAddress
	_, end.H2Port, _ = net.SplitHostPort(end.H2Listen)
	var filled bytes.Buffer
	if err := text.Execute(&filled, end); err != nil {
		return err
	}
	path := filepath.Join(end.Dir, "config")
	if err := os.WriteFile(path, filled.Bytes(), 0o600); err != nil {
		return err
	}
	p, err := launch(end.in, end.Dir, argv(path)...)
	if err != nil {
		return err
	}
	r.counts = append(r.counts, p)
	if bytes.Contains(filled.Bytes(), []byte(":"+end.H2Port)) { // names of directories have such digits too
		if err := p.awaitListen(end.H2Listen); err != nil {
			return err
		}
	}
	return p.awaitListen(end.Listen)
}

// installed finds a program of others.
func installed(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%w %s", errNeeds, program)
	}
	return path, nil
}

func haproxy(mode string) func(*bench, *site) (*running, error) {
	return func(b *bench, at *site) (*running, error) {
		bin, err := installed("haproxy")
		if err != nil {
			return nil, err
		}
		return b.configured(at, mode, "haproxy.cfg", func(path string) []string { return []string{bin, "-f", path} })
	}
}

// nginxModules is where Debian has nginx's modules.
const nginxModules = "/usr/lib/nginx/modules"

func nginx(file string) func(*bench, *site) (*running, error) {
	return func(b *bench, at *site) (*running, error) {
		bin, err := installed("nginx")
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(nginxModules + "/ngx_stream_module.so"); err != nil && file == "nginx-stream.conf" {
			return nil, fmt.Errorf("%w libnginx-mod-stream", errNeeds)
		}
		return b.configured(at, "", file, func(path string) []string { return []string{bin, "-p", filepath.Dir(path), "-c", path} })
	}
}

func startCaddy(b *bench, at *site) (*running, error) {
	bin, err := b.caddy()
	if err != nil {
		return nil, err
	}
	return b.configured(at, "", "Caddyfile", func(path string) []string {
		return []string{bin, "run", "--adapter", "caddyfile", "--config", path}
	})
}

// bare is a pair of our own command peer.
func bare(mode string) func(*bench, *site) (*running, error) {
	return func(b *bench, at *site) (*running, error) {
		ends, err := b.ends(at, mode)
		if err != nil {
			return nil, err
		}
		r := at.takes(ends[1])
		for _, end := range ends {
			if err := b.launchBare(r, &end); err != nil {
				r.stop()
				return nil, err
			}
		}
		return r, nil
	}
}

func (b *bench) launchBare(r *running, end *one) error {
	p, err := launch(end.in, b.dir, filepath.Join(b.bin, "peer"), "-mode", end.Mode, "-end", end.End,
		"-listen", end.Listen, "-target", end.Target, "-certs", end.Certs)
	if err != nil {
		return err
	}
	r.counts = append(r.counts, p)
	return p.awaitWord()
}

// startPlain is no pair at all: clients reach the backend over the path.
func startPlain(_ *bench, at *site) (*running, error) {
	_, port, err := net.SplitHostPort(at.backend)
	return &running{target: at.target(net.JoinHostPort(at.farHost, port))}, err
}
