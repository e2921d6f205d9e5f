// Command legacy plays programs in tests that know nothing of a mesh: they connect to
// addresses, and show nothing. It is no part of the product.
//
//	legacy serve ECHO TLS   says on ECHO again what it hears, and resets on "reset"; serves HTTPS as llm.azure.mesh on TLS
//	legacy say ADDR TEXT    says TEXT, and prints the answer until its end
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "legacy:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "serve":
		return serve(args[1], args[2])
	case len(args) == 3 && args[0] == "say":
		return say(args[1], args[2])
	}
	return errors.New("usage: legacy serve ECHO TLS | say ADDR TEXT")
}

func say(addr, text string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, c)
	return err
}

func serve(echoes, sealed string) error {
	l, err := net.Listen("tcp", echoes)
	if err != nil {
		return err
	}
	cert, err := certificate("llm.azure.mesh")
	if err != nil {
		return err
	}
	srv := &http.Server{
		Addr:              sealed,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		ReadHeaderTimeout: 10 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "sealed\n") }), //nolint:errcheck // the caller sees what is missing
	}
	failed := make(chan error, 2)
	go func() { failed <- srv.ListenAndServeTLS("", "") }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				failed <- err
				return
			}
			go echo(c.(*net.TCPConn))
		}
	}()
	return <-failed
}

// echo says again what the caller says, once it has said all.
func echo(c *net.TCPConn) {
	defer c.Close() //nolint:errcheck // the caller sees how it ends
	text, err := io.ReadAll(c)
	if err != nil || string(text) == "reset" {
		c.SetLinger(0) //nolint:errcheck // then it ends in another way, and the test fails
		return
	}
	c.Write(text) //nolint:errcheck // the caller sees what is missing
}

// certificate is one that nobody vouches for.
func certificate(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
