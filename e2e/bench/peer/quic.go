package main

import (
	"context"
	"crypto/tls"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// quicConfig has windows that are no limit on any path of the benchmarks.
func quicConfig() *quic.Config {
	return &quic.Config{
		MaxIncomingStreams:             1 << 20,
		InitialStreamReceiveWindow:     4 << 20,
		MaxStreamReceiveWindow:         16 << 20,
		InitialConnectionReceiveWindow: 16 << 20,
		MaxConnectionReceiveWindow:     64 << 20,
		MaxIdleTimeout:                 5 * time.Minute,
		KeepAlivePeriod:                20 * time.Second,
	}
}

// quicStream gives a QUIC stream the words of a TCP connection.
type quicStream struct{ *quic.Stream }

func (s quicStream) CloseWrite() error { return s.Stream.Close() }

func (s quicStream) Close() error {
	s.CancelRead(0)
	return s.Stream.Close()
}

// openQUIC opens streams in one connection, dialled when first needed.
func openQUIC(target string, config *tls.Config) func() (duplex, error) {
	var mu sync.Mutex // guards conn
	var conn *quic.Conn
	return func() (duplex, error) {
		mu.Lock()
		defer mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if conn == nil || conn.Context().Err() != nil {
			fresh, err := quic.DialAddr(ctx, target, config, quicConfig())
			if err != nil {
				return nil, err
			}
			conn = fresh
		}
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			return nil, err
		}
		return quicStream{s}, nil
	}
}

func farQUIC(listen, target string, config *tls.Config, failed chan<- error) error {
	l, err := quic.ListenAddr(listen, config, quicConfig())
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept(context.Background())
			if err != nil {
				failed <- err
				return
			}
			go serveQUIC(conn, target)
		}
	}()
	return nil
}

func serveQUIC(conn *quic.Conn, target string) {
	for {
		s, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		go deliver(quicStream{s}, target)
	}
}
