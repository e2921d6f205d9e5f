package authority

import (
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
	"github.com/sallyport-mesh/sallyport/certs/internal/unixsock"
)

// endpoint is a Workload API's socket with the entries that are served there.
type endpoint struct {
	socket   string
	entries  []*entry
	listener net.Listener
}

func (e *endpoint) ids() []spiffeid.ID {
	ids := make([]spiffeid.ID, 0, len(e.entries))
	for _, one := range e.entries {
		ids = append(ids, one.ID)
	}
	return ids
}

// asks are what each entry asks of a process.
func (e *endpoint) asks() []attest.Selectors {
	asks := make([]attest.Selectors, 0, len(e.entries))
	for _, one := range e.entries {
		asks = append(asks, one.asks)
	}
	return asks
}

// mode lets other users connect only where an entry may be one of theirs.
func (e *endpoint) mode() fs.FileMode {
	for _, one := range e.entries {
		if !one.asks.OnlyUID(ownUID()) {
			return 0o666
		}
	}
	return 0o600
}

// bindAll binds each socket once. With an error come those that are bound.
func bindAll(entries []*entry) ([]*endpoint, error) {
	var all []*endpoint
	bySocket := map[string]*endpoint{}
	for _, e := range entries {
		at := bySocket[e.Socket]
		if at == nil {
			at = &endpoint{socket: e.Socket}
			bySocket[e.Socket] = at
			all = append(all, at)
		}
		at.entries = append(at.entries, e)
	}
	for i, at := range all {
		l, err := unixsock.Listen(at.socket, at.mode())
		if err != nil {
			return all[:i], fmt.Errorf("bind Workload API: %w", err)
		}
		at.listener = l
	}
	return all, nil
}

func unbind(all []*endpoint) {
	for _, e := range all {
		_ = e.listener.Close() // closed by the server already where it ran
	}
}

func ownUID() uint32 { return uint32(os.Getuid()) }
