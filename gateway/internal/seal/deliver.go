package seal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// pieceBytes is the most that one message of an upload has.
	pieceBytes = 256 << 10
	// uploadTimeout bounds the upload of one part.
	uploadTimeout = 2 * time.Minute
)

// Connect reaches the control plane; nil to deliver nothing.
type Connect func(context.Context) (controlv1.SealedServiceClient, error)

// deliver uploads what is there, oldest crossing first, and removes what the control plane
// has: from then on that is the only one. It stops at the first that cannot be delivered
// now, and goes on after one that is refused for good, which stays until its retention is
// over.
func (s *Sealer) deliver(ctx context.Context) {
	if s.connect == nil {
		return
	}
	files, err := s.sys.List(s.dir) // by name, and crossings' ids rise with time
	if err != nil {
		s.log.Error("look for sealed contents", zap.Error(err))
		return
	}
	for _, f := range files {
		n, ok := parseName(f.Name)
		if !ok || n.state == open || n.state == refused {
			continue
		}
		switch err := s.upload(ctx, n); status.Code(err) { //nolint:exhaustive // the others are for a while
		case codes.OK:
			err = s.remove(n, f.Size)
			if err != nil {
				s.log.Error("delivered content not removed", zap.Error(err))
			}
		case codes.InvalidArgument, codes.AlreadyExists:
			s.log.Error("sealed content refused", zap.String("file", n.String()), zap.Error(err))
			if err := s.sys.Rename(n.in(s.dir), n.as(refused).in(s.dir)); err != nil {
				s.log.Error("refused content not set aside", zap.Error(err))
			}
		default:
			if ctx.Err() == nil {
				s.log.Debug("sealed content not delivered", zap.Error(err))
			}
			return
		}
	}
}

// upload gives one part to the control plane.
func (s *Sealer) upload(ctx context.Context, n name) error {
	text, err := disk.ReadFile(s.sys, n.in(s.dir))
	if err != nil {
		return err
	}
	meta, sealed, err := parse(text)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error()) // it never will be one
	}
	sum := sha256.Sum256(sealed)
	meta.Bytes, meta.Sha256 = uint64(len(sealed)), hex.EncodeToString(sum[:])
	meta.Cut, meta.Broken = n.state == cut, n.state == brokenOff
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	client, err := s.connect(ctx)
	if err != nil {
		return err
	}
	stream, err := client.UploadSealed(ctx)
	if err != nil {
		return err
	}
	err = stream.Send(&controlv1.UploadSealedRequest{Part: meta})
	for data := range slices.Chunk(sealed, pieceBytes) {
		if err == nil {
			err = stream.Send(&controlv1.UploadSealedRequest{Data: data})
		}
	}
	if err != nil && !errors.Is(err, io.EOF) { // of which the answer says why
		return fmt.Errorf("upload: %w", err)
	}
	_, err = stream.CloseAndRecv()
	return err
}
