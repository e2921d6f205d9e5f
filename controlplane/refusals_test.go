package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// kept keeps frames in memory, or fails.
type kept struct {
	frames []*crossingv1.Frame
	err    error
}

func (k *kept) keep(_ context.Context, f *crossingv1.Frame) error {
	if k.err == nil {
		k.frames = append(k.frames, f)
	}
	return k.err
}

// refusing is a door that failed handshakes are counted at, and what it keeps.
func refusing(t *testing.T, domains map[string]*certstest.Domain) (*refusals, *certs.Source, *kept) {
	t.Helper()
	source, k := domains["mesh.demo"].Source("/sallyport/controlplane/cp-1"), new(kept)
	return newRefusals(source, k.keep, zaptest.NewLogger(t)), source, k
}

func TestFailedHandshakesAreCounted(t *testing.T) {
	t.Parallel()
	domains := certstest.Mesh(t, "mesh.demo", "onprem.demo")
	id := domains["onprem.demo"].ID("/sallyport/gateway/onprem-1")
	dated := func(off time.Duration) tls.Certificate {
		domains["onprem.demo"].NotBefore = off
		return domains["onprem.demo"].Certificate(id)
	}
	shows := func(c tls.Certificate) func(net.Conn) {
		return func(nc net.Conn) {
			client := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{c}})
			client.Handshake()
			client.Read(make([]byte, 1))
		}
	}
	for _, tt := range []struct {
		name string
		talk func(net.Conn)
		want crossingv1.Reason
	}{
		{"expired", shows(dated(-3 * time.Hour)), crossingv1.Reason_EXPIRED_IDENTITY},
		{"not yet valid", shows(dated(2 * time.Hour)), crossingv1.Reason_EXPIRED_IDENTITY},
		{"another root", shows(certstest.Mesh(t, "onprem.demo")["onprem.demo"].Certificate(id)), crossingv1.Reason_BAD_IDENTITY},
		{"no TLS", func(nc net.Conn) { io.WriteString(nc, "GET / HTTP/1.1\r\n\r\n") }, crossingv1.Reason_MALFORMED},
		{"nothing", func(net.Conn) {}, crossingv1.Reason_NO_IDENTITY},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, source, k := refusing(t, domains)
			here, there := net.Pipe()
			go func() {
				tt.talk(there)
				there.Close()
			}()
			creds := newClients(source, r).Credentials(certs.ServerTLS(source, certs.AuthorizeAny(), "h2"))
			if _, _, err := creds.ServerHandshake(here); err == nil {
				t.Fatal("the handshake succeeded")
			}
			here.Close()
			r.store(t.Context(), time.Now().Add(time.Second))
			if len(k.frames) != 1 || k.frames[0].GetRefusal().GetReason() != tt.want || k.frames[0].GetRefusal().GetListener() != controlListener {
				t.Fatalf("kept %v, want one of %s", k.frames, tt.want)
			}
			if err := crossing.CheckFrame(k.frames[0], source.ID()); err != nil {
				t.Errorf("the frame would be rejected of a gateway: %v", err)
			}
		})
	}
}

func TestOwnExpiredSVIDIsNotThePeersFault(t *testing.T) {
	t.Parallel()
	domains := certstest.Mesh(t, "mesh.demo")
	r, source, k := refusing(t, domains)
	domains["mesh.demo"].SetExpired(source)
	here, there := net.Pipe()
	defer there.Close()
	r.refuse(here, certs.ErrExpired)
	r.store(t.Context(), time.Now().Add(time.Second))
	if len(k.frames) != 0 {
		t.Errorf("kept %v", k.frames)
	}
}

func TestRefusalsAreKeptUntilTheyAreStored(t *testing.T) {
	t.Parallel()
	r, _, k := refusing(t, certstest.Mesh(t, "mesh.demo"))
	here, there := net.Pipe()
	defer there.Close()
	r.refuse(here, io.EOF)
	k.err = errors.New("disk")
	r.store(t.Context(), time.Now().Add(time.Second))
	k.err = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.serve(ctx)
	if len(k.frames) != 1 || k.frames[0].GetRefusal().GetCount() != 1 {
		t.Errorf("kept %v, want a count of 1", k.frames)
	}
}
