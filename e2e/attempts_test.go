package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

const (
	// shortRest leaves a gateway that starts the processor time for that.
	shortRest = 30 * time.Millisecond
	// callPatience bounds a call: a gateway that has ended is known to have within less.
	callPatience = 15 * time.Second
)

// attempt is one call and what came of it. It begins a trace of its own, by which
// whatever was recorded of it is known.
type attempt struct {
	kind, source string
	trace        string // 32 hex digits
	began, ended time.Time
	sent         atomic.Int32 // how often it was written: a client says again what nobody took
	id           string       // of the crossing that was answered; "" if none was
	status       int          // of an answer by HTTP
	reason       string       // why a gateway refused it
	whole        bool         // the answer was a good one and came to its end
	wrong        string       // what seemed whole and was not
}

func (a *attempt) traceparent() string { return "00-" + a.trace + "-" + a.trace[:16] + "-01" }

func (a *attempt) String() string {
	return fmt.Sprintf("%s of %s, trace %s, status %d, whole %t, sent %d times",
		a.kind, a.began.Format("15:04:05.000"), a.trace, a.status, a.whole, a.sent.Load())
}

// callKind is calls of one kind, and how many callers make them.
type callKind struct {
	name, source string
	callers      int
	call         func(*callers, context.Context, *attempt) error
}

// everyKind is calls between the three environments.
var everyKind = []callKind{
	{"HTTP/1.1", "orchestrator", 2, func(c *callers, ctx context.Context, a *attempt) error { return c.chat(ctx, a, c.h1) }},
	{"HTTP/2", "orchestrator", 2, func(c *callers, ctx context.Context, a *attempt) error { return c.chat(ctx, a, c.h2) }},
	{"SSE over HTTP/1.1", "orchestrator", 2, func(c *callers, ctx context.Context, a *attempt) error { return c.events(ctx, a, c.h1) }},
	{"SSE over HTTP/2", "orchestrator", 2, func(c *callers, ctx context.Context, a *attempt) error { return c.events(ctx, a, c.h2) }},
	{"gRPC unary", "orchestrator", 2, (*callers).check},
	{"gRPC stream", "orchestrator", 2, (*callers).watch},
	{"CONNECT", "orchestrator", 2, (*callers).connect},
	{"MCP", "orchestrator", 1, (*callers).ping},
	{"model pull", "llm", 1, (*callers).pull},
	{"denied", "orchestrator", 1, (*callers).denied},
}

// callers call all the time.
type callers struct {
	m        *meshtest.Mesh
	messages int          // of each stream
	h1, h2   *http.Client // of the orchestrator
	llm      *http.Client
	health   healthv1.HealthClient
	bearer   *bearer // of the orchestrator, for its gateway's loopback address
	loopback string
	quit     chan struct{}
	running  sync.WaitGroup

	mu  sync.Mutex // guards all
	all []*attempt
}

// startCallers serves the llm and calls, with streams of half a second. A caller rests
// so long after each call.
func startCallers(t *testing.T, m *meshtest.Mesh, kinds []callKind, rest time.Duration) *callers {
	t.Helper()
	l := &load{m: m, messages: int(500 * time.Millisecond / pace)}
	l.serve(t, map[string]string{"vectors": listenTCP(t, func(c *net.TCPConn) {
		defer c.Close()
		io.Copy(c, c)
	})})
	c := &callers{
		m: m, messages: l.messages, quit: make(chan struct{}),
		h1: l.http1(t), h2: m.As(t, "orchestrator"), llm: m.As(t, "llm"), health: healthv1.NewHealthClient(dialPatiently(t, l)),
		bearer: l.bearer(t).Transport.(*bearer), loopback: m.Started(t, "onprem-1").GetAttachLoopback(),
	}
	for _, kind := range kinds {
		for range kind.callers {
			c.running.Go(func() {
				for !c.over() {
					c.attempt(kind.name, localmesh.ID(kind.source).String(), kind.call)
					<-time.After(rest)
				}
			})
		}
	}
	return c
}

func (c *callers) attempt(kind, source string, call func(*callers, context.Context, *attempt) error) {
	trace := make([]byte, 16)
	rand.Read(trace)
	a := &attempt{kind: kind, source: source, trace: hex.EncodeToString(trace), began: time.Now()}
	ctx, cancel := context.WithTimeout(context.WithValue(c.m.Context, attemptKey{}, a), callPatience)
	defer cancel()
	a.whole = call(c, ctx, a) == nil
	a.ended = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, a)
}

func (c *callers) over() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

// seen counts the calls that have ended so.
func (c *callers) seen(how func(*attempt) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, a := range c.all {
		if how(a) {
			n++
		}
	}
	return n
}

// stop lets every call end.
func (c *callers) stop() []*attempt {
	close(c.quit)
	c.running.Wait()
	return c.all
}

// errNotWhole says that an answer was none, or was broken off.
var errNotWhole = errors.New("no whole answer")

