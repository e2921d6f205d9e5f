package render

import (
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// Transitions writes the table of `transitions`: every ordered pair of
// environments, those that are shut as well. FAILED are among the allowed. Under it
// is a line for each on which nobody states any more what crossed.
func Transitions(w io.Writer, transitions []*controlv1.TransitionStatus) error {
	g := NewGrid("TRANSITION", "STATE", "OWNER", "SINK", "REVIEW BY", "ALLOWED", "FAILED", "DENIED", "UNMATCHED", "STATEMENTS", "LAST EPOCH")
	wFrom, wTo := 0, 0
	for _, t := range transitions {
		wFrom, wTo = max(wFrom, columns(t.GetFrom())), max(wTo, columns(t.GetTo()))
	}
	for _, t := range transitions {
		state := "shut"
		if t.GetOpen() {
			state = "open"
		}
		g.Row(Padded(t.GetFrom(), t.GetTo(), wFrom, wTo), state, t.GetOwner(), t.GetSink(), t.GetReviewBy(),
			count(t.GetAllowed()), count(t.GetFailed()), count(t.GetDenied()), count(t.GetUnmatched()),
			stated(t.GetStatements()), moment(t.GetStatements().GetLast()))
	}
	if err := g.Flush(w); err != nil {
		return err
	}
	return silences(w, transitions)
}

// stated is how many statements there are, and how many findings on them.
func stated(s *controlv1.Statements) string {
	text := count(s.GetCount())
	if n := s.GetDifferences(); n > 0 {
		text += fmt.Sprintf(", %d unexplained", n)
	}
	return text
}

// silences writes a line for each transition that is silent.
func silences(w io.Writer, transitions []*controlv1.TransitionStatus) error {
	for _, t := range transitions {
		if t.GetStatements().GetSilent() == nil {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s has been silent since %s: sallyport unmatched\n",
			Pair(t.GetFrom(), t.GetTo()), moment(t.GetStatements().GetSilent())); err != nil {
			return err
		}
	}
	return nil
}

// Gateways writes the table of `gateways`, under it a line for each answer by which
// a gateway refused what it was sent and for each alarm about a bundle that it
// holds, and then the table of tunnels. Of a stopped
// mesh it is what was known last.
func Gateways(w io.Writer, gateways []*controlv1.GatewayStatus, stopped bool) error {
	g := NewGrid("GATEWAY", "ENVIRONMENT", "CONTROL PLANE", "POLICY", "ANSWER", "ANSWERED", "TUNNELS", "SPOOLED", "REPORTED")
	for _, s := range gateways {
		state, held := connected(s), gatewayPolicy(s)
		if stopped {
			state = "stopped"
			if s.GetRevision() == "" {
				held = "unknown"
			}
		}
		g.Row(s.GetName(), s.GetEnvironment(), state, held, answer(s), answeredAt(s), tunnels(s), spooled(s), reported(s))
	}
	if err := g.Flush(w); err != nil {
		return err
	}
	if err := nacks(w, gateways); err != nil {
		return err
	}
	if err := bundleAlarms(w, gateways); err != nil {
		return err
	}
	if err := outages(w, gateways); err != nil {
		return err
	}
	return tunnelsOf(w, gateways)
}

// tunnelsOf writes the table of tunnels as those report them who dialled them, so
// that each stands there once.
func tunnelsOf(w io.Writer, gateways []*controlv1.GatewayStatus) error {
	g := NewGrid("TUNNEL", "CARRIER", "TLS", "STREAMS", "ROUND TRIP", "LOSS", "UP SINCE")
	for _, s := range gateways {
		for _, t := range s.GetReport().GetTunnels() {
			if !t.GetDialed() {
				continue
			}
			carrier := t.GetCarrier()
			if t.GetBulk() {
				carrier += ", bulk"
			}
			g.Row(s.GetName()+" ─► "+Name(t.GetPeer()), carrier, t.GetTls(), strconv.FormatUint(uint64(t.GetStreams()), 10),
				measured(t), strconv.FormatFloat(100*t.GetLoss(), 'f', 1, 64)+" %", since(t))
		}
	}
	if len(g.rows) == 0 {
		return nil
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	return g.Flush(w)
}

func measured(t *controlv1.TunnelStatus) string {
	if t.GetRoundTrip() == nil {
		return ""
	}
	return span(t.GetRoundTrip())
}

func since(t *controlv1.TunnelStatus) string {
	if t.GetSince() == nil {
		return ""
	}
	return t.GetSince().AsTime().UTC().Format(time.RFC3339)
}

func connected(s *controlv1.GatewayStatus) string {
	if s.GetConnected() {
		return "connected"
	}
	return "not connected"
}

func gatewayPolicy(s *controlv1.GatewayStatus) string {
	if s.GetRevision() == "" {
		return "none"
	}
	return strconv.FormatUint(s.GetSerial(), 10) + " " + Short(s.GetRevision())
}

// answer is the worst of a gateway's last answers: one NACK is a NACK.
func answer(s *controlv1.GatewayStatus) string {
	if len(s.GetAcks()) == 0 {
		return ""
	}
	for _, a := range s.GetAcks() {
		if a.GetNack() != "" {
			return "NACK"
		}
	}
	return "ACK"
}

// answeredAt is when a gateway answered last.
func answeredAt(s *controlv1.GatewayStatus) string {
	var last time.Time
	for _, a := range s.GetAcks() {
		if at := a.GetAt(); at != nil && at.AsTime().After(last) {
			last = at.AsTime()
		}
	}
	if last.IsZero() {
		return ""
	}
	return last.UTC().Format(time.RFC3339)
}

// tunnels counts a gateway's tunnels by peer: "2 (aws-1, azure-1)".
func tunnels(s *controlv1.GatewayStatus) string {
	if s.GetReport() == nil {
		return ""
	}
	peers := map[string]int{}
	for _, t := range s.GetReport().GetTunnels() {
		peers[Name(t.GetPeer())]++
	}
	names := make([]string, 0, len(peers))
	for name, n := range peers {
		if n > 1 {
			name += " ×" + strconv.Itoa(n)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "0"
	}
	sort.Strings(names)
	return fmt.Sprintf("%d (%s)", len(s.GetReport().GetTunnels()), strings.Join(names, ", "))
}

func spooled(s *controlv1.GatewayStatus) string {
	if s.GetReport() == nil {
		return ""
	}
	return Size(s.GetReport().GetSpooled())
}

func reported(s *controlv1.GatewayStatus) string {
	if s.GetReported() == nil {
		return "never"
	}
	return s.GetReported().AsTime().UTC().Format(time.RFC3339)
}

func nacks(w io.Writer, gateways []*controlv1.GatewayStatus) error {
	for _, s := range gateways {
		for _, a := range s.GetAcks() {
			if a.GetNack() == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "%s refused %s version %s: %s\n", Printable(s.GetName()),
				Printable(a.GetTypeUrl()), Printable(a.GetVersion()), Printable(a.GetNack())); err != nil {
				return err
			}
		}
	}
	return nil
}

// outages writes a line for each gateway that could not record for a time.
func outages(w io.Writer, gateways []*controlv1.GatewayStatus) error {
	for _, s := range gateways {
		o := s.GetOutage()
		if o == nil {
			continue
		}
		text := fmt.Sprintf("%s could not record from %s to %s (%s", Printable(s.GetName()), moment(o.GetBegan()), moment(o.GetEnded()), o.GetCause())
		if o.GetDetail() != "" {
			text += ": " + Printable(o.GetDetail())
		}
		if _, err := fmt.Fprintf(w, "%s); %d crossings were refused, %d went on\n", text, o.GetRefused(), o.GetUnrecorded()); err != nil {
			return err
		}
	}
	return nil
}

// bundleAlarms writes a line for each alarm: what a gateway holds of another trust
// domain is not confirmed, ends soon, or was refused.
func bundleAlarms(w io.Writer, gateways []*controlv1.GatewayStatus) error {
	for _, s := range gateways {
		for _, b := range s.GetReport().GetBundles() {
			for _, alarm := range alarmsOf(b) {
				if _, err := fmt.Fprintf(w, "%s has an alarm for the bundle of %s: %s\n",
					Printable(s.GetName()), Printable(b.GetTrustDomain()), alarm); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func alarmsOf(b *controlv1.BundleStatus) (alarms []string) {
	if b.GetStale() {
		alarms = append(alarms, "stale: nobody has confirmed it since "+b.GetRefreshed().AsTime().UTC().Format(time.RFC3339))
	}
	switch {
	case b.GetExpiring() && b.GetEnds() == nil:
		alarms = append(alarms, "expiring: it has no root")
	case b.GetExpiring():
		alarms = append(alarms, "expiring: the last of its roots ends "+b.GetEnds().AsTime().UTC().Format(time.RFC3339))
	}
	if b.GetRefused() != "" {
		alarms = append(alarms, "refused: "+Printable(b.GetRefused()))
	}
	return alarms
}

// Bindings writes the table of `workloads bindings`.
func Bindings(w io.Writer, bindings []*controlv1.Binding) error {
	g := NewGrid("WORKLOAD", "ENVIRONMENT", "ENDPOINTS", "ADDRESSES", "EXPIRES", "SOURCE")
	for _, b := range bindings {
		expires := "never"
		if b.GetExpires() != nil {
			expires = b.GetExpires().AsTime().UTC().Format(time.RFC3339)
		}
		g.Row(b.GetWorkload(), b.GetEnvironment(), pairs(b.GetEndpoints()), strings.Join(b.GetAddresses(), ", "), expires, b.GetSource())
	}
	return g.Flush(w)
}

// pairs is a map as sorted "key=value" words.
func pairs(m map[string]string) string {
	words := make([]string, 0, len(m))
	for k, v := range m {
		words = append(words, k+"="+v)
	}
	sort.Strings(words)
	return strings.Join(words, ", ")
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }
