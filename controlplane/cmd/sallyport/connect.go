package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/reach"
)

// callTimeout bounds one question with one answer; Publish itself answers within a few
// seconds.
const callTimeout = 15 * time.Second

// connection is a way to ask a mesh.
type connection = reach.Connection

// dial reaches the mesh that the flags name. A server named on the command line
// goes before a directory of the environment.
func (a *app) dial(ctx context.Context, m meshFlags) (*connection, error) {
	switch {
	case m.server != "" && m.serverID == "":
		return nil, usage("--server needs --server-id: the SPIFFE ID that tells %s from an impostor", m.server)
	case m.server != "":
		return reach.To(ctx, m.server, m.serverID, m.workloadAPI)
	case m.serverID != "":
		return nil, usage("--server-id needs --server HOST:PORT")
	case m.dir == "":
		return nil, usage("which mesh? Give --dir DIR (or SALLYPORT_DIR), or --server HOST:PORT and --server-id ID")
	}
	return a.dialLocal(ctx, m)
}

func (a *app) dialLocal(ctx context.Context, m meshFlags) (*connection, error) {
	lm, err := reach.ReadLocal(m.dir)
	if err != nil {
		return nil, err
	}
	if m.workloadAPI != "" {
		lm.WorkloadAPI = m.workloadAPI
	}
	socket, local := strings.CutPrefix(lm.WorkloadAPI, "unix:")
	if !reach.IsDown(ctx, "tcp", lm.API) && !(local && reach.IsDown(ctx, "unix", strings.TrimPrefix(socket, "//"))) {
		return reach.To(ctx, lm.API, lm.ID, lm.WorkloadAPI)
	}
	c, err := reach.OpenStopped(m.dir)
	if err != nil {
		return nil, err
	}
	if !a.toldStopped {
		fmt.Fprintf(a.stderr, "sallyport: the mesh in %s is stopped; this is from its directory\n", m.dir)
		a.toldStopped = true
	}
	return c, nil
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
