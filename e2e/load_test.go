package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

const (
	// pace is the time between two messages of a stream.
	pace = 50 * time.Millisecond
	// think is the time from an answer to the caller's next call.
	think = 10 * time.Millisecond
)

// kinds are the kinds of calls, and how many callers there are of each.
var kinds = []struct {
	name    string
	callers int
	call    func(*load, context.Context) (id string, err error)
}{
	{"HTTP/1.1", 3, func(l *load, ctx context.Context) (string, error) { return l.chat(ctx, nil) }},
	{"HTTP/2", 3, func(l *load, ctx context.Context) (string, error) { return l.chat(ctx, l.h2) }},
	{"new connection", 2, func(l *load, ctx context.Context) (string, error) { return l.chat(ctx, l.fresh) }},
	{"JWT-SVID", 2, func(l *load, ctx context.Context) (string, error) { return l.chat(ctx, l.jwt) }},
	{"gRPC unary", 2, (*load).check},
	{"gRPC stream", 4, (*load).watch},
	{"SSE over HTTP/1.1", 4, func(l *load, ctx context.Context) (string, error) { return l.stream(ctx, nil) }},
	{"SSE over HTTP/2", 4, func(l *load, ctx context.Context) (string, error) { return l.stream(ctx, l.h2) }},
}

// load is callers that call all the time, and what became of each call.
type load struct {
	m        *meshtest.Mesh
	messages int          // of each stream
	h2       *http.Client // of all callers by HTTP/2
	fresh    *http.Client // connects for each call
	jwt      *http.Client // shows a JWT-SVID, and no certificate
	grpc     healthv1.HealthClient
	ctx      context.Context // ends the endless streams
	end      context.CancelFunc
	quit     chan struct{}
	callers  sync.WaitGroup

	mu  sync.Mutex // guards what follows, and the tallies
	now *tally
	ids []string // of the calls that had a whole answer
}

// callerKey carries a caller's own HTTP/1.1 client.
type callerKey struct{}

// startLoad calls all the time, with streams of about that length.
func startLoad(t *testing.T, m *meshtest.Mesh, length time.Duration) *load {
	t.Helper()
	l := &load{m: m, messages: int(length / pace), quit: make(chan struct{})}
	l.ctx, l.end = context.WithCancel(m.Context)
	t.Cleanup(l.end)
	l.now = &tally{l: l, name: "start", kinds: map[string]int{}}
	l.serve(t, nil)
	l.h2 = m.As(t, "orchestrator")
	l.fresh, l.jwt = l.http1(t), l.bearer(t)
	l.fresh.Transport.(*http.Transport).DisableKeepAlives = true
	l.grpc = healthv1.NewHealthClient(l.dial(t))
	l.awaitUp(t)
	for _, kind := range kinds {
		for range kind.callers {
			own := l.http1(t)
			l.callers.Go(func() {
				for !l.over() {
					y := l.current()
					ctx, cancel := context.WithTimeout(context.WithValue(l.ctx, callerKey{}, own), meshtest.Patience)
					id, err := kind.call(l, ctx)
					cancel()
					l.note(y, kind.name, id, err)
					<-time.After(think) // or the callers would take all the machine's time
				}
			})
		}
	}
	return l
}

// awaitUp waits until gateways that have just started have a policy.
func (l *load) awaitUp(t *testing.T) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(meshtest.Patience); ; <-ticker.C {
		_, err := l.chat(l.ctx, l.h2)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no call succeeds: %v", err)
		}
	}
}

func (l *load) over() bool {
	select {
	case <-l.quit:
		return true
	default:
		return false
	}
}

func (l *load) current() *tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// phase counts the calls from now on apart.
func (l *load) phase(name string) *tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = &tally{l: l, name: name, kinds: map[string]int{}}
	return l.now
}

func (l *load) note(y *tally, kind, id string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		y.failed = append(y.failed, failure{time.Now(), kind, id, err})
		return
	}
	y.done++
	y.kinds[kind]++
	l.ids = append(l.ids, id)
}

