// Command workload plays the workloads of the deployment in tests: it serves what
// others call, and calls others through its environment's gateway, both with its
// own SVID. It is no part of the product.
//
// Its invariant: it knows nothing but its own socket, its gateway and its address.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/certs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1)
	}
}

// workload is one of them.
type workload struct {
	source  *certs.Source
	gateway spiffeid.ID
	attach  string
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("workload", flag.ContinueOnError)
	api := flags.String("workload-api", "", "address of the Workload API")
	serve := flags.String("serve", "", "HOST:PORT to serve the gateway at")
	calls := flags.String("calls", "", "Unix socket that takes calls to make")
	attach := flags.String("attach", "127.0.0.1:8443", "HOST:PORT of the gateway")
	name := flags.String("gateway", "", "name of the gateway")
	if err := flags.Parse(args); err != nil {
		return err
	}
	source, err := certs.NewSource(ctx, certs.Options{WorkloadAPI: *api})
	if err != nil {
		return err
	}
	defer source.Close() //nolint:errcheck // it was only read
	gateway, err := spiffeid.FromPathf(source.TrustDomain(), "/sallyport/gateway/%s", *name)
	if err != nil {
		return err
	}
	w := &workload{source: source, gateway: gateway, attach: *attach}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.serve(ctx, *serve) })
	group.Go(func() error { return w.call(ctx, *calls) })
	return group.Wait()
}

// serve answers what comes through the gateway.
func (w *workload) serve(ctx context.Context, at string) error {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           http.HandlerFunc(answer),
		TLSConfig:         certs.ServerTLS(w.source, certs.AuthorizeID(w.gateway), "h2", "http/1.1"),
		ReadHeaderTimeout: 10 * time.Second,
	}
	defer context.AfterFunc(ctx, func() { srv.Close() })() //nolint:errcheck // Serve returns the reason
	return ended(ctx, srv.ServeTLS(l, "", ""))
}

// ended is nil if the context says that it was to end.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // told to stop
	}
	return err
}

// answer sends back what it gets or, with ?ticks=N&every=D, N numbered lines,
// one each D.
func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("caller", r.Header.Get("x-forwarded-client-cert"))
	ticks, err := strconv.Atoi(r.URL.Query().Get("ticks"))
	if err != nil {
		io.Copy(w, r.Body) //nolint:errcheck // the caller sees what is missing
		return
	}
	every, err := time.ParseDuration(r.URL.Query().Get("every"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := range ticks {
		fmt.Fprintln(w, n)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// call makes each request that comes over the socket as the workload makes its
// own: through the gateway, to the request's Host.
func (w *workload) call(ctx context.Context, socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "https", r.In.Host
		},
		Transport: &http.Transport{
			TLSClientConfig:   certs.ClientTLS(w.source, certs.AuthorizeID(w.gateway), "h2", "http/1.1"),
			ForceAttemptHTTP2: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, w.attach)
			},
		},
		FlushInterval: -1,
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, err error) {
			http.Error(rw, "workload: "+err.Error(), http.StatusBadGateway)
		},
	}
	srv := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { srv.Close() })() //nolint:errcheck // Serve returns the reason
	return ended(ctx, srv.Serve(l))
}
