package statements

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxAhead is how far ahead of the control plane's clock a gateway's may be. A clock
// that is wrong by an hour is recorded as it is; one that is wrong by days would find
// every SVID expired, the gateway's own too.
const maxAhead = 24 * time.Hour

// Trust says whether a chain of certificates, leaf first, was an SVID of its trust
// domain at that time.
type Trust = statement.Trust

// Check says why a frame that crossing.CheckFrame accepted is not to be believed, in
// words that its gateway may read: it is from the future, or a statement that is not
// well formed, or another's. Trust judges the SVID of an announcement: later nobody
// could, when its root was replaced.
func Check(f *crossingv1.Frame, trust Trust, now time.Time) error {
	switch {
	case f.GetStatement() != nil:
		return checkStatement(f.GetStatement(), f.GetGateway(), now)
	case f.GetHeartbeat() != nil:
		return checkHeartbeat(f.GetHeartbeat(), f.GetGateway(), now)
	case f.GetAnnouncement() != nil:
		if err := checkAhead(now, f.GetAnnouncement().GetAt()); err != nil {
			return err
		}
		return checkAnnouncement(f.GetAnnouncement(), f.GetGateway(), trust, now)
	}
	return checkAhead(now, f.GetOpen().GetEnd().GetOpen(), f.GetProgress().GetAt(), f.GetOutage().GetEnded(),
		f.GetRefusal().GetSecond(), f.GetApplied().GetAt())
}

// checkAhead refuses what is from the future. What is old is late, and may come.
func checkAhead(now time.Time, times ...*timestamppb.Timestamp) error {
	for _, t := range times {
		if t != nil && t.AsTime().After(now.Add(maxAhead)) {
			return fmt.Errorf("it is of %s, which is %s in the future", t.AsTime().Format(time.RFC3339), t.AsTime().Sub(now).Round(time.Second))
		}
	}
	return nil
}

// checkStatement: who delivers a statement is one of those who made it.
func checkStatement(m *crossingv1.Statement, from string, now time.Time) error {
	s, err := statement.Read(m)
	switch {
	case err != nil:
		return err
	case from != s.Chain.Egress && from != s.Chain.Ingress:
		return fmt.Errorf("a statement between %.256q and %.256q, and it is neither", s.Chain.Egress, s.Chain.Ingress)
	case from == s.Chain.Ingress && s.Answer == nil:
		return errors.New("another gateway's claim without an answer of its own")
	}
	return checkAhead(now, s.Claim.GetAt(), s.Answer.GetAt())
}

// checkHeartbeat: who it is of, its signature says later. Until then it says so itself.
func checkHeartbeat(signed *crossingv1.SignedHeartbeat, from string, now time.Time) error {
	var h crossingv1.Heartbeat
	if err := proto.Unmarshal(signed.GetHeartbeat(), &h); err != nil {
		return fmt.Errorf("decode heartbeat: %w", err)
	}
	if h.GetGateway() != from {
		return fmt.Errorf("a heartbeat of %.256q", h.GetGateway())
	}
	return checkAhead(now, h.GetAt())
}

// checkAnnouncement: a gateway that brings its own has shown an SVID of today to do so,
// and may bring it late. Another's SVID must be good today.
func checkAnnouncement(a *crossingv1.Announcement, from string, trust Trust, now time.Time) error {
	judge := trust
	if a.GetGateway() != from {
		judge = func(chain []*x509.Certificate, _ time.Time) error { return trust(chain, now) }
	}
	_, err := statement.VerifyAnnouncement(a, a.GetGateway(), judge)
	return err
}
