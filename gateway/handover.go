package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/internal/handover"
)

const (
	// spoolLock is the name under which the spool's lock is handed over.
	spoolLock = "spool"
	// readyPatience is how long a gateway that takes another one's place waits for
	// the control plane's word and for tunnels. It can do without either.
	readyPatience = 5 * time.Second
	// answerAfter is how long after that it answers what peers claim: the process
	// before it has been told by then to answer nothing any more.
	answerAfter = 500 * time.Millisecond
)

// Files are what a process that takes this one's place needs, by name: the
// sockets that it listens on, and the spool's lock. They are the caller's.
func (g *Gateway) Files() (map[string]*os.File, error) {
	files, err := g.sockets.Files()
	if err != nil {
		return nil, err
	}
	if files[spoolLock], err = g.recorder.Lock(); err != nil {
		delete(files, spoolLock)
		return nil, errors.Join(err, handover.CloseAll(files))
	}
	return files, nil
}

// Ready is closed when Run accepts workloads. A gateway that takes another one's
// place has a policy by then and, unless that takes too long, has heard from the
// control plane and has tunnels to its peers.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// Retire makes Run end in favour of another process that has this one's Files
// and is ready: nothing new is accepted, peers and workloads are sent away as
// their protocols have it, and what is open goes on for as long as the bootstrap
// file says.
func (g *Gateway) Retire() { g.retire() }

func (g *Gateway) isRetiring() bool {
	select {
	case <-g.retiring:
		return true
	default:
		return false
	}
}

// serveWorkloads accepts workloads once the gateway is ready.
func (g *Gateway) serveWorkloads(ctx context.Context) error {
	if g.inheritance != nil {
		if err := g.awaitReady(ctx); err != nil {
			return err
		}
	}
	close(g.ready)
	if g.inheritance != nil {
		defer time.AfterFunc(answerAfter, g.epochs.TakeOver).Stop()
	}
	return g.attach.Run(ctx)
}

// awaitReady fails if the gateway has no policy: the process before it had one, or
// is of as much use.
func (g *Gateway) awaitReady(ctx context.Context) error {
	limit := time.NewTimer(readyPatience)
	defer limit.Stop()
	settled := g.xds.Settled()
	for {
		policies, tunnels := g.xds.Changed(), g.pool.Changed()
		if settled == nil && g.reachesPeers() {
			return nil
		}
		select {
		case <-settled:
			settled = nil
		case <-policies:
		case <-tunnels:
		case <-ctx.Done():
			return nil
		case <-limit.C:
			if g.Policy().Serial == 0 {
				return errors.New("take over: there is no policy")
			}
			g.log.Warn("taking over without all peers or the control plane's word",
				zap.Bool("control_plane", settled == nil), zap.Int("tunnels", len(g.pool.Tunnels())))
			return nil
		}
	}
}

// reachesPeers says whether there is a policy, and a tunnel to each peer that
// this gateway can dial.
func (g *Gateway) reachesPeers() bool {
	p := g.xds.Policies()
	if p.Current == nil {
		return false
	}
	reached := map[string]bool{}
	for _, t := range g.pool.Tunnels() {
		reached[t.Peer.String()] = true
	}
	for _, gw := range p.Current.Gateways() {
		if gw.Environment != g.bootstrap.GetEnvironment() && !gw.DialOut && !reached[gw.ID.String()] {
			return false
		}
	}
	return true
}

// outlive waits for Retire and then until nothing is open any more, for as long
// as the bootstrap file says, or until the context ends.
func (g *Gateway) outlive(ctx context.Context, attached <-chan struct{}) {
	select {
	case <-ctx.Done():
		return
	case <-g.retiring:
	}
	g.log.Info("another process has taken over; this one drains", zap.Duration("for_at_most", g.bootstrap.GetDrain().AsDuration()))
	ctx, cancel := context.WithTimeout(ctx, g.bootstrap.GetDrain().AsDuration())
	defer cancel()
	for _, l := range g.tunnels {
		if err := l.Close(); err != nil {
			g.log.Warn("listener not closed", zap.Error(err))
		}
	}
	g.recorder.Retire()
	g.epochs.Retire()
	g.attach.Retire()
	g.pool.Retire()
	select {
	case <-attached: // what workloads asked for here has been carried
		g.sayLast()
		g.pool.Drain(ctx)
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		g.log.Info("drain is over before everything has ended", zap.Error(fmt.Errorf("drain: %w", err)))
	}
}
