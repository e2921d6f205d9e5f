package evidence

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	tlogproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// shown is what a proof shows, after all of it was checked by others' means.
type shown struct {
	sides  []string // of each member, with what it is
	epochs []uint64 // whose statements are in it, the last one's first
}

// check holds a proof against the log's key, with x/mod's note and tlog.
func (m *mesh) check(log *translog.Reader, text []byte) (s shown) {
	m.t.Helper()
	var p tlogproof.TLogProof
	if err := p.Unmarshal(text); err != nil {
		m.t.Fatal(err)
	}
	v, err := note.NewVerifier(log.Key())
	if err != nil {
		m.t.Fatal(err)
	}
	n, err := note.Open(p.Checkpoint, note.VerifierList(v))
	if err != nil {
		m.t.Fatal(err)
	}
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + n.Text[strings.Index(n.Text, "\n")+1:]))
	if err != nil {
		m.t.Fatal(err)
	}
	e := new(logv1.Evidence)
	if err := proto.Unmarshal(p.ExtraData, e); err != nil {
		m.t.Fatal(err)
	}
	var path []byte
	for _, h := range p.Hashes {
		path = append(path, h[:]...)
	}
	statements := []*statement.Stated{m.checkEntry(tree, p.Index, path, e.GetEntry())}
	for _, other := range e.GetEarlier() {
		statements = append(statements, m.checkEntry(tree, other.GetIndex(), other.GetPath(), other.GetEntry()))
	}
	for _, st := range statements {
		s.epochs = append(s.epochs, st.Claim.GetEpoch())
	}
	for _, member := range e.GetMembers() {
		s.sides = append(s.sides, m.checkMember(statements[member.GetStatement()], member))
	}
	return s
}

