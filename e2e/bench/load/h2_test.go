package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

func TestCalls(t *testing.T) {
	target := backend(t)
	for _, c := range []struct {
		name string
		call Call
		size int
	}{{"get", Get, smallSize}, {"unary", Unary, len(message)}, {"ping-pong", PingPong, len(message)}} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Calls(t.Context(), target, 3, 5, c.call, Bound{Count: 200})
			if err != nil || r.Requests != 200 || r.Bytes != int64(200*c.size) || r.P50 <= 0 || r.P99 < r.P50 {
				t.Errorf("%+v, %v; want 200 answers of %d bytes", r, err, c.size)
			}
			r, err = Calls(t.Context(), target, 1, 4, c.call, Bound{Time: 20 * time.Millisecond})
			if err != nil || r.Requests == 0 {
				t.Errorf("%+v, %v; want what came within the time", r, err)
			}
		})
	}
}

// otherBackend is the standard library's server, with windows so small that the
// caller has to wait for room.
func otherBackend(t *testing.T, h http.HandlerFunc) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: protocols, ReadHeaderTimeout: time.Minute, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 256}}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return Target{Address: l.Addr().String(), Token: "secret", Authority: "llm.azure.mesh:7003"}
}

// TestCallsOfAnotherServer: the caller is understood by a server that is not ours.
func TestCallsOfAnotherServer(t *testing.T) {
	target := otherBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "llm.azure.mesh:7003" || r.Header.Get("Proxy-Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		flush := http.NewResponseController(w)
		buf := make([]byte, 64)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			flush.Flush()
			if err != nil {
				break
			}
		}
		if r.Method == http.MethodGet {
			w.Write(make([]byte, smallSize))
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	})
	for _, call := range []Call{Get, Unary, PingPong} {
		r, err := Calls(t.Context(), target, 2, 3, call, Bound{Count: 60})
		if err != nil || r.Requests != 60 {
			t.Errorf("call %d: %+v, %v; want 60 answers", call, r, err)
		}
	}
}

// TestCallsThatFail: a load generator that took a refusal for an answer would
// measure how fast pairs refuse.
func TestCallsThatFail(t *testing.T) {
	for _, c := range []struct {
		name, status, grpc, body, want string
		call                           Call
	}{
		{name: "status", status: "403", want: "answered 403"},
		{name: "short", status: "200", body: "xyz", want: "answered 3 bytes, want 128"},
		{name: "no trailers", status: "200", body: string(message), call: Unary, want: `grpc-status ""`},
		{name: "denied", status: "200", grpc: "7", call: Unary, want: `grpc-status "7": no`},
		{name: "stream ended", status: "200", grpc: "13", call: PingPong, want: `grpc-status "13"`},
		{name: "no message", status: "200", grpc: "0", call: Unary, want: "answered 0 bytes, want 105"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := otherBackend(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, io.LimitReader(r.Body, 1))
				if c.grpc != "" {
					w.Header().Set("Grpc-Status", c.grpc)
					w.Header().Set("Grpc-Message", "no")
				}
				code := 0
				fmt.Sscan(c.status, &code)
				w.WriteHeader(code)
				io.WriteString(w, c.body)
			})
			_, err := Calls(t.Context(), target, 1, 1, c.call, Bound{Count: 1})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// raw is a codec of grpc-go that leaves messages as they are.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = raw{}

// TestBackendOfAnotherClient: the backend is understood by grpc-go.
func TestBackendOfAnotherClient(t *testing.T) {
	target := backend(t)
	conn, err := grpc.NewClient("passthrough:///"+target.Address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []byte
	if err := conn.Invoke(ctx, unaryPath, []byte("hello"), &got); err != nil || len(got) != 100 {
		t.Errorf("unary: %d bytes, %v; want 100", len(got), err)
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, streamPath)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		said := bytes.Repeat([]byte{byte(i)}, 10_000) // more than the first window together
		if err := s.SendMsg(said); err != nil {
			t.Fatal(err)
		}
		if err := s.RecvMsg(&got); err != nil || !bytes.Equal(got, said) {
			t.Fatalf("message %d came back as %d bytes, %v", i, len(got), err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&got); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, want EOF", err)
	}
	if err := conn.Invoke(ctx, "/bench.Echo/Nothing", []byte("hello"), &got); err == nil {
		t.Error("a call that nobody serves was answered")
	}
}

func TestTokens(t *testing.T) {
	target := backend(t)
	r, err := Tokens(t.Context(), target, 4, 10, time.Millisecond)
	if err != nil || r.Requests != 40 || r.P50 <= 0 || r.P99 > patience {
		t.Errorf("%+v, %v; want 40 events", r, err)
	}
	if r.Took < 9*time.Millisecond {
		t.Errorf("ten events at a pace of a millisecond took %s", r.Took)
	}
	short := otherEvents(t, "data: {\"sent\":1}\n\n")
	if _, err := Tokens(t.Context(), short, 1, 2, time.Millisecond); err == nil || !strings.Contains(err.Error(), "1 of 2 events") {
		t.Errorf("%v, want that an event is missing", err)
	}
}

// otherEvents answers every request with the same events.
func otherEvents(t *testing.T, text string) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, text)
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return Target{Address: l.Addr().String()}
}
