package gateway

import (
	"context"

	"github.com/sallyport-mesh/sallyport/gateway/internal/seal"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// leastParts is how many of the largest parts there must be room for: fewer than two
// crossings at a time is a gateway that refuses them.
const leastParts = 4

func (b *bootstrap) checkSealed() error {
	s := b.GetSealed()
	switch part, total := s.GetPartBytes(), s.GetTotalBytes(); {
	case part > seal.MaxPart:
		return fault("sealed.partBytes", "want %d at most, not %d", seal.MaxPart, part)
	case total != 0 && total < seal.Room(part, leastParts):
		return fault("sealed.totalBytes", "want %d at least, for two crossings, not %d", seal.Room(part, leastParts), total)
	case total > 1<<60:
		return fault("sealed.totalBytes", "want %d at most, not %d", uint64(1<<60), total)
	}
	return nil
}

// seal makes what keeps contents.
func (g *Gateway) seal(b *bootstrap) (err error) {
	g.sealer, err = seal.Open(seal.Config{
		Dir: b.GetStateDir(), Gateway: b.self.String(),
		PartBytes: b.GetSealed().GetPartBytes(), TotalBytes: b.GetSealed().GetTotalBytes(),
		Connect: func(context.Context) (controlv1.SealedServiceClient, error) {
			return controlv1.NewSealedServiceClient(g.conn), nil
		},
		Log: g.log.Named("seal"),
	})
	return err
}
