package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/sealed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// maxListed is how many parts an answer has at most.
const maxListed = 1000

// sealedService serves SealedService.
type sealedService struct {
	controlv1.UnimplementedSealedServiceServer

	kept *sealed.Store // nil if none is kept
	logs Logs          // nil if none are kept
	log  *zap.Logger
}

func (s *sealedService) keeps() error {
	if s.kept == nil {
		return precondition("no sealed content is kept here: set dir or sealedDir")
	}
	return nil
}

// UploadSealed takes a part from the gateway that sealed it.
func (s *sealedService) UploadSealed(stream grpc.ClientStreamingServer[controlv1.UploadSealedRequest, controlv1.UploadSealedResponse]) error {
	caller, err := Peer(stream.Context())
	if err == nil {
		err = s.keeps()
	}
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return invalid("there is no part")
	}
	if err != nil {
		return err
	}
	now := time.Now()
	if err := sealed.Check(first.GetPart(), caller, now); err != nil {
		return err
	}
	if len(first.GetData()) > 0 {
		return invalid("the first message has bytes of the part: it says what the part is, and nothing more")
	}
	err = s.kept.Put(first.GetPart(), func() ([]byte, error) {
		r, err := stream.Recv()
		if err == nil && r.GetPart() != nil {
			return nil, invalid("a part begins within another one")
		}
		return r.GetData(), err
	}, now)
	if err != nil {
		return err
	}
	return stream.SendAndClose(&controlv1.UploadSealedResponse{})
}

// ListSealed are the parts of one crossing, or of all.
func (s *sealedService) ListSealed(_ context.Context, req *controlv1.ListSealedRequest) (*controlv1.ListSealedResponse, error) {
	all, err := s.list(req.GetCrossing())
	return &controlv1.ListSealedResponse{Parts: all}, err
}

// list says in the log what cannot be read: one file that is damaged does not hide the others.
func (s *sealedService) list(id string) ([]*controlv1.SealedPart, error) {
	if err := s.keeps(); err != nil {
		return nil, err
	}
	all, err := s.kept.List(id, maxListed, time.Now())
	if err != nil && !errors.Is(err, sealed.ErrInvalid) {
		s.log.Error("sealed contents that cannot be read", zap.Error(err))
		err = nil
	}
	return all, err
}

// OpenSealed gives parts of a crossing, each after it was entered in the log that the caller
// was given it.
func (s *sealedService) OpenSealed(req *controlv1.OpenSealedRequest, stream grpc.ServerStreamingServer[controlv1.OpenSealedResponse]) error {
	caller, err := Peer(stream.Context())
	if err != nil {
		return err
	}
	if req.GetCrossing() == "" {
		return invalid("crossing: which one?")
	}
	all, err := s.list(req.GetCrossing())
	if err != nil {
		return err
	}
	given := 0
	for _, p := range all {
		if req.GetPart() != controlv1.SealedPart_PART_UNSPECIFIED && req.GetPart() != p.GetPart() {
			continue
		}
		if err := s.give(stream, caller, p); err != nil {
			return err
		}
		given++
	}
	if given == 0 {
		return missing("nothing is kept of the content of the crossing %s", req.GetCrossing())
	}
	return nil
}

func (s *sealedService) give(stream grpc.ServerStreamingServer[controlv1.OpenSealedResponse], caller spiffeid.ID, p *controlv1.SealedPart) error {
	if err := s.enter(stream.Context(), caller, p); err != nil {
		return err
	}
	if err := stream.Send(&controlv1.OpenSealedResponse{Part: p}); err != nil {
		return err
	}
	return s.kept.Give(p, func(data []byte) error { return stream.Send(&controlv1.OpenSealedResponse{Data: data}) })
}

// enter has it in the log of the gateway's environment that the caller is given a part, on
// return. Other acts are entered after they are done, but what was given cannot be taken
// back.
func (s *sealedService) enter(ctx context.Context, caller spiffeid.ID, p *controlv1.SealedPart) error {
	if s.logs == nil {
		return precondition("no log is kept here in which it could be entered that a content was given: set logDir")
	}
	gateway, err := spiffeid.FromString(p.GetGateway())
	if err != nil {
		return err
	}
	act := &logv1.Act{By: caller.String(), Opened: &logv1.Opened{
		Crossing: p.GetCrossing(), Gateway: p.GetGateway(), Part: strings.ToLower(p.GetPart().String()),
		Intent: p.GetIntent(), Reviewer: p.GetReviewer(), Sha256: p.GetSha256(),
		Given: timestamppb.Now(),
	}}
	if err := s.logs.Add(ctx, gateway.TrustDomain().Name(), &logv1.Entry{Act: act}); err != nil {
		return fmt.Errorf("%w: %w", errNotEntered, err)
	}
	return nil
}

// errNotEntered says that a content was not given, because nobody could have known later.
var errNotEntered = errors.New("that a content was given cannot be entered in the log")
