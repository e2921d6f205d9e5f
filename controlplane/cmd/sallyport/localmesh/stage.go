package localmesh

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// stage is parts of the mesh that stop together. Stages stop in the reverse of
// the order in which they started: gateways deliver their last records to a
// control plane that is still there, and everyone proves who they are to the
// end.
type stage struct {
	ctx   context.Context
	stop  context.CancelFunc
	group *errgroup.Group
}

// newStage makes a stage that outlives ctx until it is stopped. A part of it
// that fails ends the whole mesh by fail.
func newStage(ctx context.Context) *stage {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	return &stage{ctx: ctx, stop: stop, group: new(errgroup.Group)}
}

// run runs a part of the stage; its failure is told to fail at once.
func (s *stage) run(fail context.CancelCauseFunc, f func(context.Context) error) {
	s.group.Go(func() error {
		err := f(s.ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			fail(err)
			return err
		}
		return nil
	})
}

// end stops the stage's parts and waits for them.
func (s *stage) end() error {
	s.stop()
	return s.group.Wait()
}
