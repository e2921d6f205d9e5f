//go:build linux

package interop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/e2e/rawh2"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestDifferential sends what one reader takes for another request, or for two,
// than another reader: in HTTP/1.1 and in HTTP/2, to destinations that others
// wrote. Whatever a destination takes for a request must be one that both
// gateways decided on, by method and path, once; and whatever is not well formed
// is refused, and known of.
func TestDifferential(t *testing.T) {
	destinations := []destination{nginx(t), haproxy(t), goServer(t, "gohttp", "http"), goServer(t, "gogrpc", "grpc")}
	var places []place
	for _, d := range destinations {
		places = append(places, d.place)
	}
	s := &siege{m: meshWith(t, nil, places...), told: map[string]*volley{}}
	for _, d := range destinations {
		t.Run("HTTP1 to "+d.name, func(t *testing.T) {
			s.fire(t, d, slices.Concat(shots1(lengths, false), shots1(codings, false), shots1(lines, false), shots1(targets, true), shots1(chunks, false)))
		})
		t.Run("HTTP2 to "+d.name, func(t *testing.T) {
			s.fire(t, d, slices.Concat(shots2(pseudo), shots2(fields), shots2(contents)))
		})
	}
	s.settle(t, destinations)
}

// shot is one attack, as it is made at a destination. It gives the statuses of
// the answers, and whether the connection has ended.
type shot struct {
	name string
	want outcome
	make func(t *testing.T, m *meshtest.Mesh, from meshtest.Intruder, fill *strings.Replacer) (addr string, r result)
}

// result is what the caller saw.
type result struct {
	statuses []int  // of all answers; a gRPC call that was refused counts as 403
	ended    bool   // by the gateway
	fault    string // what should not be, whatever the outcome
}

// volley is an attack that was made.
type volley struct {
	shot
	at     string // the destination's name
	from   meshtest.Intruder
	result result
}

// siege is all attacks on one mesh.
type siege struct {
	m *meshtest.Mesh

	mu   sync.Mutex         // guards told
	told map[string]*volley // by the caller's address
}

const together = 8 // attacks at a time

// fire makes all attacks at one destination.
func (s *siege) fire(t *testing.T, d destination, shots []shot) {
	var group errgroup.Group
	group.SetLimit(together)
	for n, shot := range shots {
		from := meshtest.Intruder(n%250 + 1)
		group.Go(func() error {
			addr, r := shot.make(t, s.m, from, filling(d, n))
			v := &volley{shot, d.name, from, r}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told[addr] = v
			if fault := v.judge(); fault != "" {
				t.Errorf("%s: %s: answered with %v, ended %t", v.name, fault, r.statuses, r.ended)
			}
			return nil
		})
	}
	group.Wait()
}

// filling is what stands for the parts of an attack at one destination.
func filling(d destination, n int) *strings.Replacer {
	path, hiddenPath, extra := fmt.Sprintf("/c%d", n), fmt.Sprintf("/hidden%d", n), ""
	if d.protocol == "grpc" {
		path, hiddenPath = "/test.Echo"+path, "/test.Echo"+hiddenPath
		extra = "Content-Type: application/grpc\r\nTE: trailers\r\n"
	}
	inner := strings.NewReplacer("{path}", path, "{hidden}", hiddenPath, "{host}", d.host(), "{extra}", extra)
	return strings.NewReplacer("{path}", path, "{hidden}", hiddenPath, "{host}", d.host(), "{extra}", extra,
		"{length}", strconv.Itoa(len(inner.Replace(hidden))))
}

// judge says what is wrong with what the caller saw.
func (v *volley) judge() string {
	if v.result.fault != "" {
		return v.result.fault
	}
	refusals := 0
	for _, status := range v.result.statuses {
		if status/100 == 4 || status == http.StatusNotImplemented || status == http.StatusHTTPVersionNotSupported {
			refusals++
		} else if status != http.StatusOK {
			return "an answer that is neither"
		}
	}
	first := 0
	if len(v.result.statuses) > 0 {
		first = v.result.statuses[0]
	}
	switch {
	case v.want == refused && first == http.StatusOK:
		return "it crossed"
	case v.want == passed && first != http.StatusOK:
		return "it did not cross"
	case v.want == refused && refusals == 0 && !v.result.ended:
		return "nobody was told"
	}
	return ""
}

// wasRefused says that the caller was told so, or cut off.
func (v *volley) wasRefused() bool {
	return len(v.result.statuses) == 0 || v.result.statuses[0] != http.StatusOK
}

