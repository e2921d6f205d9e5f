// Command peer is one end of a bare pair that the benchmarks compare gateways
// with: it takes plain TCP connections at one end, carries them over mutual
// TLS, QUIC or HTTP/2, and makes plain TCP connections of them at the other.
// It decides nothing, counts nothing and records nothing: it is the floor that
// a gateway stands on. As a proxy it takes and makes HTTP requests instead, by
// the standard library's own means.
//
//	peer -mode tls|quic|h2|proxy -end near|far -listen HOST:PORT -target HOST:PORT -certs DIR
//	peer -end backend -listen HOST:PORT
//
// The certificates are DIR/ca.crt, DIR/END.crt and DIR/END.key. The second form
// is the backend behind every pair. It prints
// "ready" when it listens, and ends when its standard input does, so that it
// never outlives the test that started it.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/sallyport-mesh/sallyport/e2e/bench/load"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// A duplex is a byte stream of which each direction ends by itself.
type duplex interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// options are the command line.
type options struct {
	mode, end, listen, target, certs string
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	var o options
	flags := flag.NewFlagSet("peer", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.mode, "mode", "tls", "what carries the bytes: tls, quic or h2; or proxy")
	flags.StringVar(&o.end, "end", "near", "near takes plain connections, far makes them; or backend")
	flags.StringVar(&o.listen, "listen", "", "HOST:PORT to listen at")
	flags.StringVar(&o.target, "target", "", "HOST:PORT of the far end, or of the backend")
	flags.StringVar(&o.certs, "certs", "", "directory of the certificates")
	if err := flags.Parse(args); err != nil {
		return err
	}
	failed := make(chan error, 1)
	if err := o.serve(failed); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "ready")
	go func() {
		_, err := io.Copy(io.Discard, stdin)
		failed <- err
	}()
	return <-failed
}

// serve listens, and serves until the process ends.
func (o options) serve(failed chan<- error) error {
	if o.end == "backend" {
		l, err := net.Listen("tcp", o.listen)
		if err == nil {
			go load.Serve(l)
		}
		return err
	}
	config, err := o.tls()
	if err != nil {
		return err
	}
	if o.mode == "proxy" {
		return o.proxy(config, failed)
	}
	if o.end == "near" {
		open, err := o.opener(config)
		if err != nil {
			return err
		}
		return near(o.listen, open, failed)
	}
	switch o.mode {
	case "tls":
		return farTLS(o.listen, o.target, config, failed)
	case "quic":
		return farQUIC(o.listen, o.target, config, failed)
	case "h2":
		return farH2(o.listen, o.target, config, failed)
	}
	return fmt.Errorf("unknown mode %q", o.mode)
}

// opener makes streams to the far end.
func (o options) opener(config *tls.Config) (func() (duplex, error), error) {
	switch o.mode {
	case "tls":
		return func() (duplex, error) { return tls.Dial("tcp", o.target, config) }, nil
	case "quic":
		return openQUIC(o.target, config), nil
	case "h2":
		return openH2(o.target, config), nil
	}
	return nil, fmt.Errorf("unknown mode %q", o.mode)
}

// tls is mutual TLS 1.3 with the other end's SPIFFE ID.
func (o options) tls() (*tls.Config, error) {
	other, known := map[string]string{"near": "far", "far": "near"}[o.end]
	if !known {
		return nil, fmt.Errorf("unknown end %q", o.end)
	}
	base := filepath.Join(o.certs, o.end)
	pair, err := tls.LoadX509KeyPair(base+".crt", base+".key")
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(o.certs, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		RootCAs:      roots,
		ClientCAs:    roots,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ServerName:   "gateway-" + other,
		NextProtos:   []string{"bench"},
		// As the C proxies are told to: no resumption is for them to lose by.
		CurvePreferences:       []tls.CurveID{tls.X25519},
		SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			want := "spiffe://bench.test/gateway/" + other
			if !slices.ContainsFunc(uris(s.PeerCertificates[0]), func(u string) bool { return u == want }) {
				return errors.New("the other end is not " + want)
			}
			return nil
		},
	}, nil
}

func uris(cert *x509.Certificate) []string {
	var out []string
	for _, u := range cert.URIs {
		out = append(out, u.String())
	}
	return out
}

// near takes plain connections and gives each a stream.
func near(listen string, open func() (duplex, error), failed chan<- error) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	go accept(l, failed, func(c net.Conn) {
		s, err := open()
		if err != nil {
			c.Close()
			return
		}
		relay(c.(*net.TCPConn), s)
	})
	return nil
}
