// Package reach is how the operator's tool gets to a mesh: to a control plane over mutual
// TLS, or to the directory of a mesh that is stopped.
//
// The one invariant: it speaks to nobody who has not shown the SPIFFE ID that was asked for.
package reach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane"
)

const (
	// Timeout bounds the wait for an SVID and for a connection.
	Timeout = 5 * time.Second
	// MaxMessage is the largest answer taken: a policy of 8 MiB and its signatures.
	MaxMessage = 16 << 20
)

// Connection is a way to ask a mesh.
type Connection struct {
	grpc.ClientConnInterface
	// Name of the other side, for messages.
	Name string
	// As is who we are to it; empty if that does not matter.
	As string
	// Stopped says that the answers come from the directory of a stopped mesh.
	Stopped bool
	// Closers are closed with it, the last one first.
	Closers []io.Closer
}

// Close ends the connection.
func (c *Connection) Close() error {
	var errs []error
	for i := len(c.Closers) - 1; i >= 0; i-- {
		errs = append(errs, c.Closers[i].Close())
	}
	return errors.Join(errs...)
}

// Local is DIR/mesh.json: how to ask the mesh of a directory.
type Local struct {
	// API is the control plane's host:port.
	API string `json:"api"`
	// ID is the control plane's SPIFFE ID.
	ID string `json:"id"`
	// WorkloadAPI is where the operator's SVID comes from.
	WorkloadAPI string `json:"workloadApi"`
}

// ReadLocal reads DIR/mesh.json.
func ReadLocal(dir string) (*Local, error) {
	path := filepath.Join(dir, "mesh.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no mesh (it has no mesh.json); `sallyport demo --dir %s` makes one", dir, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the mesh's address: %w", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	lm := new(Local)
	if err := dec.Decode(lm); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if lm.API == "" || lm.ID == "" || lm.WorkloadAPI == "" {
		return nil, fmt.Errorf("read %s: api, id and workloadApi must be set", path)
	}
	return lm, nil
}

// IsDown says that surely nobody listens there. Anything less sure is no: then
// the connection itself tells what is wrong.
func IsDown(ctx context.Context, network, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
	}
	_ = conn.Close() // nothing was written
	return false
}

// OpenStopped opens the directory of a mesh that is stopped.
func OpenStopped(dir string) (*Connection, error) {
	path := filepath.Join(dir, "controlplane")
	cc, closer, err := controlplane.OpenReadOnly(path, zap.NewNop())
	if err != nil {
		return nil, fmt.Errorf("open the stopped mesh's records in %s: %w", path, err)
	}
	return &Connection{ClientConnInterface: cc, Name: path, Stopped: true, Closers: []io.Closer{closer}}, nil
}

// To connects to a control plane by mTLS. The SVID comes first: without
// one there is nobody to be.
func To(ctx context.Context, address, id, workloadAPI string) (*Connection, error) {
	server, err := spiffeid.FromString(id)
	if err != nil {
		return nil, fmt.Errorf("control plane's id %q: %w", id, err)
	}
	wait, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	source, err := certs.NewSource(wait, certs.Options{WorkloadAPI: workloadAPI, Log: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("get an SVID from the Workload API (--workload-api, SPIFFE_ENDPOINT_SOCKET): %w", err)
	}
	cc, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(server), "h2"))),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: Timeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", address, err), source.Close())
	}
	return &Connection{
		ClientConnInterface: cc, Name: "the control plane at " + address, As: source.ID().String(),
		Closers: []io.Closer{source, cc},
	}, nil
}
