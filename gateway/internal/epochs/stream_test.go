package epochs

import (
	"io"
	"sync"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// pipe is one end of a stream in memory.
type pipe struct {
	in  *io.PipeReader
	out *io.PipeWriter
	end *closing

	header *crossingv1.Header
}

// closing is how a stream was reset, and by which end.
type closing struct {
	once sync.Once
	done chan struct{}
	code tunnel.ResetCode
	by   *pipe
}

var _ tunnel.Stream = (*pipe)(nil)

// streams are the two ends of a stream.
func streams(h *crossingv1.Header) (near, far *pipe) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	end := &closing{done: make(chan struct{})}
	return &pipe{in: r1, out: w2, end: end}, &pipe{in: r2, out: w1, end: end, header: h}
}

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	return n, p.why(err)
}

func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.out.Write(b)
	return n, p.why(err)
}

// why is an error as a stream gives it.
func (p *pipe) why(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // pipes wrap nothing
		return err
	}
	select {
	case <-p.end.done:
		return &tunnel.ResetError{Code: p.end.code, Remote: p.end.by != p}
	default:
		return &tunnel.ResetError{Code: tunnel.TunnelClosed}
	}
}

func (p *pipe) CloseWrite() error { return p.out.Close() }

func (p *pipe) Reset(code tunnel.ResetCode) {
	p.end.once.Do(func() {
		p.end.code, p.end.by = code, p
		close(p.end.done)
	})
	p.in.CloseWithError(io.ErrClosedPipe)
	p.out.CloseWithError(io.ErrClosedPipe)
}

func (p *pipe) Done() <-chan struct{} { return p.end.done }

func (p *pipe) Header() *crossingv1.Header { return p.header }
