package digest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// BenchmarkContent is the CPU time of contents of one write each.
func BenchmarkContent(b *testing.B) {
	for name, size := range map[string]int{"1KiB": 1 << 10, "32KiB": 32 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			piece := make([]byte, size)
			var c Content
			b.ReportAllocs()
			began := threadTime(b)
			for b.Loop() {
				c.Write(piece)
				c.Finish()
			}
			reportByte(b, threadTime(b)-began, b.N*size)
		})
	}
}

// BenchmarkRelay is what a gateway's digest stands beside: bytes that come by TLS
// over TCP and go on by TLS over TCP, in pieces of 32 KiB. Its cost is the CPU time
// of the thread that relays.
func BenchmarkRelay(b *testing.B) {
	b.Run("bare", func(b *testing.B) { relay(b, nil) })
	b.Run("digested", func(b *testing.B) { relay(b, new(Content)) })
}

func relay(b *testing.B, c *Content) {
	in, source := pair(b)
	sink, out := pair(b)
	go func() {
		buf := make([]byte, 1<<20)
		for {
			if _, err := source.Write(buf); err != nil {
				return
			}
		}
	}()
	go io.Copy(io.Discard, sink)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, 32<<10)
	n := 0
	b.ReportAllocs()
	began := threadTime(b)
	for b.Loop() {
		k, err := in.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		if c != nil {
			c.Write(buf[:k])
		}
		if _, err := out.Write(buf[:k]); err != nil {
			b.Fatal(err)
		}
		n += k
	}
	reportByte(b, threadTime(b)-began, n)
}

// reportByte reports CPU time in place of time, which others share.
func reportByte(b *testing.B, spent time.Duration, bytes int) {
	b.ReportMetric(float64(spent.Nanoseconds())/float64(bytes), "cpu-ns/byte")
}

// threadTime is the CPU time of this thread.
func threadTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// pair is both ends of a TLS connection over loopback.
func pair(b *testing.B) (server, client *tls.Conn) {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"relay"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		b.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		nc, _ := ln.Accept()
		accepted <- nc
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	client = tls.Client(nc, &tls.Config{RootCAs: roots, ServerName: "relay", MinVersion: tls.VersionTLS13})
	server = tls.Server(<-accepted, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13,
	})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}
