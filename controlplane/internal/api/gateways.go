package api

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/budgets"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/xds"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// maxTunnels bounds a report: a gateway holds a few tunnels to each peer.
	maxTunnels = 4096
	// maxBundles bounds it too: one for each trust domain.
	maxBundles = 4096
	// maxReportText bounds each text in a report, in bytes, and maxRefused those that
	// say why bundles were refused.
	maxReportText = 256
	maxRefused    = 16 << 10
)

// Bootstrap is what a gateway's bootstrap file says of this control plane.
type Bootstrap struct {
	// Address is its host:port, ID its SPIFFE ID, Bundle its trust domain's SPIFFE
	// bundle document.
	Address, ID, Bundle string
}

// report is a gateway's last word.
type report struct {
	said *controlv1.ReportRequest
	at   time.Time
}

// gateways serves GatewayService.
type gateways struct {
	controlv1.UnimplementedGatewayServiceServer

	config     Config
	policies   *policies
	rejections *rejections
	memory     *memory
	budgets    *budgets.Book

	// mu guards reports: one for each gateway that was ever in the policy.
	mu      sync.Mutex
	reports map[spiffeid.ID]report
}

// ListGateways are the policy's gateways and what is known of each, by
// environment and name.
func (g *gateways) ListGateways(context.Context, *controlv1.ListGatewaysRequest) (*controlv1.ListGatewaysResponse, error) {
	return &controlv1.ListGatewaysResponse{Gateways: g.list()}, nil
}

func (g *gateways) list() []*controlv1.GatewayStatus {
	p := g.policies.compiled()
	if p == nil {
		return nil
	}
	states := map[spiffeid.ID]xds.Status{}
	for _, state := range g.config.Gateways.Gateways() {
		states[state.ID] = state
	}
	all := make([]*controlv1.GatewayStatus, 0, len(p.Gateways()))
	for _, gw := range p.Gateways() {
		status := g.status(gw, states[gw.ID])
		g.memory.recall(status)
		all = append(all, status)
	}
	slices.SortFunc(all, func(a, b *controlv1.GatewayStatus) int {
		return cmp.Or(cmp.Compare(a.GetEnvironment(), b.GetEnvironment()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return all
}

func (g *gateways) status(gw policy.Gateway, state xds.Status) *controlv1.GatewayStatus {
	status := &controlv1.GatewayStatus{
		Name:        gw.Name,
		Environment: gw.Environment,
		Id:          gw.ID.String(),
		Connected:   state.Connected,
		Serial:      state.Serial,
		Revision:    state.Revision,
		Outage:      g.config.Records.Outage(gw.ID.String()),
	}
	for _, a := range state.Acks {
		status.Acks = append(status.Acks, &controlv1.ResourceAck{
			TypeUrl: a.TypeURL, Version: a.Version, Nack: a.Nack, At: timestamppb.New(a.At),
		})
	}
	g.rejections.tell(gw.ID, status)
	g.mu.Lock()
	defer g.mu.Unlock()
	if last, ok := g.reports[gw.ID]; ok {
		status.Report, status.Reported = last.said, timestamppb.New(last.at)
	}
	return status
}

// Report takes a gateway's own word. Whose it is, its SVID says.
func (g *gateways) Report(ctx context.Context, req *controlv1.ReportRequest) (*controlv1.ReportResponse, error) {
	caller, err := Peer(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkReport(req); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reports[caller] = report{said: req, at: time.Now()}
	return &controlv1.ReportResponse{}, nil
}

// checkReport bounds what one gateway can make the control plane remember.
func checkReport(req *controlv1.ReportRequest) error {
	if n := len(req.GetTunnels()); n > maxTunnels {
		return invalid("the report has %d tunnels, the most is %d", n, maxTunnels)
	}
	texts := []string{req.GetRun(), req.GetRevision()}
	for _, t := range req.GetTunnels() {
		texts = append(texts, t.GetPeer(), t.GetCarrier(), t.GetTls())
	}
	if n := len(req.GetBundles()); n > maxBundles {
		return invalid("the report has %d bundles, the most is %d", n, maxBundles)
	}
	for _, b := range req.GetBundles() {
		texts = append(texts, b.GetTrustDomain(), b.GetOrigin())
		if n := len(b.GetRefused()); n > maxRefused {
			return invalid("the report says in %d bytes why a bundle was refused, the most is %d", n, maxRefused)
		}
	}
	for _, text := range texts {
		if len(text) > maxReportText {
			return invalid("the report has a text of %d bytes, the most is %d", len(text), maxReportText)
		}
	}
	return nil
}

// ShareBudgets takes what a gateway has counted, and tells it what the others of its
// environment have. Which one that is, its SVID and the policy in force say.
func (g *gateways) ShareBudgets(ctx context.Context, req *controlv1.ShareBudgetsRequest) (*controlv1.ShareBudgetsResponse, error) {
	caller, err := Peer(ctx)
	if err != nil {
		return nil, err
	}
	p := g.policies.compiled()
	if p == nil || p.GatewayByID(caller) == nil {
		return nil, denied("%s is no gateway of the policy in force", caller)
	}
	self := *p.GatewayByID(caller)
	var members []string
	for _, gw := range p.Gateways() {
		if gw.Environment == self.Environment {
			members = append(members, gw.Name)
		}
	}
	resp, err := g.budgets.Share(self, members, req, time.Now())
	switch {
	case errors.Is(err, budgets.ErrStale):
		return nil, precondition("%v", err)
	case errors.Is(err, budgets.ErrInvalid):
		return nil, invalid("%v", err)
	}
	return resp, err
}

// GetBootstrap is what a gateway's bootstrap file needs from the control plane.
func (g *gateways) GetBootstrap(_ context.Context, req *controlv1.GetBootstrapRequest) (*controlv1.GetBootstrapResponse, error) {
	p := g.policies.compiled()
	if p == nil {
		return nil, precondition("no policy was published yet, so there are no gateways")
	}
	all := p.Gateways()
	i := slices.IndexFunc(all, func(gw policy.Gateway) bool { return gw.Name == req.GetGateway() })
	if i < 0 {
		return nil, missing("the policy in force has no gateway %q", req.GetGateway())
	}
	self, err := g.config.Bootstrap()
	if err != nil {
		return nil, err
	}
	return &controlv1.GetBootstrapResponse{
		Environment: all[i].Environment,
		TrustDomain: all[i].ID.TrustDomain().Name(),
		Tunnel:      all[i].Tunnel,
		Address:     self.Address,
		Id:          self.ID,
		Bundle:      self.Bundle,
	}, nil
}