// checkEntry holds that an entry is in a tree, and that both gateways signed its statement.
func (m *mesh) checkEntry(tree tlog.Tree, index uint64, path, data []byte) *statement.Stated {
	m.t.Helper()
	var hashes tlog.RecordProof
	for h := range slices.Chunk(path, 32) {
		hashes = append(hashes, tlog.Hash(h))
	}
	if err := tlog.CheckRecord(hashes, tree.N, tree.Hash, int64(index), tlog.RecordHash(data)); err != nil {
		m.t.Errorf("entry %d: %v", index, err)
	}
	e := new(logv1.Entry)
	if err := proto.Unmarshal(data, e); err != nil {
		m.t.Fatal(err)
	}
	f, err := crossing.UnmarshalFrame(e.GetFrame())
	if err != nil {
		m.t.Fatal(err)
	}
	st, err := statement.Read(f.GetStatement())
	if err == nil {
		err = errors.Join(st.VerifyEgress(m.egress.key), st.VerifyIngress(m.ingress.key))
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return st
}

// checkMember holds that a frame is in its statement's list, and says which it is.
func (m *mesh) checkMember(st *statement.Stated, member *logv1.Member) string {
	m.t.Helper()
	f, err := crossing.UnmarshalFrame(member.GetFrame())
	if err != nil {
		m.t.Fatal(err)
	}
	k, side, what := f.GetOpen().GetKey(), f.GetOpen().GetSide(), "open"
	if f.GetClose() != nil {
		k, side, what = f.GetClose().GetKey(), f.GetClose().GetSide(), "close"
	}
	roots := st.Claim.GetRoots()
	if side == crossingv1.Side_INGRESS {
		roots = st.Answer.GetRoots()
	}
	at, size, want := k.GetSequence()-st.Claim.GetFirst(), st.Claim.GetNext()-st.Claim.GetFirst(), roots.GetOpened()
	if what == "close" {
		at, size, want = uint64(slices.Index(st.Closed(), k.GetSequence())), uint64(len(st.Closed())), roots.GetClosed()
	}
	var path []statement.Hash
	for h := range slices.Chunk(member.GetPath(), 32) {
		path = append(path, statement.Hash(h))
	}
	if root, ok := statement.RootOf(statement.Leaf(member.GetFrame()), at, size, path); !ok || !bytes.Equal(root[:], want) {
		m.t.Errorf("%s of number %d at %s is not in epoch %d", what, k.GetSequence(), side, st.Claim.GetEpoch())
	}
	return fmt.Sprint(side, " ", what)
}

func of(n uint64, both bool) Crossing {
	return Crossing{Key: key(n), Side: crossingv1.Side_EGRESS, Both: both, Opened: noon}
}

// TestProve: what is proven of a crossing is what was recorded, and the log's key and those
// of the two gateways suffice to check it.
func TestProve(t *testing.T) {
	m := newMesh(t)
	m.cross([]uint64{1, 2, 3, 4, 5, 6}, []uint64{1, 2, 3, 4}, 2, 6)
	m.unseen, m.deferred = []uint64{2, 6}, []uint64{4}
	m.state(7, 1, 2, 3, 4)
	m.cross([]uint64{7, 9}, []uint64{5, 6}, 6)
	m.voids, m.unended = []uint64{8}, nil
	m.state(10, 4, 5, 6)
	for _, test := range []struct {
		n      uint64
		both   bool
		sides  string
		epochs string
	}{
		{1, false, "EGRESS open, EGRESS close", "[1]"},
		{1, true, "EGRESS open, INGRESS open, EGRESS close, INGRESS close", "[1]"},
		{2, true, "EGRESS open, EGRESS close", "[1]"}, // it was never seen
		{4, true, "EGRESS open, INGRESS open, EGRESS close, INGRESS close", "[2 1]"},
		{5, false, "EGRESS open, EGRESS close", "[2 1]"},
		{6, true, "EGRESS open, EGRESS close", "[2 1]"},
		{7, true, "EGRESS open, INGRESS open", "[2]"},
		{9, false, "EGRESS open", "[2]"},
	} {
		text, err := m.prove(of(test.n, test.both))
		if err != nil {
			t.Errorf("number %d: %v", test.n, err)
			continue
		}
		s := m.check(m.nearLog.Reader, text)
		if got := strings.Join(s.sides, ", "); got != test.sides || fmt.Sprint(s.epochs) != test.epochs {
			t.Errorf("number %d shows %s of %v, want %s of %s", test.n, got, s.epochs, test.sides, test.epochs)
		}
	}
}

// TestProveFromTheOtherLog: where the egress gateway's environment has no log, the other's
// has the statement as well.
func TestProveFromTheOtherLog(t *testing.T) {
	m := newMesh(t)
	m.cross([]uint64{1}, []uint64{1})
	m.state(2, 1)
	if _, err := m.prove(of(1, false)); err != nil {
		t.Fatal(err)
	}
	c := m.config()
	c.Log = func(gateway string) *translog.Reader {
		if gateway == near {
			return nil
		}
		return m.farLog.Reader
	}
	var text []byte
	var err error
	for text, err = c.Prove(t.Context(), of(1, true)); errors.Is(err, ErrNotYet); {
		text, err = c.Prove(t.Context(), of(1, true))
	}
	if err != nil {
		t.Fatal(err)
	}
	if s := m.check(m.farLog.Reader, text); len(s.sides) != 4 {
		t.Errorf("it shows %v", s.sides)
	}
	c.Log = func(string) *translog.Reader { return nil }
	if _, err := c.Prove(t.Context(), of(1, true)); err == nil || !strings.Contains(err.Error(), "has a log") {
		t.Errorf("without logs: %v", err)
	}
}

// TestNotYet: what is not stated, or not delivered, or under no checkpoint, is proven later.
func TestNotYet(t *testing.T) {
	m := newMesh(t)
	m.cross([]uint64{1, 2}, []uint64{1, 2})
	if _, err := m.config().Prove(t.Context(), of(1, false)); !errors.Is(err, ErrNotYet) {
		t.Errorf("not stated: %v", err)
	}
	m.state(2, 1)
	if _, err := m.prove(of(2, false)); !errors.Is(err, ErrNotYet) {
		t.Errorf("the next number: %v", err)
	}
	m.batches = slices.DeleteFunc(m.batches, func(b batch) bool { return b.gateway == near && len(b.frames) == 1 })
	c := m.config()
	c.Log = func(gateway string) *translog.Reader {
		if gateway == near {
			return m.nearLog.Reader
		}
		return nil
	}
	if _, err := c.Prove(t.Context(), of(1, false)); !errors.Is(err, ErrNotYet) {
		t.Errorf("the gateway has not delivered it: %v", err)
	}
}

// TestAltered: what is stored and does not come to what was stated is no proof.
func TestAltered(t *testing.T) {
	m := newMesh(t)
	m.cross([]uint64{1, 2, 3}, []uint64{1, 2, 3})
	m.state(4, 1, 2, 3)
	if _, err := m.prove(of(2, false)); err != nil {
		t.Fatal(err)
	}
	for i, b := range m.batches {
		for j, data := range b.frames {
			if b.gateway == near && bytes.Contains(data, []byte(owner)) {
				m.batches[i].frames[j] = bytes.Replace(data, []byte(owner), []byte("mx-platform"), 1)
				break
			}
		}
	}
	if _, err := m.prove(of(2, false)); err == nil || !strings.Contains(err.Error(), "epoch 1") {
		t.Errorf("a frame was changed: %v", err)
	}
}

// TestPack: a pack has the logs as of their checkpoints, and all frames, and is the same
// each time.
func TestPack(t *testing.T) {
	m := newMesh(t)
	for n := range uint64(300) {
		m.enter(m.nearLog, fmt.Appendf(nil, "entry %d", n))
	}
	m.cross([]uint64{1, 2, 3}, []uint64{1, 2, 3})
	m.state(4, 1, 2, 3)
	if _, err := m.prove(of(1, false)); err != nil {
		t.Fatal(err)
	}
	logs := map[string]*translog.Reader{"onprem.test": m.nearLog.Reader}
	var one, two bytes.Buffer
	c, err := m.nearLog.Checkpoint(t.Context())
	if err = errors.Join(err, Pack(t.Context(), &one, m, logs), Pack(t.Context(), &two, m, logs)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two packs of the same differ")
	}
	files := untar(t, &one)
	if files["logs/onprem.test/checkpoint"] != string(c.Note) || files[packName] != packForm {
		t.Errorf("checkpoint %q, head %q", files["logs/onprem.test/checkpoint"], files[packName])
	}
	partial := fmt.Sprintf("logs/onprem.test/tile/entries/001.p/%d", c.Size-256)
	entries := uint64(0)
	for _, name := range []string{"logs/onprem.test/tile/entries/000", partial} {
		for bundle := []byte(files[name]); len(bundle) > 0; entries++ {
			bundle = bundle[2+binary.BigEndian.Uint16(bundle):]
		}
	}
	if entries != c.Size {
		t.Errorf("%d entries, want %d", entries, c.Size)
	}
	frames := 0
	for rest := []byte(files["frames/00000001"]); len(rest) > 0; frames++ {
		size, n := binary.Uvarint(rest)
		rest = rest[n+int(size):]
	}
	if frames != 14 { // 2 frames of 3 crossings at both, and a statement of each
		t.Errorf("%d frames", frames)
	}
}

func untar(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	files := map[string]string{}
	for archive := tar.NewReader(r); ; {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[head.Name] = string(data)
	}
}
