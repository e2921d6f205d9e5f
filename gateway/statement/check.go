package statement

import (
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// CheckFrame says whether what a frame says of statements may have come from that
// gateway, which crossing.CheckFrame leaves open. Whether it was signed, it does not
// say. Frames with anything else are fine.
func CheckFrame(f *crossingv1.Frame, gateway spiffeid.ID) error {
	switch {
	case f.GetStatement() != nil:
		return checkStated(f.GetStatement(), gateway.String())
	case f.GetHeartbeat() != nil:
		beat, err := ReadHeartbeat(f.GetHeartbeat())
		if err == nil && beat.GetGateway() != gateway.String() {
			err = fmt.Errorf("it is of %.256q", beat.GetGateway())
		}
		if err != nil {
			return fmt.Errorf("heartbeat: %w", err)
		}
	case f.GetAnnouncement() != nil:
		if err := checkAnnouncement(f.GetAnnouncement(), gateway.String()); err != nil {
			return fmt.Errorf("announcement: %w", err)
		}
	}
	return nil
}

func checkStated(s *crossingv1.Statement, gateway string) error {
	st, err := Read(s)
	switch {
	case err != nil:
		return err
	case st.Chain.Egress == gateway:
		return nil
	case st.Chain.Ingress != gateway:
		return errors.New("statement: it is of a chain between others")
	case st.Answer == nil:
		return errors.New("statement: an ingress gateway's without its answer")
	}
	return nil
}

// RootsOf are the roots over one gateway's frames of the claim's numbers, to compare
// with those that it signed. open and end give the encoded frame of a number; empty
// if there is none. Those of an ingress gateway have no end of a number that is
// Deferred.
func (s *Stated) RootsOf(open, end func(n uint64) []byte) *crossingv1.Roots {
	var lists [2]list
	for n := s.Claim.GetFirst(); n < s.Claim.GetNext(); n++ {
		addLeaf(&lists[0].tree, open(n))
	}
	for _, n := range s.closed {
		addLeaf(&lists[1].tree, end(n))
	}
	return rootsOf(&lists)
}

func addLeaf(t *tree, frame []byte) {
	leaf := Leaf(frame)
	t.add(&leaf)
}
