package verifytest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// Proof proves a crossing out of a gateway's log, with the frames of those sides.
func (m *Mesh) Proof(g *Gateway, n uint64, sides ...crossingv1.Side) []byte {
	m.t.Helper()
	return Text(m.Evidence(g, n, sides...), g.Log, m.Checkpoint(g))
}

// Checkpoint is that of a gateway's log, cosigned.
func (m *Mesh) Checkpoint(g *Gateway) string { return g.Log.Checkpoint(m.Now, m.Witness) }

// Evidence is what Proof has as its extra data.
func (m *Mesh) Evidence(g *Gateway, n uint64, sides ...crossingv1.Side) *logv1.Evidence {
	opened := slices.IndexFunc(m.Statements, func(s *statement.Stated) bool { return s.Claim.GetFirst() <= n && n < s.Claim.GetNext() })
	ended := slices.IndexFunc(m.Statements, func(s *statement.Stated) bool {
		return slices.Contains(s.Closed(), n) && !slices.Contains(s.Deferred(), n)
	})
	e := new(logv1.Evidence)
	last := m.Statements[max(opened, ended)]
	e.Entry = g.Log.Entries[m.index(g, last)]
	for _, ending := range []bool{false, true} {
		of := opened
		if ending {
			of = ended
		}
		if of < 0 {
			continue
		}
		for _, side := range sides {
			member := m.member(m.Statements[of], place{side, ending, n})
			if m.Statements[of] != last {
				member.Statement = 1
				index := m.index(g, m.Statements[of])
				e.Earlier = []*logv1.Earlier{{Index: uint64(index), Path: flat(g.Log.Path(index)), Entry: g.Log.Entries[index]}}
			}
			e.Members = append(e.Members, member)
		}
	}
	return e
}

func (m *Mesh) member(s *statement.Stated, p place) *logv1.Member {
	numbers := s.Closed()
	if !p.ending {
		numbers = nil
		for n := s.Claim.GetFirst(); n < s.Claim.GetNext(); n++ {
			numbers = append(numbers, n)
		}
	}
	leaves := make([]statement.Hash, len(numbers))
	for i, n := range numbers {
		leaves[i] = statement.Leaf(m.leaves[place{p.side, p.ending, n}])
	}
	path := statement.Path(leaves, slices.Index(numbers, p.number))
	return &logv1.Member{Frame: m.leaves[p], Path: flat(path)}
}

// index is where a gateway's log has a statement.
func (m *Mesh) index(g *Gateway, s *statement.Stated) int {
	whole := must[[]byte](m.t)(proto.MarshalOptions{Deterministic: true}.Marshal(s.Statement))
	at := slices.IndexFunc(g.Log.Entries, func(e []byte) bool { return bytes.Contains(e, whole) })
	if at < 0 {
		m.t.Fatalf("epoch %d is not in %s", s.Claim.GetEpoch(), g.Log.Origin)
	}
	return at
}

// Text is the proof of an entry of a log that the evidence has.
func Text(e *logv1.Evidence, l *Log, checkpoint string) []byte {
	index := slices.IndexFunc(l.Entries, func(data []byte) bool { return bytes.Equal(data, e.GetEntry()) })
	extra := must[[]byte](l.t)(proto.MarshalOptions{Deterministic: true}.Marshal(e))
	text := fmt.Sprintf("c2sp.org/tlog-proof@v1\nextra %s\nindex %d\n", base64.StdEncoding.EncodeToString(extra), index)
	for _, h := range l.Path(index) {
		text += base64.StdEncoding.EncodeToString(h[:]) + "\n"
	}
	return []byte(text + "\n" + checkpoint)
}

func flat(path []statement.Hash) (all []byte) {
	for _, h := range path {
		all = append(all, h[:]...)
	}
	return all
}
