package proof

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

func parseKeys(t testing.TB, text string) *keys.File {
	t.Helper()
	k, err := keys.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// busy is a mesh in which so many have crossed in each of two epochs, and number 2 goes on
// from the first to the second.
func busy(t testing.TB, n int) *verifytest.Mesh {
	m := verifytest.New(t)
	m.Cross()
	long := m.Out()
	m.In(m.Open(verifytest.Ingress, long.GetKey().GetSequence()))
	for range n {
		m.Cross()
	}
	m.Epoch(false)
	m.Ended(m.End(long))
	m.Ended(m.End(m.Open(verifytest.Ingress, long.GetKey().GetSequence())))
	for range n {
		m.Cross()
	}
	m.Epoch(false)
	return m
}

const long = 2

// TestCheck: what is proven is what crossed.
func TestCheck(t *testing.T) {
	m := busy(t, 10)
	k := parseKeys(t, m.Keys())
	for _, g := range []*verifytest.Gateway{m.Near, m.Far} {
		for n := uint64(1); n <= 22; n++ {
			c, err := Check(m.Proof(g, n, verifytest.Egress, verifytest.Ingress), k)
			if err != nil {
				t.Fatalf("%d out of %s: %v", n, g.Log.Origin, err)
			}
			statements := 1
			if n == long {
				statements = 2
			}
			if want := m.Open(verifytest.Egress, n).GetId(); c.ID != want || c.Number != n || len(c.Statements) != statements || len(c.Sides()) != 2 {
				t.Errorf("proven: %+v, want %s, number %d, of %d statements", c, want, n, statements)
			}
			if c.Egress.Close.Uint("responseBytes") != 9433 || c.First().Sub("transition").Text("owner") != "ml-platform" {
				t.Errorf("%d: accounts %v", n, c.Egress)
			}
			if d := c.Differences(); len(d) > 0 {
				t.Errorf("%d: differences %v", n, d)
			}
		}
	}
	c, err := Check(m.Proof(m.Near, 5, verifytest.Egress), k)
	if err != nil || len(c.Sides()) != 1 || c.Checkpoint.Cosigned[0].Witness != "w1" {
		t.Errorf("of one side: %+v, %v", c, err)
	}
}

// TestEveryBit: no bit of a proof is free.
func TestEveryBit(t *testing.T) {
	m := busy(t, 3)
	k := parseKeys(t, m.Keys())
	whole := m.Proof(m.Near, long, verifytest.Egress, verifytest.Ingress)
	if _, err := Check(whole, k); err != nil {
		t.Fatal(err)
	}
	var each sync.WaitGroup
	for part := range 4 {
		each.Go(func() {
			data := bytes.Clone(whole)
			for bit := part; bit < 8*len(data); bit += 4 {
				data[bit/8] ^= 1 << (bit % 8)
				if c, err := Check(data, k); err == nil {
					t.Errorf("bit %d of byte %d (%.60q) is free: %+v", bit%8, bit/8, data[max(0, bit/8-20):], c)
				}
				data[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	each.Wait()
	for cut := range whole {
		if _, err := Check(whole[:cut], k); err == nil {
			t.Errorf("the first %d bytes of %d are a proof", cut, len(whole))
		}
	}
	for _, more := range []string{"\n", "x", "\x00", " "} {
		if _, err := Check(append(bytes.Clone(whole), more...), k); err == nil {
			t.Errorf("%q behind it is free", more)
		}
	}
}

// TestForged: what is well encoded and is not proven says why it is not.
func TestForged(t *testing.T) {
	m := busy(t, 3)
	keyed := m.Keys()
	for _, c := range []struct {
		name   string
		keys   string
		change func(e *logv1.Evidence)
		want   string
	}{
		{"another crossing's frame", keyed, func(e *logv1.Evidence) {
			e.Members[1] = m.Evidence(m.Near, 3, verifytest.Ingress).Members[0]
			e.Members[1].Statement = 1
		}, "of another crossing"},
		{"the same frame twice", keyed, func(e *logv1.Evidence) { e.Members = append(e.Members, e.Members[0]) }, "twice"},
		{"no frame", keyed, func(e *logv1.Evidence) { e.Members = nil }, "no frame"},
		{"a statement of no frame", keyed, func(e *logv1.Evidence) { e.Members = e.Members[2:] }, "over no frame"},
		{"of a statement that is not there", keyed, func(e *logv1.Evidence) { e.Members[0].Statement = 7 }, "no statement 7"},
		{"of the other statement", keyed, func(e *logv1.Evidence) { e.Members[0].Statement = 0 }, "did not open in epoch 2"},
		{"one statement twice", keyed, func(e *logv1.Evidence) { e.Earlier = append(e.Earlier, e.Earlier[0]) }, "twice"},
		{"another path", keyed, func(e *logv1.Evidence) { e.Members[0].Path[0] ^= 1 }, "comes to another root"},
		{"a longer path", keyed, func(e *logv1.Evidence) { e.Members[0].Path = append(e.Members[0].Path, make([]byte, 32)...) }, "path is none"},
		{"half a hash", keyed, func(e *logv1.Evidence) { e.Members[0].Path = e.Members[0].Path[1:] }, "no whole hashes"},
		{"another frame", keyed, func(e *logv1.Evidence) { e.Members[3].Frame[len(e.Members[3].Frame)-1] ^= 1 }, "comes to another root"},
		{"an entry that the log does not have", keyed, func(e *logv1.Evidence) {
			e.Earlier[0].Entry = append([]byte(nil), e.Earlier[0].Entry...)
			e.Earlier[0].Entry[20] ^= 1
		}, "is not in the log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := proto.CloneOf(m.Evidence(m.Near, long, verifytest.Egress, verifytest.Ingress))
			c.change(e)
			_, err := Check(verifytest.Text(e, m.Near.Log, m.Checkpoint(m.Near)), parseKeys(t, c.keys))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestWithoutKey: of what is signed by nobody who is known, nothing can be told.
func TestWithoutKey(t *testing.T) {
	m := busy(t, 3)
	whole := m.Proof(m.Near, long, verifytest.Egress, verifytest.Ingress)
	for name, cut := range map[string]string{
		"the log":             "log " + m.Near.Log.Key + "\n",
		"the egress gateway":  m.Near.KeyLine(),
		"the ingress gateway": m.Far.KeyLine(),
		"the witness":         "witness w1 " + m.Witness.Key + "\nquorum w1\n",
	} {
		if _, err := Check(whole, parseKeys(t, strings.Replace(m.Keys(), cut, "", 1))); !errors.Is(err, keys.ErrNoKey) {
			t.Errorf("without %s: %v, want that it cannot be told", name, err)
		}
	}
	other := verifytest.New(t)
	text := strings.Replace(m.Keys(), m.Near.KeyLine(), strings.Replace(other.Near.KeyLine(), other.Near.ID, m.Near.ID, 1), 1)
	if _, err := Check(whole, parseKeys(t, text)); !errors.Is(err, keys.ErrNoKey) {
		t.Errorf("with another key of the gateway: %v", err)
	}
}

// TestQuorum: a checkpoint that too few have seen proves nothing.
func TestQuorum(t *testing.T) {
	m := busy(t, 3)
	alone := m.Near.Log.Checkpoint(m.Now)
	e := m.Evidence(m.Near, long, verifytest.Egress)
	if _, err := Check(verifytest.Text(e, m.Near.Log, alone), parseKeys(t, m.Keys())); err == nil || !strings.Contains(err.Error(), "not enough witnesses") {
		t.Errorf("without cosignature: %v", err)
	}
	without := strings.Replace(m.Keys(), "quorum w1", "quorum none", 1)
	if _, err := Check(verifytest.Text(e, m.Near.Log, alone), parseKeys(t, without)); err != nil {
		t.Errorf("without cosignature, and none asked for: %v", err)
	}
}

// TestDiffering: what both gateways have signed that they differ on is proven as that.
func TestDiffering(t *testing.T) {
	m := verifytest.New(t)
	h := m.Out()
	i := m.Open(verifytest.Ingress, 1)
	m.In(i)
	m.Ended(m.End(h))
	c := m.End(i)
	c.Status = 500
	m.Ended(c)
	m.Epoch(false)
	got, err := Check(m.Proof(m.Near, 1, verifytest.Egress, verifytest.Ingress), parseKeys(t, m.Keys()))
	if err != nil {
		t.Fatal(err)
	}
	if d := got.Differences(); len(d) != 1 || d[0].Kind != uint64(crossingv1.Difference_ENDED_OTHERWISE) || d[0].Fields[0] != "status" {
		t.Errorf("differences %+v", d)
	}
}

// FuzzCheck: whatever a file has, it is judged, and nothing but what was made is proven.
func FuzzCheck(f *testing.F) {
	m := busy(f, 3)
	k := parseKeys(f, m.Keys())
	whole := m.Proof(m.Near, long, verifytest.Egress, verifytest.Ingress)
	f.Add(whole)
	f.Add(m.Proof(m.Near, 1, verifytest.Egress))
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := Check(data, k); err == nil && len(c.Statements) == 0 {
			t.Errorf("proven of nothing: %+v", c)
		}
	})
}

// FuzzEvidence: the same behind a checkpoint that is right.
func FuzzEvidence(f *testing.F) {
	m := busy(f, 3)
	f.Add(must(proto.Marshal(m.Evidence(m.Near, long, verifytest.Egress, verifytest.Ingress))))
	checkpoint := []byte(m.Checkpoint(m.Near))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := canonical(message.Evidence, data); err == nil {
			c := new(Crossing)
			_ = c.hashed(&text{checkpoint: checkpoint}, e)
		}
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// BenchmarkCheck: what does it cost to check a proof of one of a thousand crossings of an
// epoch, in a log of so many entries?
func BenchmarkCheck(b *testing.B) {
	m := busy(b, 1000)
	for len(m.Near.Log.Entries) < 3000 {
		m.Beat()
	}
	k := parseKeys(b, m.Keys())
	for name, sides := range map[string][]crossingv1.Side{"one": {verifytest.Egress}, "both": {verifytest.Egress, verifytest.Ingress}} {
		b.Run(name, func(b *testing.B) {
			whole := m.Proof(m.Near, 700, sides...)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Check(whole, k); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(whole)), "proof-bytes")
		})
	}
}