// shots1 are attacks in HTTP/1.1. Each is followed by a request that is well
// formed. Unless the attacks are framed, that must not be answered where one was
// refused: nobody knows where it ended.
func shots1(attacks []attack, framed bool) []shot {
	var shots []shot
	for _, a := range attacks {
		shots = append(shots, shot{"HTTP/1.1 " + a.name, a.want, func(t *testing.T, m *meshtest.Mesh, from meshtest.Intruder, fill *strings.Replacer) (string, result) {
			conn := attachTLS(t, m, from, "http/1.1")
			defer conn.Close()
			raw := fill.Replace(a.raw)
			go func() {
				if a.cut {
					io.WriteString(conn, raw)
					conn.CloseWrite()
					return
				}
				io.WriteString(conn, raw+fill.Replace("POST {path} HTTP/1.1\r\nHost: {host}\r\n{extra}Content-Length: 0\r\nConnection: close\r\n\r\n"))
			}()
			return conn.LocalAddr().String(), answers1(conn, raw, framed)
		}})
	}
	return shots
}

// answers1 reads answers until the connection's end.
func answers1(conn net.Conn, raw string, framed bool) (r result) {
	br := bufio.NewReader(conn)
	method, _, _ := strings.Cut(strings.TrimLeft(raw, "\r\n"), " ")
	for {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			r.ended = !errors.Is(err, os.ErrDeadlineExceeded)
			break
		}
		io.Copy(io.Discard, resp.Body)
		r.statuses = append(r.statuses, statusOf(resp.StatusCode, resp.Header.Get("Grpc-Status")))
		method = "POST"
	}
	if len(r.statuses) > 1 && r.statuses[0] != http.StatusOK && !framed {
		r.fault = "a request behind one that was refused was answered"
	}
	if !r.ended {
		r.fault = "the connection goes on"
	}
	return r
}

// statusOf takes a refused gRPC call for a 403.
func statusOf(status int, grpc string) int {
	if status == http.StatusOK && grpc != "" && grpc != "0" {
		return http.StatusForbidden
	}
	return status
}

// shots2 are attacks in HTTP/2. A request that is well formed goes on beside
// each, and must be answered unless the whole connection was refused.
func shots2(attacks []attack2) []shot {
	var shots []shot
	for _, a := range attacks {
		shots = append(shots, shot{"HTTP/2 " + a.name, a.want, func(t *testing.T, m *meshtest.Mesh, from meshtest.Intruder, fill *strings.Replacer) (string, result) {
			nc := attachTLS(t, m, from, "h2")
			defer nc.Close()
			c, err := rawh2.New(nc)
			if err != nil {
				return nc.LocalAddr().String(), result{fault: err.Error()}
			}
			a.send(c, fill)
			c.Headers(3, true, filled(fill, with("content-length", "0"))...)
			answers, end := c.Await(1, 3)
			return nc.LocalAddr().String(), result2(answers, end)
		}})
	}
	return shots
}

// send sends what there is of an attack, and ends the stream.
func (a *attack2) send(c *rawh2.Conn, fill *strings.Replacer) {
	// An error says that the gateway has hung up, which reading finds again.
	c.Headers(1, len(a.data)+len(a.trailer) == 0, filled(fill, a.head)...)
	for i, data := range a.data {
		c.Data(1, i == len(a.data)-1 && len(a.trailer) == 0, []byte(fill.Replace(data)))
	}
	if len(a.trailer) > 0 {
		c.Headers(1, true, filled(fill, a.trailer)...)
	}
}

// filled fills all names and values; the head of a gRPC call has more fields.
func filled(fill *strings.Replacer, pairs []string) []string {
	out := make([]string, 0, len(pairs)+4)
	for _, text := range pairs {
		out = append(out, fill.Replace(text))
	}
	if len(pairs) > 0 && strings.HasPrefix(pairs[0], ":") && fill.Replace("{extra}") != "" {
		out = append(out, "content-type", "application/grpc")
	}
	return out
}

func result2(answers map[uint32]*rawh2.Answer, end rawh2.End) (r result) {
	attack, beside := answers[1], answers[3]
	r.ended = attack != nil && attack.Reset != nil || end.Err != nil && !errors.Is(end.Err, os.ErrDeadlineExceeded)
	if attack != nil && attack.Status != 0 {
		grpc := attack.Header.Get("grpc-status") + attack.Trailer.Get("grpc-status")
		r.statuses = append(r.statuses, statusOf(attack.Status, grpc))
	}
	switch {
	case errors.Is(end.Err, os.ErrDeadlineExceeded):
		r.fault = "no answer came, and no end"
	case end.Err == nil && (beside.Status != http.StatusOK || beside.Reset != nil):
		r.fault = fmt.Sprintf("a request beside it was answered with status %d, reset %v", beside.Status, beside.Reset)
	}
	return r
}