func (l *load) answered() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ids
}

// stop lets every call end.
func (l *load) stop(t *testing.T) {
	t.Helper()
	close(l.quit)
	l.callers.Wait()
}

// serve serves the llm's chat and health in place of the mesh's own, and says where
// others of its services are.
func (l *load) serve(t *testing.T, others map[string]string) {
	t.Helper()
	source, err := l.m.Source(l.m.Context, "llm")
	if err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		at, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	fromGateway := certs.AuthorizeID(localmesh.GatewayID("azure"))
	chatAt, healthAt := listen(), listen()
	chat := &http.Server{Handler: http.HandlerFunc(l.serveChat), ReadHeaderTimeout: meshtest.Patience}
	go chat.Serve(tls.NewListener(chatAt, certs.ServerTLS(source, fromGateway, "http/1.1")))
	t.Cleanup(func() { chat.Close() })
	health := grpc.NewServer(grpc.Creds(credentials.NewTLS(certs.ServerTLS(source, fromGateway, "h2"))))
	healthv1.RegisterHealthServer(health, &slowHealth{messages: l.messages})
	go health.Serve(healthAt)
	t.Cleanup(health.Stop)
	endpoints := map[string]string{"chat": chatAt.Addr().String(), "health": healthAt.Addr().String()}
	maps.Copy(endpoints, others)
	if err := l.m.Register(l.m.Context, "llm", endpoints); err != nil {
		t.Fatal(err)
	}
}

