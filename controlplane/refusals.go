package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/live"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// controlListener is how refusals name the control plane's own port.
	controlListener = "control"
	// refusalsEvery is how often they are stored; storing them at the end may
	// take refusalsLast.
	refusalsEvery = time.Second
	refusalsLast  = 2 * time.Second
)

// refusals counts who did not come to prove an identity to the control plane,
// and keeps the counts with those of the gateways.
type refusals struct {
	source *certs.Source
	counts *crossing.Refusals
	run    string
	keep   func(ctx context.Context, f *crossingv1.Frame) error
	log    *zap.Logger
}

func newRefusals(source *certs.Source, keep func(context.Context, *crossingv1.Frame) error, log *zap.Logger) *refusals {
	return &refusals{source: source, counts: crossing.NewRefusals(), run: crossing.NewRun(), keep: keep, log: log}
}

// newClients are the connections of whoever calls, which end when their SVIDs are
// not good any more. Both that and failed handshakes are counted.
func newClients(source *certs.Source, r *refusals) *live.Connections {
	return live.New(live.Config{Source: source, Authorize: certs.AuthorizeAny(), Refused: r.refuse, Ended: r.distrust})
}

// refuse counts a handshake that failed.
func (r *refusals) refuse(raw net.Conn, err error) { r.count(raw, "TLS handshake", err) }

// distrust counts a live connection whose SVID does not verify any more.
func (r *refusals) distrust(raw net.Conn, err error) { r.count(raw, "live connection", err) }

// count counts one, unless it was refused for no fault of the peer's.
func (r *refusals) count(raw net.Conn, what string, err error) {
	err = certs.HandshakeError(err)
	reason := crossingv1.Reason_NO_IDENTITY
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &notTLS):
		reason = crossingv1.Reason_MALFORMED
	case errors.Is(err, certs.ErrExpired):
		reason = crossingv1.Reason_EXPIRED_IDENTITY
	case errors.Is(err, certs.ErrUntrusted), errors.Is(err, certs.ErrNotSPIFFE), errors.Is(err, certs.ErrUnauthorized):
		reason = crossingv1.Reason_BAD_IDENTITY
	}
	if _, own := r.source.GetX509SVID(); own != nil {
		return // the handshake failed, or would have, because of ourselves
	}
	var addr netip.AddrPort
	if a, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		addr = a.AddrPort()
	}
	r.counts.Add(reason, addr, controlListener, fmt.Sprintf("%s: %v", what, err), time.Now())
}

// serve stores the counts of each second when it is over, until ctx ends.
func (r *refusals) serve(ctx context.Context) {
	ticker := time.NewTicker(refusalsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalsLast)
			defer cancel()
			r.store(last, time.Now().Add(time.Second)) // this second too: it is the last
			return
		case <-ticker.C:
			r.store(ctx, time.Now())
		}
	}
}

// store stores the counts of the seconds before a time. What cannot be stored
// is tried again with the next.
func (r *refusals) store(ctx context.Context, before time.Time) {
	for _, c := range r.counts.Take(before) {
		f := &crossingv1.Frame{Gateway: r.source.ID().String(), Run: r.run, Refusal: c}
		if err := r.keep(ctx, f); err != nil {
			r.counts.Merge(c)
			r.log.Error("refusals not stored", zap.Error(err))
		}
	}
}
