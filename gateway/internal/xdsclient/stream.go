package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport-mesh/sallyport/certs/federation"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

const (
	// maxMessage is the largest response that is read, in bytes: a policy of
	// the largest size with its signatures fits.
	maxMessage = 16 << 20
	// stateWait is how long a state waits for the policy that it names before
	// it is refused.
	stateWait = 2 * time.Second
	// maxNack bounds the error that the control plane is told, in bytes.
	maxNack = 1024
)

// session is one stream. All but the receiver is one goroutine's.
type session struct {
	*Client
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	owed   *owed // the state that has no ACK yet; nil if none
	timer  *time.Timer
}

// owed is the answer to a PolicyState. It is held until the policy that the
// state names is in force, because an ACK says so.
type owed struct {
	resp  *discovery.DeltaDiscoveryResponse
	until time.Time // after it, the answer is a NACK; an ACK may still follow
	nack  string    // what was said last
}

// stream opens a stream and serves it until it breaks. It says whether the
// control plane was heard on it.
func (c *Client) stream(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	stream, err := c.open(ctx)
	if err != nil {
		return false, fmt.Errorf("open a stream to the control plane: %w", err)
	}
	responses := make(chan *discovery.DeltaDiscoveryResponse)
	group.Go(func() error { return receive(ctx, stream, responses) })
	group.Go(func() error {
		s := &session{Client: c, stream: stream, timer: time.NewTimer(stateWait)}
		defer s.timer.Stop()
		var err error
		heard, err = s.serve(ctx, responses)
		return err
	})
	err = group.Wait()
	return heard, err
}

// open opens a stream as soon as there is a connection. If the control plane
// cannot be reached, the reason is logged once, and then waited for in silence.
func (c *Client) open(ctx context.Context) (discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, error) {
	client := discovery.NewAggregatedDiscoveryServiceClient(c.conn)
	stream, err := client.DeltaAggregatedResources(ctx, grpc.MaxCallRecvMsgSize(maxMessage))
	if status.Code(err) != codes.Unavailable {
		return stream, err
	}
	c.log.Warn("control plane not reached, waiting for it", zap.Error(err))
	return client.DeltaAggregatedResources(ctx, grpc.MaxCallRecvMsgSize(maxMessage), grpc.WaitForReady(true))
}

func receive(ctx context.Context, stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, to chan<- *discovery.DeltaDiscoveryResponse) error {
	for {
		resp, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive from the control plane: %w", err)
		}
		select {
		case to <- resp:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *session) serve(ctx context.Context, responses <-chan *discovery.DeltaDiscoveryResponse) (heard bool, err error) {
	if err := s.subscribe(); err != nil {
		return false, err
	}
	for {
		select {
		case resp := <-responses:
			heard = true
			s.hear()
			err = s.handle(resp)
		case <-s.timer.C:
			err = s.settle()
		case <-ctx.Done():
			return heard, ctx.Err()
		}
		if err == nil {
			err = s.takeActs()
		}
		if err != nil {
			return heard, err
		}
	}
}

// subscribe asks for everything, and says what is here already.
func (s *session) subscribe() error {
	s.ledger.owed = nil // it was another stream's
	state := map[string]string{}
	if s.stateVersion != "" {
		state[stateName] = s.stateVersion
	}
	all := []*discovery.DeltaDiscoveryRequest{
		{TypeUrl: typePolicy, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: s.book.versions()},
		{TypeUrl: typeState, ResourceNamesSubscribe: []string{stateName}, InitialResourceVersions: state},
		{TypeUrl: typeActs, ResourceNamesSubscribe: []string{actsName}, InitialResourceVersions: s.ledger.versions()},
		{TypeUrl: typeEndpoints, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: s.table.versions()},
	}
	if s.bundles != nil {
		all = append(all, &discovery.DeltaDiscoveryRequest{TypeUrl: typeBundle, ResourceNamesSubscribe: []string{"*"}})
	}
	for _, req := range all {
		req.Node = &core.Node{Id: s.node.String(), Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"run": structpb.NewStringValue(s.run),
		}}}
		if err := s.send(req); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) send(req *discovery.DeltaDiscoveryRequest) error {
	if err := s.stream.Send(req); err != nil {
		return fmt.Errorf("send to the control plane: %w", err)
	}
	return nil
}

// handle takes a response and answers it, or owes the answer.
func (s *session) handle(resp *discovery.DeltaDiscoveryResponse) error {
	switch resp.GetTypeUrl() {
	case typePolicy:
		err := s.book.accept(resp)
		s.showPolicies()
		if err := s.answer(resp, err); err != nil {
			return err
		}
		return s.settle() // it may be the one that a state waits for
	case typeState:
		s.stateVersion = ""
		if err := s.book.want(resp); err != nil {
			s.owed = nil
			return s.answer(resp, err)
		}
		s.owed = &owed{resp: resp, until: time.Now().Add(stateWait)}
		return s.settle()
	case typeActs:
		s.ledger.owe(resp)
		return nil
	case typeEndpoints:
		err := s.table.accept(resp)
		s.showEndpoints()
		if err := s.table.save(); err != nil {
			// The next start would begin with older ones: worth a word, not a refusal.
			s.log.Warn("endpoints are not kept", zap.Error(err))
		}
		return s.answer(resp, err)
	case typeBundle:
		return s.answer(resp, s.take(resp))
	}
	return fmt.Errorf("the control plane sent resources of type %.128q", resp.GetTypeUrl())
}

// take hands over signed bundles. What is good in a response counts; the error
// names what is not. One that the control plane no longer has stays what it is, and
// one of a trust domain that this gateway has nothing to do with is for others.
func (s *session) take(resp *discovery.DeltaDiscoveryResponse) error {
	var errs []error
	for _, r := range resp.GetResources() {
		signed := &configv1.SignedBundle{}
		err := unpack(r.GetResource(), signed)
		if err == nil && s.bundles != nil {
			err = s.bundles.Accept(signed)
		}
		if err != nil && !errors.Is(err, federation.ErrUnknown) {
			errs = append(errs, fmt.Errorf("bundle %.80q: %w", r.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// settle puts in force what the state wants, and gives the answer that is owed
// for it. What cannot be done yet, or failed, is tried again.
func (s *session) settle() error {
	err := s.book.settle(time.Now())
	s.showPolicies()
	if err != nil {
		s.timer.Reset(stateWait)
	}
	if s.owed == nil {
		return nil
	}
	if err == nil {
		resp := s.owed.resp
		s.owed = nil
		for _, r := range resp.GetResources() {
			s.stateVersion = r.GetVersion()
		}
		s.agree()
		return s.answer(resp, nil)
	}
	if errors.Is(err, errNotYet) && time.Now().Before(s.owed.until) {
		s.timer.Reset(time.Until(s.owed.until))
		return nil
	}
	if err.Error() == s.owed.nack {
		return nil
	}
	s.owed.nack = err.Error()
	return s.answer(s.owed.resp, err)
}

// answer sends an ACK, or a NACK with the error.
func (s *session) answer(resp *discovery.DeltaDiscoveryResponse, err error) error {
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
	if err != nil {
		message := err.Error()
		s.log.Error("resources refused", zap.String("type_url", resp.GetTypeUrl()), zap.Error(err))
		req.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: strings.ToValidUTF8(message[:min(len(message), maxNack)], "")}
	}
	return s.send(req)
}
