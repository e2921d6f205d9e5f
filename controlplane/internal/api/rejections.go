package api

import (
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// rejections count the frames of each gateway that were refused for good. An
// honest gateway has none; whoever looks at a gateway sees that another has.
type rejections struct {
	mu sync.Mutex // guards of: one for each gateway that ever had any
	of map[spiffeid.ID]*rejected
}

type rejected struct {
	count uint64
	why   string
	at    time.Time
}

func newRejections() *rejections { return &rejections{of: map[spiffeid.ID]*rejected{}} }

// add counts a batch's.
func (r *rejections) add(gateway spiffeid.ID, batch []*controlv1.Rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.of[gateway]
	if n == nil {
		n = new(rejected)
		r.of[gateway] = n
	}
	n.count += uint64(len(batch))
	n.why, n.at = batch[len(batch)-1].GetWhy(), time.Now()
}

// tell adds what there is of a gateway to its status.
func (r *rejections) tell(gateway spiffeid.ID, s *controlv1.GatewayStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.of[gateway]; n != nil {
		s.Rejected, s.RejectedWhy, s.RejectedAt = n.count, n.why, timestamppb.New(n.at)
	}
}
