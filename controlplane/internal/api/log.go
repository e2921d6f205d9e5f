package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/evidence"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// Logs are the environments' logs, by the names of their trust domains.
type Logs interface {
	// Add appends entries to a log and returns when they are durable.
	Add(ctx context.Context, td string, entries ...*logv1.Entry) error
	// Readers are the logs.
	Readers() map[string]*translog.Reader
	// Failed are those that take nothing more, and why.
	Failed() map[string]error
	// Witnesses are asked to cosign all of them.
	Witnesses() []translog.Witness
	// Cosigned is how far each witness has come with a log.
	Cosigned(td string) []translog.Cosigned
}

// entries are what of a batch goes to the log of its gateway's environment, and accepted
// without what is too large for a log, which is rejected in ack.
func (c *crossings) entries(caller spiffeid.ID, batch *controlv1.Batch, accepted []checked, ack *controlv1.Ack) ([]*logv1.Entry, []checked) {
	if c.config.Logs == nil {
		return nil, accepted
	}
	var entries []*logv1.Entry
	accepted = slices.DeleteFunc(accepted, func(a checked) bool {
		data := batch.GetFrames()[a.index]
		if !translog.Takes(a.frame) {
			return false
		}
		if len(data) > translog.MaxFrame {
			reject(ack, a.index, caller, fmt.Errorf("it has %d bytes, and a log takes %d at most", len(data), translog.MaxFrame))
			return true
		}
		entries = append(entries, &logv1.Entry{Frame: data})
		return false
	})
	return entries, accepted
}

// enter makes entries durable in a gateway's environment's log.
func (c *crossings) enter(ctx context.Context, caller spiffeid.ID, entries []*logv1.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return c.config.Logs.Add(ctx, caller.TrustDomain().Name(), entries...)
}

// logs serves LogService.
type logs struct {
	controlv1.UnimplementedLogServiceServer

	config  Config
	journal *journal
}

// ListLogs are the logs, by trust domain.
func (l *logs) ListLogs(ctx context.Context, _ *controlv1.ListLogsRequest) (*controlv1.ListLogsResponse, error) {
	resp := new(controlv1.ListLogsResponse)
	if l.config.Logs == nil {
		return resp, nil
	}
	all, failed := l.config.Logs.Readers(), l.config.Logs.Failed()
	names := slices.Collect(maps.Keys(all))
	for td := range failed {
		if all[td] == nil {
			names = append(names, td)
		}
	}
	slices.Sort(names)
	for _, td := range names {
		s := &controlv1.LogStatus{TrustDomain: td}
		if r := all[td]; r != nil {
			s.Key = r.Key()
			if c, err := r.Checkpoint(ctx); err == nil {
				s.Checkpoint = string(c.Note)
			}
			if c, err := r.Cosigned(); err == nil {
				s.Checkpoint = string(c.Note)
			}
		}
		if err := failed[td]; err != nil {
			s.Failed = err.Error()
		}
		s.Witnesses = witnessed(l.config.Logs.Cosigned(td))
		resp.Logs = append(resp.Logs, s)
	}
	return resp, nil
}

// witnessed is how far witnesses have come, as answers have it.
func witnessed(all []translog.Cosigned) (out []*controlv1.WitnessStatus) {
	for _, c := range all {
		s := &controlv1.WitnessStatus{Name: c.Witness, Size: c.Size}
		if c.Failed != nil {
			s.Failed = c.Failed.Error()
		}
		out = append(out, s)
	}
	return out
}

