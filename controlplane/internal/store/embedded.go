package store

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

const (
	// maxPayload is the largest message: a signed policy of 8 MiB with room.
	maxPayload = 16 << 20
	// maxMemory bounds JetStream's memory streams, in bytes. We have none but the
	// consumers' own state.
	maxMemory = 64 << 20
	// readyTimeout bounds the embedded server's start. It recovers its files in it.
	readyTimeout = time.Minute
)

// embedded is a NATS server in this process. It has no listener: the only way
// in is an in-process connection.
type embedded struct {
	nats *server.Server
	lock *dirLock
}

// startEmbedded starts a server over dir and takes the directory's lock.
func startEmbedded(dir string, maxBytes int64, log *zap.Logger) (*embedded, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockExclusive(dir)
	if err != nil {
		return nil, err
	}
	e := &embedded{lock: lock}
	if err := e.start(dir, maxBytes, log); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *embedded) start(dir string, maxBytes int64, log *zap.Logger) error {
	nats, err := server.NewServer(&server.Options{
		ServerName:             "sallyport",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               dir,
		SyncAlways:             true,
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      maxBytes,
		MaxPayload:             maxPayload,
		MaxPending:             2 * maxPayload,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return fmt.Errorf("make the embedded nats server: %w", err)
	}
	e.nats = nats
	nats.SetLogger(natsLogger{log.Named("nats").Sugar()}, false, false)
	nats.Start()
	if !nats.ReadyForConnections(readyTimeout) || !nats.JetStreamEnabled() {
		return fmt.Errorf("start the embedded nats server: jetstream was not ready within %s; its log says why", readyTimeout)
	}
	return nil
}

// close stops the server and lets go of the directory.
func (e *embedded) close() error {
	if e.nats != nil {
		e.nats.Shutdown()
		e.nats.WaitForShutdown()
	}
	return e.lock.release()
}

// natsLogger turns the server's log into ours. Its notices and warnings are about
// nothing that our operators act on, such as what it finds and mends after it was
// killed, so they are debug: what it cannot do, a write's error says.
type natsLogger struct{ log *zap.SugaredLogger }

func (l natsLogger) Noticef(format string, v ...any) { l.log.Debugf(format, v...) }
func (l natsLogger) Errorf(format string, v ...any)  { l.log.Errorf(format, v...) }
func (l natsLogger) Warnf(format string, v ...any)   { l.log.Debugf(format, v...) }
func (l natsLogger) Debugf(format string, v ...any)  { l.log.Debugf(format, v...) }
func (l natsLogger) Tracef(format string, v ...any)  { l.log.Debugf(format, v...) }

// Fatalf is an error here: a library does not end our process.
func (l natsLogger) Fatalf(format string, v ...any) { l.log.Errorf(format, v...) }
