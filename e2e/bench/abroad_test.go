//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/bench/load"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/e2e/netns/wan"
)

// The emulated path of all rows: 50 ms there and back, 200 Mbit/s.
const (
	pathDelay = 25 * time.Millisecond
	pathRate  = 200e6
)

// losses that are measured; a smoke has the last alone.
var losses = []float64{0, 0.001, 0.01}

// abroad are the kinds over the emulated path.
func abroadKinds() []kind {
	var all []kind
	for _, loss := range losses {
		name := fmt.Sprintf("%g %%", 100*loss)
		all = append(all,
			kind{name: bulk16 + name, far: true, loss: loss, measure: measureBulk16},
			kind{name: beside + name, far: true, loss: loss, measure: measureBeside},
		)
	}
	return all
}

// ports of the gateways in their namespaces, where they are alone.
var abroadAddresses = map[string]string{
	"onprem-1": wan.Near + ":7001", "azure-1": wan.Far + ":7002", "aws-1": wan.Far + ":7003",
}

// layAbroad writes bootstrap files as a mesh would that was there before, with
// the gateways' addresses at the ends of the path.
func layAbroad(t *testing.T) func(dir string) {
	return func(dir string) {
		for i, name := range gateways {
			own := filepath.Join(dir, name[:len(name)-2], name)
			if err := os.MkdirAll(own, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(own, "bootstrap.json"), fmt.Appendf(nil,
				`{"attach": "127.0.0.1:%d", "attachLoopback": "127.0.0.1:%d", "tunnel": %q}`,
				8440+i, 8450+i, abroadAddresses[name]))
		}
	}
}

// sessionAbroad is a session over a path that is made for it.
func (b *bench) sessionAbroad(t *testing.T, f *figures, p pair, kinds []kind, loss float64, seed uint64) {
	t.Helper()
	path, err := wan.New(wan.Config{Delay: pathDelay, Loss: loss, Rate: pathRate, Seed: seed})
	if errors.Is(err, wan.ErrNeeds) {
		for _, k := range kinds {
			b.lack(t, f, k.name, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer path.Close()
	const backend = "127.0.0.1:9000"
	l, err := path.Far.Listen("tcp", "0.0.0.0:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go load.Serve(l)
	mesh := b.abroad()
	for _, n := range []*wan.Namespace{path.Near, path.Far} {
		defer forward(t, n, mesh)()
	}
	b.session(t, f, p, kinds, &site{near: path.Near, far: path.Far, farHost: wan.Far, backend: backend, mesh: mesh})
}

// forward lets what is in a namespace reach the control plane, which is in this
// process's, at the control plane's own address. It gives what ends it.
func forward(t *testing.T, n *wan.Namespace, mesh *meshtest.Mesh) (stop func()) {
	t.Helper()
	var there struct {
		ControlPlane struct {
			Address string `json:"address"`
		} `json:"controlPlane"`
	}
	if err := readJSON(mesh.Bootstrap("onprem-1"), &there); err != nil {
		t.Fatal(err)
	}
	l, err := n.Listen("tcp", there.ControlPlane.Address)
	if err != nil {
		t.Fatal(err)
	}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { join(c, there.ControlPlane.Address) })
		}
	})
	return func() {
		l.Close()
		passing.Wait() // the gateways have ended, and their connections with them
	}
}

func join(a net.Conn, address string) {
	defer a.Close()
	b, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(a, b)
		a.Close()
	})
	io.Copy(b, a)
	b.Close()
	back.Wait()
}

// measureBeside is the 99th percentile of 15 callers' calls, ten a second each,
// while one more downloads all the time. In milliseconds.
func measureBeside(ctx context.Context, b *bench, r *running) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var bulk sync.WaitGroup
	var bulkErr error
	bulk.Go(func() {
		_, bulkErr = load.Download(ctx, r.bulk(), 1, 1<<40, load.Bound{Time: time.Minute})
	})
	got, err := load.Paced(ctx, r.target, 15, 100*time.Millisecond, load.Bound{Time: b.size.over})
	cancel()
	bulk.Wait()
	return float64(got.P99.Microseconds()) / 1000, errors.Join(err, bulkErr)
}

// measureBulk16 is what 16 downloads get together, in MB/s.
func measureBulk16(ctx context.Context, b *bench, r *running) (float64, error) {
	got, err := load.Download(ctx, r.bulk(), 16, 1<<40, load.Bound{Time: b.size.over})
	return got.Rate() / 1e6, err
}