// Prove gives the proof of a crossing.
func (l *logs) Prove(ctx context.Context, req *controlv1.ProveRequest) (*controlv1.ProveResponse, error) {
	if l.config.Logs == nil {
		return nil, precondition("no log is kept here")
	}
	j, err := l.record(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	of := j.Record.GetEvidence()
	x := evidence.Crossing{
		Key:  &crossingv1.Key{Egress: j.Egress, Ingress: j.Ingress, Run: of.GetRun(), Sequence: of.GetSequence()},
		Side: crossingv1.Side_EGRESS, Both: req.GetBoth(), Opened: crossing.Opened(j.Record).AsTime(),
	}
	if j.Record.GetEgress() == nil {
		x.Side = crossingv1.Side_INGRESS
	}
	from := l.proofs()
	from.Cosigned = len(l.config.Logs.Witnesses()) > 0 && !req.GetUncosigned()
	proof, err := from.Prove(ctx, x)
	if errors.Is(err, evidence.ErrNotYet) {
		return nil, status.Errorf(codes.Unavailable, "%v: ask again in a few seconds", err)
	}
	if err != nil {
		return nil, err
	}
	l.read(ctx, "proof of "+req.GetId())
	return &controlv1.ProveResponse{Proof: proof}, nil
}

// record is that of a crossing; the first, if an egress gateway used its id for several.
func (l *logs) record(ctx context.Context, id string) (of records.Joined, err error) {
	if _, err := crossing.ParseID(id); err != nil {
		return of, invalid("id: %v", err)
	}
	err = l.config.Records.List(ctx, &controlv1.ListCrossingsRequest{Id: id}, func(j records.Joined) error {
		if of.Record == nil {
			of = j
		}
		return nil
	})
	if err == nil && of.Record == nil {
		err = status.Errorf(codes.NotFound, "there is no record of the crossing %s", id)
	}
	return of, err
}

// proofs is what proofs are made from.
func (l *logs) proofs() evidence.Config {
	all := l.config.Logs.Readers()
	return evidence.Config{Frames: l.config.Frames, Log: func(gateway string) *translog.Reader {
		id, err := spiffeid.FromString(gateway)
		if err != nil {
			return nil
		}
		return all[id.TrustDomain().Name()]
	}}
}

// read enters into the logs that the caller was shown what they prove.
func (l *logs) read(ctx context.Context, what string) {
	caller, err := Peer(ctx)
	if err != nil || l.config.ReadOnly {
		return
	}
	for td := range l.config.Logs.Readers() {
		l.journal.tell(td, &logv1.Entry{Read: &logv1.Read{By: caller.String(), What: what}})
	}
}

// ListKeys gives the public keys by which proofs are checked: of the logs, of what
// gateways state, and the roots of the trust domains, all as the logs have them.
func (l *logs) ListKeys(ctx context.Context, _ *controlv1.ListKeysRequest) (*controlv1.ListKeysResponse, error) {
	if l.config.Logs == nil {
		return nil, precondition("no log is kept here")
	}
	all := l.config.Logs.Readers()
	k := keyring{seen: map[string]bool{}}
	for _, td := range slices.Sorted(maps.Keys(all)) {
		k.line("log %s", all[td].Key())
	}
	k.witnesses(l.config.Logs.Witnesses())
	for _, td := range slices.Sorted(maps.Keys(all)) {
		if err := k.collect(ctx, all[td]); err != nil {
			return nil, err
		}
	}
	return &controlv1.ListKeysResponse{Keys: k.text.String()}, nil
}

// keyring is a text of keys, each once.
type keyring struct {
	text strings.Builder
	seen map[string]bool
}

func (k *keyring) line(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !k.seen[line] {
		k.seen[line] = true
		k.text.WriteString(line + "\n")
	}
}

// witnesses takes the keys of witnesses, of which one has to have cosigned.
func (k *keyring) witnesses(all []translog.Witness) {
	if len(all) == 0 {
		return
	}
	names := ""
	for _, w := range all {
		k.line("witness %s %s %s", w.Name(), w.Key, w.URL)
		names += " " + w.Name()
	}
	k.line("group witnesses any%s", names)
	k.line("quorum witnesses")
}

// collect takes the keys that a log has.
func (k *keyring) collect(ctx context.Context, r *translog.Reader) error {
	c, err := r.Checkpoint(ctx)
	if err != nil {
		return err
	}
	for e, err := range r.Entries(ctx, 0, c.Size) {
		if err != nil {
			return err
		}
		if f, err := crossing.UnmarshalFrame(e.GetFrame()); err == nil && f.GetAnnouncement() != nil {
			a := f.GetAnnouncement()
			k.line("gateway %s %s", a.GetGateway(), base64.StdEncoding.EncodeToString(a.GetKey()))
		}
		k.roots(e.GetBundle())
	}
	return nil
}

// roots takes the roots of a signed bundle; none of what is none.
func (k *keyring) roots(data []byte) {
	signed := new(configv1.SignedBundle)
	if len(data) == 0 || proto.Unmarshal(data, signed) != nil {
		return
	}
	td, err := spiffeid.TrustDomainFromString(signed.GetTrustDomain())
	if err != nil {
		return
	}
	b, err := spiffebundle.Parse(td, signed.GetDocument())
	if err != nil {
		return
	}
	for _, root := range b.X509Authorities() {
		k.line("root %s %s", td.Name(), base64.StdEncoding.EncodeToString(root.Raw))
	}
}

// exportBehind is how long ago the time is until when a pack is whole, unless it is said:
// until then the frames of what was stated have come.
const exportBehind = time.Minute

// Export gives an evidence pack.
func (l *logs) Export(req *controlv1.ExportRequest, stream grpc.ServerStreamingServer[controlv1.ExportResponse]) error {
	if l.config.Logs == nil {
		return precondition("no log is kept here")
	}
	ctx, to := stream.Context(), time.Now().Add(-exportBehind)
	if req.GetTo() != nil {
		to = req.GetTo().AsTime()
	}
	if to.After(time.Now()) {
		return invalid("to: %s has not come", to.UTC().Format(time.RFC3339))
	}
	w := &pieces{send: func(data []byte) error { return stream.Send(&controlv1.ExportResponse{Data: data}) }}
	if err := evidence.Pack(ctx, w, l.config.Frames, l.config.Logs.Readers(), to); err != nil {
		return err
	}
	l.read(ctx, "all of it")
	return nil
}

// pieces sends what is written to it, in pieces that a message may have.
type pieces struct{ send func([]byte) error }

// pieceBytes is the most that one message has.
const pieceBytes = 256 << 10

// Write implements io.Writer.
func (p *pieces) Write(data []byte) (n int, err error) {
	for piece := range slices.Chunk(data, pieceBytes) {
		if err := p.send(piece); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}