// serveChat answers a call with its own body; a stream is messages at their pace,
// without end where that is asked for.
func (l *load) serveChat(w http.ResponseWriter, r *http.Request) {
	asked, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !strings.Contains(string(asked), `"stream":true`) {
		w.Write(asked)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	endless := strings.Contains(string(asked), "for ever")
	for n := 0; n < l.messages || endless; n++ {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", n); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// slowHealth watches with messages at their pace, and then ends.
type slowHealth struct {
	healthv1.UnimplementedHealthServer
	messages int
}

func (h *slowHealth) Check(context.Context, *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

func (h *slowHealth) Watch(_ *healthv1.HealthCheckRequest, stream grpc.ServerStreamingServer[healthv1.HealthCheckResponse]) error {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for range h.messages {
		if err := stream.Send(&healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
	return nil
}

// attach is where the orchestrator's gateway is, and how it shows itself there.
func (l *load) attach(t *testing.T, protocols ...string) (string, *tls.Config) {
	t.Helper()
	source, err := l.m.Source(l.m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	config := certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), protocols...)
	return l.m.Started(t, "onprem-1").GetAttach(), config
}

func (l *load) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	addr, config := l.attach(t, "h2")
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithAuthority("llm.azure.mesh:9000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (l *load) http1(t *testing.T) *http.Client {
	t.Helper()
	addr, config := l.attach(t, "http/1.1")
	c := &http.Client{Transport: &http.Transport{
		TLSClientConfig: config,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// bearer is a client that attaches by a JWT-SVID, over loopback.
func (l *load) bearer(t *testing.T) *http.Client {
	t.Helper()
	source, err := l.m.Source(l.m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.m.Started(t, "onprem-1").GetAttachLoopback()
	b := &bearer{source: source, via: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	t.Cleanup(b.via.CloseIdleConnections)
	return &http.Client{Transport: b}
}

// tokenAge is for how long a caller shows the same token.
const tokenAge = time.Second

// bearer shows a JWT-SVID that it fetched lately.
type bearer struct {
	source *certs.Source
	via    *http.Transport

	mu    sync.Mutex // guards what follows
	token string
	since time.Time
}

func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := b.fetch(req.Context())
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.URL.Scheme = "http"
	req.Header.Set("Authorization", "Bearer "+token)
	return b.via.RoundTrip(req)
}

func (b *bearer) fetch(ctx context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.since) < tokenAge {
		return b.token, nil
	}
	token, _, err := b.source.FetchJWTSVID(ctx, localmesh.GatewayID("onprem").String())
	if err == nil {
		b.token, b.since = token, time.Now()
	}
	return token, err
}

// post asks the llm with c, or by HTTP/1.1 with the caller's own client.
func (l *load) post(ctx context.Context, c *http.Client, body string) (*http.Response, error) {
	if c == nil {
		c = ctx.Value(callerKey{}).(*http.Client)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, meshtest.ChatURL, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

func (l *load) chat(ctx context.Context, c *http.Client) (string, error) {
	resp, err := l.post(ctx, c, meshtest.ChatBody)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	id := resp.Header.Get("sallyport-crossing")
	text, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(text) != meshtest.ChatBody) {
		err = fmt.Errorf("status %d: %.300s", resp.StatusCode, text)
	}
	return id, err
}

func (l *load) stream(ctx context.Context, c *http.Client) (string, error) {
	resp, err := l.post(ctx, c, `{"model":"gpt-oss-20b","stream":true}`)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	id := resp.Header.Get("sallyport-crossing")
	text, err := io.ReadAll(resp.Body)
	events := strings.Count(string(text), "data: ")
	if err == nil && (resp.StatusCode != http.StatusOK || events != l.messages+1 || !strings.HasSuffix(string(text), "[DONE]\n\n")) {
		err = fmt.Errorf("status %d, %d events: %.300s", resp.StatusCode, events, text)
	}
	return id, err
}

func (l *load) check(ctx context.Context) (string, error) {
	var header metadata.MD
	_, err := l.grpc.Check(ctx, &healthv1.HealthCheckRequest{}, grpc.Header(&header))
	return crossingOf(header), err
}

func (l *load) watch(ctx context.Context) (string, error) {
	stream, err := l.grpc.Watch(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		return "", err
	}
	n := 0
	for ; ; n++ {
		if _, err = stream.Recv(); err != nil {
			break
		}
	}
	header, _ := stream.Header()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil && n != l.messages {
		err = status.Errorf(codes.DataLoss, "%d messages", n)
	}
	return crossingOf(header), err
}

func crossingOf(header metadata.MD) string { return strings.Join(header.Get("sallyport-crossing"), "") }

// unending is a stream that ends only when a gateway ends it.
type unending struct {
	id    string    // of its crossing
	since time.Time // when the restart was done that it is to outlive
	cut   chan struct{}
	at    time.Time // readable after cut is closed
	err   error
}

// endless opens one, by HTTP/1.1.
func (l *load) endless(t *testing.T) *unending {
	t.Helper()
	return l.endlessBy(t, l.http1(t))
}

func (l *load) endlessBy(t *testing.T, c *http.Client) *unending {
	t.Helper()
	resp, err := l.post(l.ctx, c, `{"model":"gpt-oss-20b","stream":true,"user":"for ever"}`)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() {
		t.Fatalf("an endless stream has ended: %v", lines.Err())
	}
	e := &unending{id: resp.Header.Get("sallyport-crossing"), cut: make(chan struct{})}
	go func() {
		defer close(e.cut)
		defer resp.Body.Close()
		for lines.Scan() {
		}
		e.at, e.err = time.Now(), lines.Err()
	}()
	return e
}

// judge holds that the stream lived until the drain was over, and no longer than
// the process.
func (e *unending) judge(t *testing.T) {
	t.Helper()
	late := time.NewTimer(time.Until(e.since.Add(drainTime + stopTime)))
	defer late.Stop()
	select {
	case <-e.cut:
	case <-late.C:
		select {
		case <-e.cut: // long ago: nobody asked in time
		default:
			t.Errorf("a stream goes on %s after the restart", time.Since(e.since))
			return
		}
	}
	if lived := e.at.Sub(e.since); lived < drainTime-time.Second {
		t.Errorf("a stream was cut %s after the restart, want %s: %v", lived, drainTime, e.err)
	}
}
