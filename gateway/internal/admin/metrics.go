package admin

import (
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Metrics counts what a gateway does. Each label is always there and has one of
// few values; counters are found once, so that counting is one atomic addition.
type Metrics struct {
	registry *prometheus.Registry
	opened   map[sideDecision]prometheus.Counter
	closed   map[sideCause]prometheus.Counter
	bytes    map[sideDirection]prometheus.Counter
	denied   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	choices  map[choice]prometheus.Counter
	moves    *prometheus.CounterVec
	delays   map[crossingv1.Side]prometheus.Observer
	epochs   *prometheus.CounterVec
	alone    *prometheus.CounterVec
	differed *prometheus.CounterVec
	mistold  *prometheus.CounterVec
}

type (
	sideDecision struct {
		side     crossingv1.Side
		decision crossingv1.Decision
	}
	sideCause struct {
		side  crossingv1.Side
		cause crossingv1.Cause
	}
	sideDirection struct {
		side    crossingv1.Side
		request bool
	}
	choice struct {
		carrier string
		class   tunnel.Class
		choice  tunnel.Choice
	}
)

// NewMetrics makes metrics that are all 0.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		opened:   map[sideDecision]prometheus.Counter{},
		closed:   map[sideCause]prometheus.Counter{},
		bytes:    map[sideDirection]prometheus.Counter{},
		denied:   vector("denials_total", "Crossings denied, by reason.", "reason"),
		refused:  vector("refusals_total", "Failures before there was an identity, by reason.", "reason"),
		choices:  map[choice]prometheus.Counter{},
		delays:   map[crossingv1.Side]prometheus.Observer{},
		epochs:   vector("epochs_stated_total", "Epochs that this gateway and a peer have stated, by this gateway's side.", "side"),
		alone:    vector("epochs_alone_total", "Epochs that this gateway has stated alone, by its side: a peer was silent.", "side"),
		differed: vector("statement_differences_total", "Numbers of crossings on which the two gateways do not say the same, by kind.", "kind"),
		mistold:  vector("statement_refusals_total", "What peers said of epochs and was refused, by reason.", "reason"),
		moves:    vector("carrier_moves_total", "Crossings that a carrier went on with because their first one fell silent before an answer came.", "carrier", "class"),
	}
	opened := vector("crossings_opened_total", "Crossings opened, by this gateway's side and decision.", "side", "decision")
	closed := vector("crossings_closed_total", "Crossings closed, by this gateway's side and the cause of their end.", "side", "cause")
	delays := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "sallyport", Subsystem: "gateway", Name: "event_delay_seconds",
		Help:    "How long a piece of an event stream was in this gateway, from its having been read until it was written on, by side.",
		Buckets: []float64{1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 1e-1, 1},
	}, []string{"side"})
	bytes := vector("payload_bytes_total", "Payload of closed crossings, by this gateway's side and direction.", "side", "direction")
	for _, side := range []crossingv1.Side{crossingv1.Side_EGRESS, crossingv1.Side_INGRESS} {
		for _, d := range []crossingv1.Decision{crossingv1.Decision_ALLOW, crossingv1.Decision_DENY} {
			m.opened[sideDecision{side, d}] = opened.WithLabelValues(label(side.String()), label(d.String()))
		}
		for n, name := range crossingv1.Cause_name {
			m.closed[sideCause{side, crossingv1.Cause(n)}] = closed.WithLabelValues(label(side.String()), label(name))
		}
		m.delays[side] = delays.WithLabelValues(label(side.String()))
		m.bytes[sideDirection{side, true}] = bytes.WithLabelValues(label(side.String()), "request")
		m.bytes[sideDirection{side, false}] = bytes.WithLabelValues(label(side.String()), "response")
	}
	choices := vector("carrier_choices_total", "Choices of a carrier for a crossing, and why.", "carrier", "class", "choice")
	for _, carrier := range []string{tunnel.TCP, tunnel.QUIC} {
		for _, class := range []tunnel.Class{tunnel.Interactive, tunnel.Bulk} {
			for _, c := range []tunnel.Choice{tunnel.Usual, tunnel.Lossy, tunnel.Failover} {
				m.choices[choice{carrier, class, c}] = choices.WithLabelValues(label(carrier), class.String(), c.String())
			}
		}
	}
	m.registry.MustRegister(opened, closed, bytes, m.denied, m.refused, choices, m.moves, delays,
		m.epochs, m.alone, m.differed, m.mistold,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func vector(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "sallyport", Subsystem: "gateway", Name: name, Help: help,
	}, labels)
}

