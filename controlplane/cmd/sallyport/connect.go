package main

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
	// connectTimeout bounds the wait for an SVID and for a connection.
	connectTimeout = 5 * time.Second
	// callTimeout bounds one question with one answer; Publish itself answers
	// within a few seconds.
	callTimeout = 15 * time.Second
	// maxMessage is the largest answer taken: a policy of 8 MiB and its signatures.
	maxMessage = 16 << 20
)

// connection is a way to ask a mesh.
type connection struct {
	grpc.ClientConnInterface
	// name of the other side, for messages.
	name string
	// as is who we are to it; empty if that does not matter.
	as string
	// stopped says that the answers come from the directory of a stopped mesh.
	stopped bool
	closers []io.Closer
}

// Close ends the connection.
func (c *connection) Close() error {
	var errs []error
	for i := len(c.closers) - 1; i >= 0; i-- {
		errs = append(errs, c.closers[i].Close())
	}
	return errors.Join(errs...)
}

// localMesh is DIR/mesh.json: how to ask the mesh of a directory.
type localMesh struct {
	// API is the control plane's host:port.
	API string `json:"api"`
	// ID is the control plane's SPIFFE ID.
	ID string `json:"id"`
	// WorkloadAPI is where the operator's SVID comes from.
	WorkloadAPI string `json:"workloadApi"`
}

// dial reaches the mesh that the flags name. A server named on the command line
// goes before a directory of the environment.
func (a *app) dial(ctx context.Context, m meshFlags) (*connection, error) {
	switch {
	case m.server != "" && m.serverID == "":
		return nil, usage("--server needs --server-id: the SPIFFE ID that tells %s from an impostor", m.server)
	case m.server != "":
		return connectTo(ctx, m.server, m.serverID, m.workloadAPI)
	case m.serverID != "":
		return nil, usage("--server-id needs --server HOST:PORT")
	case m.dir == "":
		return nil, usage("which mesh? Give --dir DIR (or SALLYPORT_DIR), or --server HOST:PORT and --server-id ID")
	}
	return a.dialLocal(ctx, m)
}

func (a *app) dialLocal(ctx context.Context, m meshFlags) (*connection, error) {
	lm, err := readLocalMesh(m.dir)
	if err != nil {
		return nil, err
	}
	if m.workloadAPI != "" {
		lm.WorkloadAPI = m.workloadAPI
	}
	socket, local := strings.CutPrefix(lm.WorkloadAPI, "unix:")
	if !isDown(ctx, "tcp", lm.API) && !(local && isDown(ctx, "unix", strings.TrimPrefix(socket, "//"))) {
		return connectTo(ctx, lm.API, lm.ID, lm.WorkloadAPI)
	}
	c, err := openStopped(m.dir)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.stderr, "sallyport: the mesh in %s is stopped; this is from its directory\n", m.dir)
	return c, nil
}

// readLocalMesh reads DIR/mesh.json.
func readLocalMesh(dir string) (*localMesh, error) {
	path := filepath.Join(dir, "mesh.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage("%s holds no mesh (it has no mesh.json); `sallyport demo --dir %s` makes one", dir, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the mesh's address: %w", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	lm := new(localMesh)
	if err := dec.Decode(lm); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if lm.API == "" || lm.ID == "" || lm.WorkloadAPI == "" {
		return nil, fmt.Errorf("read %s: api, id and workloadApi must be set", path)
	}
	return lm, nil
}

// isDown says that surely nobody listens there. Anything less sure is no: then
// the connection itself tells what is wrong.
func isDown(ctx context.Context, network, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
	}
	_ = conn.Close() // nothing was written
	return false
}

func openStopped(dir string) (*connection, error) {
	path := filepath.Join(dir, "controlplane")
	cc, closer, err := controlplane.OpenReadOnly(path, zap.NewNop())
	if err != nil {
		return nil, fmt.Errorf("open the stopped mesh's records in %s: %w", path, err)
	}
	return &connection{ClientConnInterface: cc, name: path, stopped: true, closers: []io.Closer{closer}}, nil
}

// connectTo connects to a control plane by mTLS. The SVID comes first: without
// one there is nobody to be.
func connectTo(ctx context.Context, address, id, workloadAPI string) (*connection, error) {
	server, err := spiffeid.FromString(id)
	if err != nil {
		return nil, usage("control plane's id %q: %v", id, err)
	}
	wait, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	source, err := certs.NewSource(wait, certs.Options{WorkloadAPI: workloadAPI, Log: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("get an SVID from the Workload API (--workload-api, SPIFFE_ENDPOINT_SOCKET): %w", err)
	}
	cc, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(server), "h2"))),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", address, err), source.Close())
	}
	return &connection{
		ClientConnInterface: cc, name: "the control plane at " + address, as: source.ID().String(),
		closers: []io.Closer{source, cc},
	}, nil
}

// ask connects, lets f ask, and disconnects.
func (a *app) ask(ctx context.Context, f func(c *connection) error) error {
	c, err := a.connect(ctx, a.mesh)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // the answer is here; nothing was buffered for the other side
	return f(c)
}
