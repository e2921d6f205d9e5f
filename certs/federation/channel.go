package federation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// minBackoff and maxBackoff are how long a channel waits before it connects
	// again: half to all of a time that doubles between the two.
	minBackoff = 250 * time.Millisecond
	maxBackoff = 10 * time.Second
	// publishTimeout bounds one call.
	publishTimeout = 10 * time.Second
	// publishAgain is when what the control plane refused is offered again.
	publishAgain = 30 * time.Second
	// maxMessage is the largest message that is read: a statement fits.
	maxMessage = 1 << 20
)

// Channel is an authority's side of the control channel: it hands over what the
// publisher signs and takes in what others have signed. The control plane is not
// believed, it only carries.
type Channel struct {
	// Address is the control plane's host:port.
	Address string
	// ID is its SPIFFE ID.
	ID spiffeid.ID
	// Publisher has what to say, and the SVIDs to come with.
	Publisher *Publisher
	// Keeper takes in the others', and knows the control plane's trust domain.
	Keeper *Keeper
	// Log may be nil.
	Log *zap.Logger

	dialer grpc.DialOption // in tests, which have no sockets
}

// Run keeps the channel until ctx ends. It comes with the SVID under the oldest
// root that has not expired, and then with the next: a control plane that has not
// heard of the newest root can still be told of it.
func (c *Channel) Run(ctx context.Context) error {
	log := c.Log
	if log == nil {
		log = zap.NewNop()
	}
	log = log.Named("federation").With(zap.String("control_plane", c.Address))
	for wait, turn := minBackoff, 0; ; {
		start := time.Now()
		heard, err := c.session(ctx, turn, log)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop
		}
		turn++
		if heard {
			turn = 0
		}
		log.Warn("no channel to the control plane", zap.Error(err), zap.Duration("again_in_at_most", wait))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
		switch n := len(c.Publisher.SVIDs()); {
		case time.Since(start) > 2*maxBackoff:
			wait = minBackoff
		case heard || n > 0 && turn%n == 0: // all were tried
			wait = min(2*wait, maxBackoff)
		}
	}
}

// session is one connection. It says whether the control plane was heard on it.
func (c *Channel) session(ctx context.Context, turn int, log *zap.Logger) (heard bool, err error) {
	conn, err := c.dial(turn)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	client := controlv1.NewBundleServiceClient(conn)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.publish(ctx, client, log, &heard) })
	group.Go(func() error { return c.watch(ctx, client) })
	err = group.Wait()
	return heard, err
}

// Lacking asks the control plane who follows this trust domain's bundle and has none
// of that sequence number yet, nor a later one: their SPIFFE IDs.
func (c *Channel) Lacking(ctx context.Context, sequence uint64) (who []string, err error) {
	for turn := range max(1, len(c.Publisher.SVIDs())) {
		var resp *controlv1.ListHoldersResponse
		if resp, err = c.holders(ctx, turn); err != nil {
			continue // it may know another root
		}
		for _, h := range resp.GetHolders() {
			if h.GetSequence() < sequence {
				who = append(who, h.GetId())
			}
		}
		return who, nil
	}
	return nil, fmt.Errorf("ask the control plane at %s: %w", c.Address, err)
}

func (c *Channel) holders(ctx context.Context, turn int) (*controlv1.ListHoldersResponse, error) {
	conn, err := c.dial(turn)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	return controlv1.NewBundleServiceClient(conn).ListHolders(ctx, &controlv1.ListHoldersRequest{})
}

func (c *Channel) dial(turn int) (*grpc.ClientConn, error) {
	svids := c.Publisher.SVIDs()
	if len(svids) == 0 {
		return nil, errors.New("there is no SVID to connect with")
	}
	source := c.source(svids[turn%len(svids)])
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(c.ID), "h2"))),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	}
	if c.dialer != nil {
		options = append(options, c.dialer)
	}
	return grpc.NewClient("passthrough:///"+c.Address, options...)
}

// source is one SVID, with which this trust domain's own control plane is known
// as well as another's.
func (c *Channel) source(svid *x509svid.SVID) *certs.Source {
	own := c.Publisher.Bundle()
	s := certs.NewStaticSource(svid, x509bundle.NewSet(own.X509Bundle()), jwtbundle.NewSet(), nil)
	s.SetForeign(ownAnchor{c.Keeper})
	return s
}

// ownAnchor is a keeper whose anchors count as well.
type ownAnchor struct{ *Keeper }

// X509Bundle is the bundle held, or the anchor before there is one.
func (a ownAnchor) X509Bundle(td spiffeid.TrustDomain) *x509bundle.Bundle {
	b, err := a.GetX509BundleForTrustDomain(td)
	if err != nil {
		return nil
	}
	return b
}

// publish hands over each new signature. What the control plane has judged and
// refused is offered again later: it may have been asked too soon.
func (c *Channel) publish(ctx context.Context, client controlv1.BundleServiceClient, log *zap.Logger, heard *bool) error {
	for {
		signed, changed := c.Publisher.Latest()
		call, cancel := context.WithTimeout(ctx, publishTimeout)
		_, err := client.Publish(call, &controlv1.PublishBundleRequest{Signed: signed})
		cancel()
		var again <-chan time.Time
		switch status.Code(err) {
		case codes.OK:
			*heard = true
		case codes.FailedPrecondition, codes.InvalidArgument:
			*heard = true
			log.Error("the control plane does not take the bundle", zap.Error(err))
			again = time.After(publishAgain)
		default:
			return fmt.Errorf("publish bundle: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-again:
		}
	}
}

// watch takes in what others have signed. What is not taken is among the keeper's
// states, and is no reason to hear no more.
func (c *Channel) watch(ctx context.Context, client controlv1.BundleServiceClient) error {
	stream, err := client.Watch(ctx, &controlv1.WatchBundlesRequest{})
	if err != nil {
		return fmt.Errorf("watch bundles: %w", err)
	}
	for {
		signed, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("watch bundles: %w", err)
		}
		_ = c.Keeper.Accept(signed)
	}
}
