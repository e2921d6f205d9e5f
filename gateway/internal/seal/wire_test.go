package seal

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// server takes parts over gRPC as it is told to.
type server struct {
	controlv1.UnimplementedSealedServiceServer
	early error // answered before the bytes were read; errAll to read them
	parts int
	bytes int
}

var errAll = errors.New("read all")

func (s *server) UploadSealed(stream grpc.ClientStreamingServer[controlv1.UploadSealedRequest, controlv1.UploadSealedResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	s.parts++
	if s.early != errAll { //nolint:errorlint // the very value
		if s.early != nil {
			return s.early
		}
		return stream.SendAndClose(&controlv1.UploadSealedResponse{})
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&controlv1.UploadSealedResponse{})
		}
		if err != nil {
			return err
		}
		s.bytes += len(r.GetData())
	}
}

// TestOverTheWire: a part of some size is delivered over real gRPC, also to who answers
// before it has all of it, as for a part that it has.
func TestOverTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		early error
		want  state // of what is left
	}{
		"all":     {errAll, ""},
		"had it":  {nil, ""},
		"another": {status.Error(codes.AlreadyExists, "another"), refused},
		"no room": {status.Error(codes.ResourceExhausted, "full"), whole},
		"no such": {status.Error(codes.Unimplemented, "an older one"), whole},
	} {
		t.Run(name, func(t *testing.T) {
			of := &server{early: c.early}
			client := dial(t, of)
			s := opened(t, disktest.NewMemory(), func(cfg *Config) {
				cfg.Connect = func(context.Context) (controlv1.SealedServiceClient, error) { return client, nil }
			})
			sum := keep(t, s, id1, newReviewer(t).sealed(1), strings.Repeat("x", 900_000), "")
			s.settle()
			before := s.taken()
			s.deliver(t.Context())
			all := parts(t, s)
			if c.want == "" {
				if len(all) != 0 || s.taken() != 0 {
					t.Errorf("%d files are left", len(all))
				}
			} else if len(all) != 1 || all[id1+".egress.request."+string(c.want)] == nil || s.taken() != before {
				t.Errorf("it has %d files, want one that is %s", len(all), c.want)
			}
			if of.parts != 1 || c.early == errAll && of.bytes < 900_000 || sum.Request.Digest == "" { //nolint:errorlint // the very value
				t.Errorf("the server had %d parts, %d bytes", of.parts, of.bytes)
			}
		})
	}
}

// dial is a client of a server in this process.
func dial(t *testing.T, of *server) controlv1.SealedServiceClient {
	t.Helper()
	l, g := bufconn.Listen(64<<10), grpc.NewServer()
	controlv1.RegisterSealedServiceServer(g, of)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///mem", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return controlv1.NewSealedServiceClient(conn)
}
