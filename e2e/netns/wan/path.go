//go:build linux

package wan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what the path is like, in each direction alike.
type Config struct {
	Delay time.Duration // one way
	Loss  float64       // the share of packets that are dropped at random, 0 to 1
	Rate  int64         // bits a second; 0: as fast as the relay is
	Queue time.Duration // how long a packet may wait for its turn before it is dropped; 50 ms if 0
	Seed  uint64        // of the loss
}

// Near and Far are the addresses of the two ends.
const (
	Near = "10.77.0.1"
	Far  = "10.77.0.2"
)

// mtu is that of most paths.
const mtu = 1500

// Stats count packets of both directions.
type Stats struct {
	Delivered, Lost, Overflowed uint64
}

// Path is two namespaces that see each other over an emulated path, and
// nothing else.
type Path struct {
	Near, Far *Namespace

	cut     atomic.Bool
	devices []*os.File
	relays  sync.WaitGroup
	out     [2]*direction
}

// New makes two namespaces and a path between them.
func New(c Config) (*Path, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	p := new(Path)
	if err := p.build(c); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Path) build(c Config) error {
	var err error
	if p.Near, err = NewNamespace(); err != nil {
		return err
	}
	if p.Far, err = NewNamespace(); err != nil {
		return err
	}
	for _, end := range []struct {
		in            *Namespace
		address, peer string
	}{{p.Near, Near, Far}, {p.Far, Far, Near}} {
		device, err := end.in.tun("wan0")
		if err != nil {
			return err
		}
		p.devices = append(p.devices, device)
		err = errors.Join(
			end.in.IP("address", "add", end.address, "peer", end.peer, "dev", "wan0"),
			end.in.IP("link", "set", "wan0", "mtu", fmt.Sprint(mtu), "txqueuelen", "10000", "up"),
		)
		if err != nil {
			return err
		}
	}
	for i := range p.out {
		d := newDirection(c, rand.New(rand.NewPCG(c.Seed, uint64(i))), &p.cut)
		p.out[i] = d
		p.relays.Go(func() { d.read(p.devices[i]) })
		p.relays.Go(func() { d.write(p.devices[1-i]) })
	}
	return nil
}

// tun makes a TUN device in the namespace. Reads and writes of the file are its
// packets.
func (n *Namespace) tun(name string) (*os.File, error) {
	fd := -1
	err := n.Do(func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return err
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	})
	if err != nil {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
		return nil, fmt.Errorf("make the device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Cut drops everything from now on, until it is called with false.
func (p *Path) Cut(cut bool) { p.cut.Store(cut) }

// Stats counts what went over the path so far.
func (p *Path) Stats() Stats {
	var s Stats
	for _, d := range p.out {
		s.Delivered += d.delivered.Load()
		s.Lost += d.lost.Load()
		s.Overflowed += d.overflowed.Load()
	}
	return s
}

// Close takes the path down, and the namespaces with it.
func (p *Path) Close() {
	for _, device := range p.devices {
		device.Close()
	}
	p.relays.Wait()
	for _, n := range []*Namespace{p.Near, p.Far} {
		if n != nil {
			n.Close()
		}
	}
}
