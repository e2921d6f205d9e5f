package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// scratch is how much of a large body is read or written at a time.
const scratch = 256 << 10

// KeepAlive asks for the small body over conns connections, each one request
// after another.
func KeepAlive(ctx context.Context, t Target, conns int, b Bound) (Result, error) {
	return run(ctx, b, conns, func(ctx context.Context, _ int) (worker, error) {
		return keeping(ctx, t, t.request(smallPath), make([]byte, smallSize))
	})
}

// keeping is a worker that asks the same over one connection.
func keeping(ctx context.Context, t Target, request, room []byte) (worker, error) {
	c, err := t.open(ctx)
	if err != nil {
		return worker{}, err
	}
	return worker{
		ask: func(context.Context) (int64, error) { return c.ask(request, room) },
		end: c.close,
	}, nil
}

// Paced is KeepAlive with each connection's requests begun at a fixed pace, or
// later if the answer before took longer than that.
func Paced(ctx context.Context, t Target, conns int, every time.Duration, b Bound) (Result, error) {
	return run(ctx, b, conns, func(ctx context.Context, number int) (worker, error) {
		w, err := keeping(ctx, t, t.request(smallPath), make([]byte, smallSize))
		first := time.Now().Add(every * time.Duration(number) / time.Duration(conns))
		w.ready = (&pacer{every: every, next: first}).wait
		return w, err
	})
}

// pacer holds back what would come too early.
type pacer struct {
	every time.Duration
	next  time.Time
}

func (p *pacer) wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(p.next)):
	}
	p.next = p.next.Add(p.every)
	if late := time.Now(); p.next.Before(late) {
		p.next = late
	}
}

// Fresh asks for the small body over a new connection each time, by so many
// workers at a time.
func Fresh(ctx context.Context, t Target, workers int, b Bound) (Result, error) {
	return run(ctx, b, workers, func(context.Context, int) (worker, error) {
		request, room := t.request(smallPath, "Connection: close"), make([]byte, smallSize)
		return worker{ask: func(ctx context.Context) (int64, error) {
			c, err := t.open(ctx)
			if err != nil {
				return 0, err
			}
			defer c.close()
			return c.ask(request, room)
		}}, nil
	})
}

// Download fetches bodies of a size over so many connections. What came of a
// body that the end of the run cut off counts too.
func Download(ctx context.Context, t Target, streams int, size int64, b Bound) (Result, error) {
	request := t.request(fmt.Sprintf("/bytes/%d", size))
	return run(ctx, b, streams, func(ctx context.Context, _ int) (worker, error) {
		return keeping(ctx, t, request, make([]byte, scratch))
	})
}

// Abort begins downloads and breaks each off, with a reset, after its first
// bytes.
func Abort(ctx context.Context, t Target, workers int, b Bound) (Result, error) {
	request := t.request(fmt.Sprintf("/bytes/%d", 64<<20))
	return run(ctx, b, workers, func(context.Context, int) (worker, error) {
		room := make([]byte, 64<<10)
		return worker{ask: func(ctx context.Context) (int64, error) { return t.abort(ctx, request, room) }}, nil
	})
}

func (t Target) abort(ctx context.Context, request, room []byte) (int64, error) {
	c, err := t.open(ctx)
	if err != nil {
		return 0, err
	}
	defer c.close()
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	if _, err := c.head(); err != nil {
		return 0, err
	}
	n, err := c.Read(room)
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		err = errors.Join(err, tcp.SetLinger(0))
	}
	return int64(n), err
}

// Held are connections that stay open.
type Held struct {
	request []byte // of the small body
	clients []*client
}

// KeepAlive is the same over connections that are there already: opening them
// is no part of it.
func (h *Held) KeepAlive(ctx context.Context, b Bound) (Result, error) {
	return run(ctx, b, len(h.clients), func(ctx context.Context, number int) (worker, error) {
		c, room := h.clients[number], make([]byte, smallSize)
		stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) }) //nolint:errcheck // it is closed then
		return worker{
			ask: func(context.Context) (int64, error) { return c.ask(h.request, room) },
			end: func() { stop() },
		}, nil
	})
}

// Hold opens connections, asks one small thing over each, and holds them.
func Hold(ctx context.Context, t Target, conns int) (*Held, error) {
	const dialers = 16
	opening, opened := context.WithTimeout(ctx, 4*patience)
	defer opened()
	h := &Held{request: t.request(smallPath), clients: make([]*client, conns)}
	faults := make([]error, dialers)
	var group sync.WaitGroup
	for d := range dialers {
		group.Go(func() {
			room := make([]byte, smallSize)
			for i := d; i < conns && faults[d] == nil; i += dialers {
				h.clients[i], faults[d] = t.hold(ctx, opening, h.request, room)
			}
		})
	}
	group.Wait()
	if err := errors.Join(faults...); err != nil {
		h.Close()
		return nil, fmt.Errorf("hold %d connections: %w", conns, err)
	}
	return h, nil
}

// hold opens a connection that outlives opening, and asks one thing over it.
func (t Target) hold(ctx, opening context.Context, request, room []byte) (*client, error) {
	c, err := t.open(opening)
	if err != nil {
		return nil, err
	}
	if _, err := c.ask(request, room); err != nil {
		c.close()
		return nil, err
	}
	c.stop()
	c.stop = context.AfterFunc(ctx, func() { c.Close() })
	return c, nil
}

// Close closes them all.
func (h *Held) Close() {
	for _, c := range h.clients {
		if c != nil {
			c.close()
		}
	}
}