func label(name string) string { return strings.ToLower(name) }

// Chose counts a choice of a carrier.
func (m *Metrics) Chose(carrier string, class tunnel.Class, c tunnel.Choice) {
	if n := m.choices[choice{carrier, class, c}]; n != nil {
		n.Inc()
	}
}

// Moved counts a crossing that went on by another carrier.
func (m *Metrics) Moved(carrier string, class tunnel.Class) {
	m.moves.WithLabelValues(label(carrier), class.String()).Inc()
}

// Delayed takes how long a piece of an event stream was in this gateway.
func (m *Metrics) Delayed(side crossingv1.Side, delay time.Duration) {
	if o := m.delays[side]; o != nil {
		o.Observe(delay.Seconds())
	}
}

// Stated counts an epoch, alone if the peer did not answer.
func (m *Metrics) Stated(side crossingv1.Side, alone bool) {
	of := m.epochs
	if alone {
		of = m.alone
	}
	of.WithLabelValues(label(side.String())).Inc()
}

// Differed counts numbers on which two gateways do not say the same.
func (m *Metrics) Differed(kind crossingv1.Difference_Kind, numbers int) {
	m.differed.WithLabelValues(label(kind.String())).Add(float64(numbers))
}

// Mistold counts what a peer said of epochs and was refused.
func (m *Metrics) Mistold(reason string) { m.mistold.WithLabelValues(reason).Inc() }

// Meter counts what goes into the spool: the record is what there is to count.
type Meter struct {
	*recorder.Recorder
	metrics *Metrics
}

// Meter makes a meter before a recorder.
func (m *Metrics) Meter(r *recorder.Recorder) *Meter { return &Meter{r, m} }

// Open counts and records a crossing that opens.
func (m *Meter) Open(h *crossingv1.Half, durable, goesOn bool) error {
	err := m.Recorder.Open(h, durable, goesOn)
	if err != nil {
		m.metrics.denied.WithLabelValues(label(crossingv1.Reason_NOT_RECORDED.String())).Inc()
		return err
	}
	if c := m.metrics.opened[sideDecision{h.GetSide(), h.GetEnd().GetDecision()}]; c != nil {
		c.Inc()
	}
	if h.GetEnd().GetDecision() == crossingv1.Decision_DENY {
		m.metrics.denied.WithLabelValues(label(h.GetEnd().GetReason().String())).Inc()
	}
	return nil
}

// Close counts and records a crossing that ends.
func (m *Meter) Close(c *crossingv1.Close) error {
	if n := m.metrics.closed[sideCause{c.GetSide(), c.GetCause()}]; n != nil {
		n.Inc()
		m.metrics.bytes[sideDirection{c.GetSide(), true}].Add(float64(c.GetRequestBytes()))
		m.metrics.bytes[sideDirection{c.GetSide(), false}].Add(float64(c.GetResponseBytes()))
	}
	return m.Recorder.Close(c)
}

// Refuse counts and records a failure before there was an identity.
func (m *Meter) Refuse(reason crossingv1.Reason, addr netip.AddrPort, listener, detail string) {
	m.metrics.refused.WithLabelValues(label(reason.String())).Inc()
	m.Recorder.Refuse(reason, addr, listener, detail)
}
