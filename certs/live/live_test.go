package live

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// ends is both ends of what was made: a gateway connects to a control plane.
type ends struct {
	mesh           map[string]*certstest.Domain
	server, client *Connections
	ended          chan error // of the server's
	refused        chan error
	accepted, made net.Conn
}

// newEnds runs both sets until the test ends.
func newEnds(t *testing.T) *ends {
	t.Helper()
	e := &ends{mesh: certstest.Mesh(t, "mesh.test", "aws.test"), ended: make(chan error, 1), refused: make(chan error, 1)}
	plane, gateway := e.mesh["mesh.test"].Source("/plane"), e.mesh["aws.test"].Source("/gateway")
	e.server = New(Config{
		Source: plane, Authorize: certs.AuthorizeAny(),
		Refused: func(_ net.Conn, err error) { e.refused <- err },
		Ended:   func(_ net.Conn, err error) { e.ended <- err },
	})
	e.client = New(Config{Source: gateway, Authorize: certs.AuthorizeID(plane.ID())})
	return e
}

func (e *ends) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for _, set := range []*Connections{e.server, e.client} {
		go func() {
			defer func() { done <- struct{}{} }()
			set.Run(ctx)
		}()
	}
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
	synctest.Wait()
}

// connect shakes hands; during is what happens meanwhile.
func (e *ends) connect(t *testing.T, during func()) error {
	t.Helper()
	here, there := net.Pipe()
	accepted := make(chan net.Conn, 1)
	protocols := []string{"h2"}
	go func() {
		creds := e.server.Credentials(certs.ServerTLS(e.server.cfg.Source, e.server.cfg.Authorize, protocols...)).Clone()
		conn, _, err := creds.ServerHandshake(there)
		if err != nil {
			there.Close()
		}
		accepted <- conn
	}()
	config := certs.ClientTLS(e.client.cfg.Source, e.client.cfg.Authorize, protocols...)
	verify := config.VerifyConnection
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		err := verify(cs)
		during()
		return err
	}
	conn, _, err := e.client.Credentials(config).ClientHandshake(t.Context(), "", here)
	e.accepted, e.made = <-accepted, conn
	t.Cleanup(func() {
		here.Close()
		there.Close()
		for _, c := range []net.Conn{e.accepted, e.made} {
			if c != nil {
				c.Close()
			}
		}
	})
	return err
}

// wantCut holds that an end is broken, without waiting.
func wantCut(t *testing.T, who string, c net.Conn) {
	t.Helper()
	synctest.Wait()
	if err := c.SetReadDeadline(time.Now()); err == nil {
		if _, err = c.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
			t.Errorf("%s goes on: %v", who, err)
		}
	}
}

func wantLive(t *testing.T, e *ends) {
	t.Helper()
	synctest.Wait()
	go e.made.Write([]byte("x"))
	if _, err := e.accepted.Read(make([]byte, 1)); err != nil {
		t.Fatalf("a good connection is broken: %v", err)
	}
}

func TestPeersAreJudgedAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(e *ends)
		ended  error // what the server is told; nil if it does not end it
		cut    bool
	}{
		{"nothing of theirs", func(e *ends) { e.mesh["mesh.test"].Trust(certstest.Mesh(t, "other.test")["other.test"].Bundle()) }, nil, false},
		{"an SVID renewed", func(e *ends) { e.mesh["aws.test"].Rotate(e.client.cfg.Source) }, nil, false},
		{"the client's root is gone", func(e *ends) { e.mesh["mesh.test"].Distrust("aws.test") }, certs.ErrUntrusted, true},
		{"the client's root is another", func(e *ends) {
			e.mesh["mesh.test"].Trust(certstest.Mesh(t, "aws.test")["aws.test"].Bundle())
		}, certs.ErrUntrusted, true},
		{"the server's root is gone", func(e *ends) { e.mesh["aws.test"].Distrust("mesh.test") }, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEnds(t)
				e.run(t)
				if err := e.connect(t, func() {}); err != nil {
					t.Fatal(err)
				}
				wantLive(t, e)
				c.change(e)
				if !c.cut {
					wantLive(t, e)
					return
				}
				wantCut(t, "the server", e.accepted)
				wantCut(t, "the client", e.made)
				if c.ended != nil {
					if err := <-e.ended; !errors.Is(err, c.ended) {
						t.Errorf("ended for %v, want %v", err, c.ended)
					}
				}
			})
		})
	}
}

// TestChangesDuringTheHandshakeCount: what was verified is judged again if bundles
// changed before it was in the set.
func TestChangesDuringTheHandshakeCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		e.run(t)
		err := e.connect(t, func() {
			e.mesh["aws.test"].Distrust("mesh.test")
			synctest.Wait() // the set has been looked at, and this one was not there
		})
		if err != nil {
			t.Fatal(err)
		}
		wantCut(t, "the client", e.made)
	})
}

// TestRunLooksAtWhatWasThere: changes before Run count as well.
func TestRunLooksAtWhatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		if err := e.connect(t, func() {}); err != nil {
			t.Fatal(err)
		}
		e.mesh["aws.test"].Distrust("mesh.test")
		wantLive(t, e)
		e.run(t)
		wantCut(t, "the client", e.made)
	})
}

func TestConnectionsEndWithTheirSVID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		if err := e.connect(t, func() {}); err != nil {
			t.Fatal(err)
		}
		<-time.After(59 * time.Minute)
		wantLive(t, e)
		<-time.After(2 * time.Minute)
		wantCut(t, "the server", e.accepted)
	})
}

func TestClosedConnectionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		if err := e.connect(t, func() {}); err != nil {
			t.Fatal(err)
		}
		e.made.Close()
		e.accepted.Close()
		if n := len(e.server.snapshot()) + len(e.client.snapshot()); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// TestClosedSourceSaysNothing of peers.
func TestClosedSourceSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		e.run(t)
		if err := e.connect(t, func() {}); err != nil {
			t.Fatal(err)
		}
		if err := e.server.cfg.Source.Close(); err != nil {
			t.Fatal(err)
		}
		e.server.cfg.Source.Notify()
		wantLive(t, e)
	})
}

func TestFailedHandshakesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		e.mesh["mesh.test"].Distrust("aws.test")
		_ = e.connect(t, func() {}) // in TLS 1.3 the client may not know yet
		if err := <-e.refused; !errors.Is(err, certs.ErrUntrusted) {
			t.Errorf("told %v, want %v", err, certs.ErrUntrusted)
		}
	})
}
