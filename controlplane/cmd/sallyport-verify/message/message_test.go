package message_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// tables are the messages that are decoded by themselves, and what the product has for them.
var tables = []struct {
	ours   *wire.Schema
	theirs proto.Message
}{
	{message.Frame, new(crossingv1.Frame)},
	{message.Claim, new(crossingv1.Claim)},
	{message.Answer, new(crossingv1.Answer)},
	{message.Heartbeat, new(crossingv1.Heartbeat)},
	{message.Announcement, new(crossingv1.Announcement)},
	{message.Entry, new(logv1.Entry)},
	{message.Evidence, new(logv1.Evidence)},
	{message.SignedBundle, new(configv1.SignedBundle)},
}

// TestTables: a table has the fields of the product's message, at any depth, and no other.
func TestTables(t *testing.T) {
	for _, c := range tables {
		if d := cmp.Diff(describeTheirs(c.theirs.ProtoReflect().Descriptor(), 0), c.ours.Describe()); d != "" {
			t.Errorf("%s (-theirs +ours):\n%s", c.ours.Name(), d)
		}
	}
}

// frames are those of the vectors of records, good and bad.
func frames(t testing.TB) (all [][]byte) {
	names, err := filepath.Glob("../../../../gateway/crossing/testdata/*.json")
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			Frames []struct {
				Hex  string `json:"hex"`
				Also []struct {
					Hex string `json:"hex"`
				} `json:"also"`
			} `json:"frames"`
		}
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		for _, f := range v.Frames {
			texts := []string{f.Hex}
			for _, also := range f.Also {
				texts = append(texts, also.Hex)
			}
			for _, text := range texts {
				data, err := hex.DecodeString(text)
				if err != nil {
					t.Fatal(name, err)
				}
				all = append(all, data)
			}
		}
	}
	return all
}

// TestFrames: frames of the vectors are read as the gateways' decoder reads them.
func TestFrames(t *testing.T) {
	taken := 0
	for _, data := range frames(t) {
		if agrees(t, data) {
			taken++
		}
	}
	if taken < 40 {
		t.Errorf("%d frames are taken: too few to show anything", taken)
	}
}

// agrees holds a decoded frame against what the product's decoder makes of it, and says
// whether it is one.
func agrees(t testing.TB, data []byte) bool {
	t.Helper()
	theirs, theirErr := crossing.UnmarshalFrame(data)
	ours, err := wire.Decode(message.Frame, data)
	if err == nil && ours.Count(message.Said...) != 1 || len(data) > crossing.MaxFrame {
		return false // what is said of that, is said elsewhere
	}
	if (err == nil) != (theirErr == nil) {
		t.Fatalf("%x: %v, and theirs %v", data, err, theirErr)
	}
	if err != nil {
		return false
	}
	encoded, err := crossing.MarshalFrame(theirs)
	if err != nil {
		t.Fatalf("%x: %v", data, err)
	}
	if got := ours.Encode(); !bytes.Equal(got, encoded) {
		t.Fatalf("%x is encoded as\n%x, theirs as\n%x", data, got, encoded)
	}
	if d := cmp.Diff(jsonOf(t, must(protojson.Marshal(theirs))), jsonOf(t, must(json.Marshal(ours)))); d != "" {
		t.Fatalf("%x (-theirs +ours):\n%s", data, d)
	}
	return true
}

// TestActs: entries that say of a hold that it was set or released, or that sealed content
// was given to somebody, are read as the logs write them.
func TestActs(t *testing.T) {
	hold := &logv1.Hold{Name: "case 7", Owner: "ml-platform", Identities: []string{"spiffe://a.demo/x", "spiffe://a.demo/y"}}
	opened := &logv1.Opened{Crossing: "01a207e6", Gateway: "spiffe://a.demo/sallyport/gateway/a-1", Part: "request", Intent: "plan", Reviewer: "dpo", Sha256: "00ff", Given: timestamppb.New(time.Unix(1_795_000_001, 7))}
	for _, act := range []*logv1.Act{{By: "spiffe://mesh.demo/alice", Hold: hold}, {Released: hold}, {Hold: &logv1.Hold{}}, {By: "spiffe://mesh.demo/alice", Opened: opened}, {Opened: &logv1.Opened{}}} {
		entry := &logv1.Entry{At: timestamppb.New(time.Unix(1_795_000_000, 5)), Act: act}
		data := must(proto.MarshalOptions{Deterministic: true}.Marshal(entry))
		ours, err := wire.Decode(message.Entry, data)
		if err != nil {
			t.Fatalf("%v: %v", entry, err)
		}
		if got := ours.Encode(); !bytes.Equal(got, data) || ours.Count(message.Kept...) != 1 {
			t.Errorf("%v is encoded as\n%x, theirs as\n%x", entry, got, data)
		}
		if d := cmp.Diff(jsonOf(t, must(protojson.Marshal(entry))), jsonOf(t, must(json.Marshal(ours)))); d != "" {
			t.Errorf("%v (-theirs +ours):\n%s", entry, d)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func jsonOf(t testing.TB, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// FuzzFrame: whatever the bytes, both decoders say the same.
func FuzzFrame(f *testing.F) {
	for _, data := range frames(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { agrees(t, data) })
}

// FuzzAgain: a message that is decoded into is as if it were new.
func FuzzAgain(f *testing.F) {
	all := frames(f)
	for i, data := range all {
		f.Add(data, all[(i+7)%len(all)])
	}
	used := wire.NewMessage(message.Frame)
	f.Fuzz(func(t *testing.T, first, data []byte) {
		_ = used.Decode(first)
		err := used.Decode(data)
		fresh, freshErr := wire.Decode(message.Frame, data)
		if (err == nil) != (freshErr == nil) {
			t.Fatalf("%v, and afresh %v", err, freshErr)
		}
		if err == nil && !bytes.Equal(used.Encode(), fresh.Encode()) {
			t.Errorf("%x, and afresh %x", used.Encode(), fresh.Encode())
		}
	})
}

// FuzzMessages: the other messages, by the protobuf library.
func FuzzMessages(f *testing.F) {
	f.Add(uint8(1), []byte{0x10, 1})
	f.Add(uint8(5), []byte{0x0a, 2, 8, 1})
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		c := tables[1:][int(which)%(len(tables)-1)]
		ours, err := wire.Decode(c.ours, data)
		if err != nil {
			return // it refuses more than the library does
		}
		theirs := c.theirs.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(data, theirs); err != nil {
			t.Fatalf("%x is taken: %v", data, err)
		}
		if want := must(proto.MarshalOptions{Deterministic: true}.Marshal(theirs)); !bytes.Equal(ours.Encode(), want) {
			t.Errorf("%x is encoded as %x, theirs as %x", data, ours.Encode(), want)
		}
	})
}

// BenchmarkDecode: what does a frame cost, in memory that is there?
func BenchmarkDecode(b *testing.B) {
	var whole [][]byte
	for _, data := range frames(b) {
		if m, err := wire.Decode(message.Frame, data); err == nil && m.Count("open", "close") == 1 {
			whole = append(whole, data)
		}
	}
	m := wire.NewMessage(message.Frame)
	b.ReportAllocs()
	at := 0
	for b.Loop() {
		if err := m.Decode(whole[at%len(whole)]); err != nil {
			b.Fatal(err)
		}
		at++
	}
}
