package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/gateway"
	"github.com/sallyport-mesh/sallyport/gateway/internal/handover"
)

// successorPatience bounds the wait for a successor: its SVID may take half of it.
const successorPatience = time.Minute

// errSuccessorEnded ends a process that drains while nobody accepts in its place:
// the service manager is to start another one soon.
var errSuccessorEnded = errors.New("the successor has ended")

// process is a gateway as a process that may take another one's place, and give
// its own to another.
type process struct {
	gateway     *gateway.Gateway
	inheritance *handover.Inheritance // nil if it took nobody's place
	hangup      <-chan os.Signal
	log         *zap.Logger
}

// run runs the gateway until the context ends or, after SIGHUP, until another
// process has taken over and what was open here has ended.
func (p *process) run(ctx context.Context) error {
	if p.inheritance == nil {
		p.notify("READY=1")
	}
	group, running := errgroup.WithContext(ctx)
	over, done := context.WithCancel(running)
	group.Go(func() error {
		defer done()
		return p.gateway.Run(running)
	})
	group.Go(func() error {
		select {
		case <-p.gateway.Ready():
			return p.inheritance.Accept()
		case <-over.Done():
			return nil
		}
	})
	group.Go(func() error { return p.succeed(over) })
	return group.Wait()
}

// succeed starts a successor at each signal until one has taken over.
func (p *process) succeed(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.hangup:
		}
		next, err := p.start(ctx)
		if err != nil {
			if ctx.Err() == nil {
				p.log.Error("no successor took over; this process goes on", zap.Error(err))
			}
			continue
		}
		p.log.Info("a successor has taken over", zap.Int("pid", next.PID))
		p.notify(fmt.Sprintf("READY=1\nMAINPID=%d", next.PID))
		p.gateway.Retire()
		select {
		case <-ctx.Done():
			return nil
		case err := <-next.Ended:
			if err == nil {
				return nil // it was told to stop, or gave its place to another
			}
			return fmt.Errorf("%w: %w", errSuccessorEnded, err)
		}
	}
}

// start starts this very command again, whatever program its name stands for by
// now, and waits until it is ready.
func (p *process) start(ctx context.Context) (*handover.Successor, error) {
	files, err := p.gateway.Files()
	if err != nil {
		return nil, err
	}
	defer handover.CloseAll(files) //nolint:errcheck // the successor has them
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return nil, fmt.Errorf("find the successor's program: %w", err)
	}
	cmd := exec.Command(path, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	p.log.Info("starting a successor", zap.String("program", path))
	return handover.Start(ctx, cmd, p.inheritance.Generation(), files, successorPatience)
}

func (p *process) notify(state string) {
	if err := notify(state); err != nil {
		p.log.Warn("service manager not told", zap.String("state", state), zap.Error(err))
	}
}
