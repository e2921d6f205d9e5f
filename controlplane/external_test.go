package controlplane

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
)

// externalNATS runs a NATS server, and is its URL.
func externalNATS(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return s.ClientURL()
}

// TestDirectoriesBesideNATS: with an external store, logs and records are kept where the
// configuration says. If it does not, a warning says so, and answers come from memory.
func TestDirectoriesBesideNATS(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.stop()
	p.config.Dir, p.config.NATS, p.config.LogDir, p.config.RecordsDir = "", externalNATS(t), t.TempDir(), t.TempDir()
	p.start()
	p.publish(1, "")
	p.deliverBoth()
	p.awaitCounted(1)
	if p.cp.logs == nil {
		t.Error("no log is kept")
	}
	if _, err := records.OpenSQLite(t.Context(), p.config.RecordsDir); !errors.Is(err, records.ErrInUse) {
		t.Errorf("records are not kept in %s: %v", p.config.RecordsDir, err)
	}
	p.stop()
	core, said := observer.New(zapcore.WarnLevel)
	p.config.LogDir, p.config.RecordsDir, p.config.Log = "", "", zap.New(core)
	p.start()
	p.awaitCounted(1)
	for _, key := range []string{"logDir", "recordsDir"} {
		if said.Filter(func(e observer.LoggedEntry) bool { return strings.Contains(e.Message, "set "+key) }).Len() != 1 {
			t.Errorf("no warning says to set %s: %v", key, said.All())
		}
	}
}
