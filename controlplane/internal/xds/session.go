package xds

import (
	"context"
	"maps"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxNack bounds what is kept of a gateway's error, in bytes.
const maxNack = 1024

// session is one stream of one gateway. Its callbacks are called by the
// stream's one goroutine; seen and named are that goroutine's own.
type session struct {
	server *Server
	id     spiffeid.ID
	caches *cache.MuxCache
	end    context.CancelCauseFunc
	named  bool            // the gateway said that it is who it is
	seen   map[string]bool // type URLs that were asked for

	// Guarded by the server's mu.
	run    string // of the gateway's process; empty if it did not say
	record *record
	sent   map[string]*sent // the last response of each type URL
}

// sent is a response that was sent.
type sent struct {
	nonce    string
	version  string
	versions map[string]string // of the resources in it, by name
	removed  []string
}

var _ delta.Callbacks = (*session)(nil)

// OnDeltaStreamOpen does nothing: the stream was admitted before.
func (c *session) OnDeltaStreamOpen(context.Context, int64, string) error { return nil }

// OnDeltaStreamClosed does nothing: the server's handler ends the session.
func (c *session) OnDeltaStreamClosed(int64, *core.Node) {}

// OnStreamDeltaRequest judges a request and keeps what the gateway answers.
func (c *session) OnStreamDeltaRequest(_ int64, req *discovery.DeltaDiscoveryRequest) error {
	if err := c.check(req); err != nil {
		c.server.log.Warn("request refused", zap.Stringer("peer", c.id), zap.Error(err))
		return err
	}
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	typ := req.GetTypeUrl()
	if len(c.seen) == 0 {
		c.run = req.GetNode().GetMetadata().GetFields()[runField].GetStringValue()
		s.replace(c)
	}
	if !c.seen[typ] {
		c.seen[typ] = true
		// What the gateway holds is what it says now, not what an earlier
		// stream made us believe.
		c.record.held[typ] = maps.Clone(req.GetInitialResourceVersions())
	}
	if req.GetResponseNonce() != "" {
		c.answer(req)
	}
	s.settle(c.record)
	s.notify()
	return nil
}

// check refuses a request that does not name the stream's own peer, or asks
// for what is not served.
func (c *session) check(req *discovery.DeltaDiscoveryRequest) error {
	if node := req.GetNode(); node != nil {
		if node.GetId() != c.id.String() {
			return status.Errorf(codes.PermissionDenied, "node %.256q is not this stream's peer", node.GetId())
		}
		c.named = true
	}
	if !c.named {
		return status.Error(codes.InvalidArgument, "the first request names no node")
	}
	switch req.GetTypeUrl() {
	case TypePolicy, TypeState, TypeActs, TypeEndpoints, TypeBundle:
		return nil
	}
	return status.Errorf(codes.InvalidArgument, "resources of type %.256q are not served", req.GetTypeUrl())
}

// answer keeps an ACK or a NACK of the last response of its type; of an
// earlier one it says nothing any more. A NACK may be followed by an ACK of the
// same response, once the gateway could use it after all.
func (c *session) answer(req *discovery.DeltaDiscoveryRequest) {
	typ := req.GetTypeUrl()
	last := c.sent[typ]
	if last == nil || last.nonce != req.GetResponseNonce() {
		return
	}
	ack := Ack{TypeURL: typ, Version: last.version, At: time.Now()}
	if e := req.GetErrorDetail(); e != nil {
		ack.Nack = bounded(e.GetMessage())
		c.server.log.Warn("gateway refused resources", zap.Stringer("gateway", c.id),
			zap.String("type_url", typ), zap.String("version", last.version), zap.String("error", ack.Nack))
	}
	c.record.answered(ack, last)
}

func bounded(message string) string {
	switch {
	case message == "":
		return "refused without a reason"
	case len(message) > maxNack:
		return strings.ToValidUTF8(message[:maxNack], "")
	}
	return message
}

// OnStreamDeltaResponse keeps what is about to be sent, for the answer to it.
func (c *session) OnStreamDeltaResponse(_ int64, req *discovery.DeltaDiscoveryRequest, resp *discovery.DeltaDiscoveryResponse) {
	out := &sent{
		nonce: resp.GetNonce(), version: resp.GetSystemVersionInfo(),
		versions: map[string]string{}, removed: resp.GetRemovedResources(),
	}
	for _, r := range resp.GetResources() {
		out.versions[r.GetName()] = r.GetVersion()
	}
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	c.sent[req.GetTypeUrl()] = out
}