// settle waits until records and destinations tell the same, and says where
// they do not.
func (s *siege) settle(t *testing.T, destinations []destination) {
	ticker := time.NewTicker(100 * time.Millisecond) // logs of others tell of nothing when it is written
	defer ticker.Stop()
	var faults []string
	for deadline := time.Now().Add(meshtest.Patience / 3); ; <-ticker.C {
		l := s.ledger(t, destinations)
		if faults = l.faults(); len(faults) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}

// ledger is all that was written down of a siege.
type ledger struct {
	volleys  map[string]*volley              // by the caller's address
	records  map[string]*crossingv1.Record   // by id
	by       map[string][]*crossingv1.Record // by the caller's address
	refusals map[string]uint64               // before identity, by prefix
	hits     map[string][]hit                // by who took them
	answers  map[string]int                  // by who gave them
}

func (s *siege) ledger(t *testing.T, destinations []destination) *ledger {
	l := &ledger{
		volleys: s.told, records: map[string]*crossingv1.Record{}, by: map[string][]*crossingv1.Record{},
		refusals: map[string]uint64{}, hits: map[string][]hit{}, answers: map[string]int{},
	}
	for _, r := range s.m.Crossings(t, &controlv1.ListCrossingsRequest{Identity: "spiffe://onprem.demo/ai/orchestrator"}) {
		addr := r.GetEgress().GetPeer().GetAddress()
		l.records[r.GetId()], l.by[addr] = r, append(l.by[addr], r)
	}
	for _, r := range s.m.Refusals(t) {
		l.refusals[r.GetRefusal().GetPrefix()] += r.GetRefusal().GetCount()
	}
	for _, d := range destinations {
		l.hits[d.name+"'s recorder"] = d.recorder.taken()
		if d.protocol == "http" { // in HTTP/2 an answer cannot be told by its first bytes
			l.answers[d.name+"'s recorder"] = int(d.recorder.answers.Load())
		}
		if d.log != nil {
			l.hits[d.name] = d.log(t)
		}
	}
	return l
}

// faults says in what callers, records and destinations differ.
func (l *ledger) faults() (faults []string) {
	silent := map[string][]string{} // destinations by attack
	for addr, v := range l.volleys {
		if v.wasRefused() && !slices.ContainsFunc(l.by[addr], wasRefusal) && l.refusals[v.from.Prefix()] == 0 {
			silent[v.name] = append(silent[v.name], v.at)
		}
	}
	for name, at := range silent {
		slices.Sort(at)
		faults = append(faults, fmt.Sprintf("%s, to %s: it was refused, and nothing tells of it", name, strings.Join(at, ", ")))
	}
	for who, hits := range l.hits {
		faults = append(faults, l.unexplained(who, hits)...)
		if len(hits) < len(l.volleys)/20 {
			faults = append(faults, fmt.Sprintf("%s took %d requests: it was not asked, or does not tell", who, len(hits)))
		}
	}
	for who, n := range l.answers {
		if hits := len(l.hits[who]); n != hits {
			faults = append(faults, fmt.Sprintf("%s gave %d answers to %d requests", who, n, hits))
		}
	}
	slices.Sort(faults)
	return faults
}

// wasRefusal says that a record tells of something else than a good end.
func wasRefusal(r *crossingv1.Record) bool {
	return r.GetEgress().GetDecision() == crossingv1.Decision_DENY || r.GetEgress().GetReason() != crossingv1.Reason_REASON_UNSPECIFIED ||
		r.GetEgress().GetClose() != crossingv1.Cause_DONE
}

// unexplained says which requests of a destination no two gateways decided on,
// and which crossings it never saw.
func (l *ledger) unexplained(who string, hits []hit) (faults []string) {
	times := map[string]int{}
	for _, h := range hits {
		times[h.Crossing]++
		r := l.records[h.Crossing]
		path, _, _ := strings.Cut(h.Target, "?")
		name := h.Method + " " + path
		if strings.HasPrefix(path, "/test.Echo/") {
			name = path[1:]
		}
		switch {
		case r == nil:
			faults = append(faults, fmt.Sprintf("%s took %s %s of crossing %q, which nobody decided on", who, h.Method, h.Target, h.Crossing))
		case r.GetOperation().GetName() != name, r.GetEgress().GetDecision() != crossingv1.Decision_ALLOW, r.GetIngress().GetDecision() != crossingv1.Decision_ALLOW:
			faults = append(faults, fmt.Sprintf("%s took %s, decided was on %v", who, name, r))
		case times[h.Crossing] > 1:
			faults = append(faults, fmt.Sprintf("%s took %s %s %d times for one crossing", who, h.Method, h.Target, times[h.Crossing]))
		}
	}
	at, _, _ := strings.Cut(who, "'")
	for id, r := range l.records {
		here := strings.HasSuffix(r.GetDestination(), "/"+at)
		if here && r.GetEgress().GetClose() == crossingv1.Cause_DONE && times[id] == 0 {
			faults = append(faults, fmt.Sprintf("%s took nothing of a crossing: %v", who, r))
		}
	}
	return faults
}
