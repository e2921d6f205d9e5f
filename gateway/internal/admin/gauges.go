package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// State is what a gateway is like when somebody asks.
type State struct {
	Serial  uint64             // of the policy in force; 0 if none
	Spooled uint64             // bytes that wait for an acknowledgement
	Outage  *crossingv1.Outage // of the spool; nil if crossings are recorded
	Silent  int                // pairs of gateways of which the other one is silent
	Tunnels []tunnel.Info
	Bundles []*controlv1.BundleStatus // of other trust domains
	// NotReady is why the gateway can carry nothing; nil if it can.
	NotReady error
}

// gauges reads the state when it is asked for, never in between.
type gauges struct{ state func() State }

var (
	serialDesc  = desc("policy_serial", "Serial of the policy in force; 0 if there is none.")
	spoolDesc   = desc("spool_bytes", "Records that wait for an acknowledgement, in bytes.")
	outageDesc  = desc("spool_outage", "1 if crossings cannot be recorded, by cause; others go on as the policy says.", "cause")
	lostDesc    = desc("spool_outage_crossings", "Crossings of the outage that lasts: refused for it, or unrecorded until it ends.", "outcome")
	silentDesc  = desc("silent_pairs", "Chains of statements whose other gateway is silent.")
	tunnelsDesc = desc("tunnels", "Tunnels that are up.", "peer", "carrier", "class")
	streamsDesc = desc("streams", "Streams open in tunnels.", "peer", "carrier", "class")
	tripDesc    = desc("tunnel_round_trip_seconds", "Longest round trip of the tunnels, as last measured.", "peer", "carrier", "class")
	lossDesc    = desc("tunnel_loss_ratio", "Greatest share of packets lost lately.", "peer", "carrier", "class")

	sequenceDesc  = desc("bundle_sequence", "Sequence number of the bundle held of a trust domain.", "trust_domain")
	refreshedDesc = desc("bundle_refreshed_seconds", "When the bundle held was last confirmed, in seconds since 1970.", "trust_domain")
	endsDesc      = desc("bundle_ends_seconds", "When the last root of the bundle held ends, in seconds since 1970.", "trust_domain")
	alarmDesc     = desc("bundle_alarm", "1 if the bundle held is stale, if all its roots expire soon, or if the last one that came was refused.", "trust_domain", "alarm")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sallyport_gateway_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{serialDesc, spoolDesc, silentDesc, outageDesc, lostDesc, tunnelsDesc, streamsDesc, tripDesc, lossDesc, sequenceDesc, refreshedDesc, endsDesc, alarmDesc} {
		ch <- d
	}
}

// way is a kind of tunnels to one peer.
type way struct{ peer, carrier, class string }

type sum struct{ tunnels, streams, trip, loss float64 }

// Collect implements prometheus.Collector.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	s := g.state()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(serialDesc, float64(s.Serial))
	gauge(spoolDesc, float64(s.Spooled))
	gauge(silentDesc, float64(s.Silent))
	for cause, on := range outages(s.Outage) {
		gauge(outageDesc, on, cause)
	}
	gauge(lostDesc, float64(s.Outage.GetRefused()), "refused")
	gauge(lostDesc, float64(s.Outage.GetUnrecorded()), "unrecorded")
	for w, t := range byWay(s.Tunnels) {
		gauge(tunnelsDesc, t.tunnels, w.peer, w.carrier, w.class)
		gauge(streamsDesc, t.streams, w.peer, w.carrier, w.class)
		gauge(tripDesc, t.trip, w.peer, w.carrier, w.class)
		gauge(lossDesc, t.loss, w.peer, w.carrier, w.class)
	}
	for _, b := range s.Bundles {
		td := b.GetTrustDomain()
		gauge(sequenceDesc, float64(b.GetSequence()), td)
		gauge(refreshedDesc, float64(b.GetRefreshed().GetSeconds()), td)
		gauge(endsDesc, float64(b.GetEnds().GetSeconds()), td)
		for alarm, on := range map[string]bool{"stale": b.GetStale(), "expiring": b.GetExpiring(), "refused": b.GetRefused() != ""} {
			v := 0.0
			if on {
				v = 1
			}
			gauge(alarmDesc, v, td, alarm)
		}
	}
}

// outages is 1 for the cause of an outage, and 0 for all others.
func outages(o *crossingv1.Outage) map[string]float64 {
	causes := map[string]float64{}
	for n, name := range crossingv1.Outage_Cause_name {
		if cause := crossingv1.Outage_Cause(n); cause != crossingv1.Outage_CAUSE_UNSPECIFIED {
			causes[label(name)] = 0
			if o != nil && cause == o.GetCause() {
				causes[label(name)] = 1
			}
		}
	}
	return causes
}

func byWay(tunnels []tunnel.Info) map[way]sum {
	ways := map[way]sum{}
	for _, i := range tunnels {
		w := way{i.Peer.String(), label(i.Carrier), i.Class.String()}
		t := ways[w]
		t.tunnels++
		t.streams += float64(i.Streams)
		t.trip = max(t.trip, i.RoundTrip.Seconds())
		t.loss = max(t.loss, i.Loss)
		ways[w] = t
	}
	return ways
}
