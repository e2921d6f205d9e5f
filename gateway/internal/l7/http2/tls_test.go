package http2

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Letting go of buffers interrupts a read, which TLS must outlive.
func TestIdleOverTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		cert := selfSigned(t)
		x := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
		y := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}})
		client, server := Client(x, Config{Secure: true}), Server(y, y, Config{Secure: true}, echo)
		ended := make(chan error, 2)
		go func() { ended <- client.Run() }()
		go func() { ended <- server.Run() }()
		for range 3 {
			s, err := client.Open(&l7.RequestHead{Method: "POST", Authority: "h", Path: "/"}, false)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := s.End(nil); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(s); string(got) != "hello" || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
			synctestSleep(25 * time.Second)
			for _, c := range [...]*Conn{client, server} {
				c.mu.Lock()
				if !c.tending.napped {
					t.Error("the connection has not let go of its buffers")
				}
				c.mu.Unlock()
			}
		}
		client.Close()
		<-ended
		<-ended
	})
}
