package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/api"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
)

// pipeBytes is the buffer between the reader and the API, each way.
const pipeBytes = 1 << 20

// ErrInUse says that a control plane runs over the directory.
var ErrInUse = store.ErrInUse

// readOnly is the API over a copy of a stopped control plane's directory.
type readOnly struct {
	conn   *grpc.ClientConn
	server *grpc.Server
	view   *view
	done   chan error
	store  *store.Copy
}

// OpenReadOnly serves the read API over the directory of a control plane that is
// not running: policy, records, refusals, transitions, gateways and bindings as
// they were. Calls that would change something answer FAILED_PRECONDITION.
// Whoever can read the directory can read all of that, so nobody is asked who he
// is. The policy was verified when it was published, and is shown as stored: its
// reader has the keys, this has not.
//
// The error is ErrInUse while a control plane runs over the directory, and
// fs.ErrNotExist if none ever did. Close the closer when done.
func OpenReadOnly(dir string, log *zap.Logger) (grpc.ClientConnInterface, io.Closer, error) {
	if log == nil {
		log = zap.NewNop()
	}
	r := &readOnly{}
	if err := r.open(context.Background(), dir, log); err != nil {
		return nil, nil, errors.Join(err, r.Close())
	}
	return r.conn, r, nil
}

func (r *readOnly) open(ctx context.Context, dir string, log *zap.Logger) error {
	var err error
	if r.store, err = store.OpenReadOnly(ctx, dir, log); err != nil {
		return err
	}
	self, err := spiffeid.FromString("spiffe://local/reader")
	if err != nil {
		return err
	}
	r.view, err = newView(ctx, r.store.Store, keeper{}, api.Config{
		Operators: []spiffeid.ID{self},
		Identify:  func(context.Context) (spiffeid.ID, error) { return self, nil },
		Bootstrap: func() (api.Bootstrap, error) { return api.Bootstrap{}, nil }, // not reached
		Logs:      translog.ReadSet(logDir(dir)),
		ReadOnly:  true,
		Log:       log,
	})
	if err != nil {
		return err
	}
	return r.serve()
}

func (r *readOnly) serve() error {
	pipe := bufconn.Listen(pipeBytes)
	r.server = newServer(r.view.api)
	r.view.register(r.server)
	r.done = make(chan error, 1)
	go func() { r.done <- r.server.Serve(pipe) }()
	var err error
	r.conn, err = grpc.NewClient("passthrough:///stopped",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))
	if err != nil {
		return fmt.Errorf("connect to the stopped mesh: %w", err)
	}
	return nil
}

// Close ends the calls and removes the copy.
func (r *readOnly) Close() error {
	var errs []error
	if r.conn != nil {
		errs = append(errs, r.conn.Close())
	}
	if r.server != nil {
		r.view.stop()
		r.server.Stop()
		if err := <-r.done; !errors.Is(err, grpc.ErrServerStopped) {
			errs = append(errs, err)
		}
		r.view.api.Wait()
	}
	if r.store != nil {
		errs = append(errs, r.store.Close())
	}
	return errors.Join(errs...)
}