// http makes one HTTP call; good says whether its answer is what it should be.
func (c *callers) http(ctx context.Context, a *attempt, by *http.Client, method, url, body string, good func(status int, text string) bool) error {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { a.sent.Add(1) }})
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Traceparent", a.traceparent())
	resp, err := by.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a.id, a.status = resp.Header.Get("sallyport-crossing"), resp.StatusCode
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if good(resp.StatusCode, string(text)) {
		return nil
	}
	if resp.StatusCode/100 == 2 {
		a.wrong = string(text)
		return errNotWhole
	}
	if a.reason, err = meshtest.ReasonOf(text); err != nil {
		return err
	}
	return errNotWhole
}

func (c *callers) chat(ctx context.Context, a *attempt, by *http.Client) error {
	return c.http(ctx, a, by, http.MethodPost, meshtest.ChatURL, meshtest.ChatBody, func(status int, text string) bool {
		return status == http.StatusOK && text == meshtest.ChatBody
	})
}

func (c *callers) events(ctx context.Context, a *attempt, by *http.Client) error {
	const body = `{"model":"gpt-oss-20b","stream":true}`
	return c.http(ctx, a, by, http.MethodPost, meshtest.ChatURL, body, func(status int, text string) bool {
		return status == http.StatusOK && strings.Count(text, "data: ") == c.messages+1 && strings.HasSuffix(text, "[DONE]\n\n")
	})
}

func (c *callers) ping(ctx context.Context, a *attempt) error {
	const url, body = "https://retriever.aws.mesh:8080/mcp", `{"jsonrpc":"2.0","id":"a","method":"ping"}`
	return c.http(ctx, a, c.h2, http.MethodPost, url, body, func(status int, text string) bool {
		return status == http.StatusOK && strings.Contains(text, `"id":"a"`)
	})
}

func (c *callers) pull(ctx context.Context, a *attempt) error {
	return c.http(ctx, a, c.llm, http.MethodGet, "https://registry.aws.mesh:5000/v2/", "", func(status int, text string) bool {
		return status == http.StatusOK && strings.TrimSpace(text) == "{}"
	})
}

// denied asks for what no intent allows, and is told so.
func (c *callers) denied(ctx context.Context, a *attempt) error {
	const url = "https://llm.azure.mesh:8000/v1/models"
	return c.http(ctx, a, c.h1, http.MethodDelete, url, "", func(status int, _ string) bool { return status == http.StatusForbidden })
}

func (c *callers) check(ctx context.Context, a *attempt) error {
	var header, trailer metadata.MD
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", a.traceparent())
	_, err := c.health.Check(ctx, &healthv1.HealthCheckRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
	a.id = crossingOf(metadata.Join(header, trailer))
	return err
}

func (c *callers) watch(ctx context.Context, a *attempt) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", a.traceparent())
	stream, err := c.health.Watch(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	n := 0
	for ; ; n++ {
		if _, err = stream.Recv(); err != nil {
			break
		}
	}
	header, _ := stream.Header() // there is none if nobody answered
	a.id = crossingOf(metadata.Join(header, stream.Trailer()))
	if !errors.Is(err, io.EOF) {
		return err
	}
	if n != c.messages {
		a.wrong = fmt.Sprintf("%d messages", n)
	}
	return nil
}

// connect sends bytes through the forward proxy, and wants them back.
func (c *callers) connect(ctx context.Context, a *attempt) error {
	token, err := c.bearer.fetch(ctx)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.loopback)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	a.sent.Add(1)
	const to = "llm.azure.mesh:7000"
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Bearer %s\r\nTraceparent: %s\r\n\r\n", to, to, token, a.traceparent())
	back := bufio.NewReader(conn)
	resp, err := http.ReadResponse(back, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if a.id, a.status = resp.Header.Get("sallyport-crossing"), resp.StatusCode; resp.StatusCode != http.StatusOK {
		return errNotWhole
	}
	said := bytes.Repeat([]byte(a.trace), 128)
	if _, err := conn.Write(said); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(back)
	if err == nil && !bytes.Equal(got, said) {
		return errNotWhole // the kernel ends the connections of who was killed as if in order
	}
	return err
}

// dialPatiently connects for gRPC, again and again while nobody is there.
func dialPatiently(t *testing.T, l *load) *grpc.ClientConn {
	t.Helper()
	source, err := l.m.Source(l.m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	creds := credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "h2"))
	again := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond}
	conn, err := grpc.NewClient("passthrough:///"+l.m.Started(t, "onprem-1").GetAttach(), grpc.WithTransportCredentials(creds),
		grpc.WithAuthority("llm.azure.mesh:9000"), grpc.WithStatsHandler(countSent{}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// attemptKey carries the attempt that a context is of.
type attemptKey struct{}

// countSent counts how often a call by gRPC was written.
type countSent struct{}

func (countSent) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (countSent) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (countSent) HandleConn(context.Context, stats.ConnStats)                       {}

func (countSent) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); ok {
		ctx.Value(attemptKey{}).(*attempt).sent.Add(1)
	}
}
