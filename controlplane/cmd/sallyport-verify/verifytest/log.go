package verifytest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/statement"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

// Log is an environment's log, in memory.
type Log struct {
	// Origin is its name, Key its public key.
	Origin, Key string
	// Entries, encoded.
	Entries [][]byte

	t      testing.TB
	signer note.Signer
}

// NewLog makes an empty log of a trust domain.
func NewLog(t testing.TB, trustDomain string) *Log {
	l := &Log{Origin: trustDomain + "/sallyport/log", t: t}
	private, public, err := note.GenerateKey(rand.Reader, l.Origin)
	if err != nil {
		t.Fatal(err)
	}
	l.Key, l.signer = public, must[note.Signer](t)(note.NewSigner(private))
	return l
}

// Add appends an entry at that time.
func (l *Log) Add(at time.Time, e *logv1.Entry) {
	e.At = timestamppb.New(at)
	l.Entries = append(l.Entries, must[[]byte](l.t)(proto.MarshalOptions{Deterministic: true}.Marshal(e)))
}

func (l *Log) leaves() []statement.Hash {
	all := make([]statement.Hash, len(l.Entries))
	for i, e := range l.Entries {
		all[i] = statement.Leaf(e)
	}
	return all
}

// Checkpoint is the signed checkpoint of what there is, cosigned by witnesses.
func (l *Log) Checkpoint(at time.Time, by ...*Witness) string {
	root := statement.Root(l.leaves())
	text := fmt.Sprintf("%s\n%d\n%s\n", l.Origin, len(l.Entries), base64.StdEncoding.EncodeToString(root[:]))
	signed := string(must[[]byte](l.t)(note.Sign(&note.Note{Text: text}, l.signer)))
	for _, w := range by {
		signed += w.cosign(text, at)
	}
	return signed
}

// Path is the audit path of an entry in the whole log.
func (l *Log) Path(index int) []statement.Hash { return statement.Path(l.leaves(), index) }

// Witness cosigns checkpoints.
type Witness struct {
	// Name of it, and its key as a vkey.
	Name, Key string

	private ed25519.PrivateKey
	id      []byte
}

// NewWitness makes one.
func NewWitness(t testing.TB, name string) *Witness {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	typed := append([]byte{4}, public...)
	id := sum(append([]byte(name+"\n"), typed...))
	return &Witness{
		Name: name, Key: fmt.Sprintf("%s+%x+%s", name, id[:4], base64.StdEncoding.EncodeToString(typed)), private: private, id: id[:4],
	}
}

func (w *Witness) cosign(text string, at time.Time) string {
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", at.Unix(), text)
	value := binary.BigEndian.AppendUint64(append([]byte{}, w.id...), uint64(at.Unix()))
	value = append(value, ed25519.Sign(w.private, []byte(message))...)
	return fmt.Sprintf("— %s %s\n", w.Name, base64.StdEncoding.EncodeToString(value))
}

// bundles are the entry bundles of the log, as C2SP tlog-tiles names them.
func (l *Log) bundles(each func(name string, data []byte)) {
	const width = 256
	for n := 0; n*width < len(l.Entries); n++ {
		some := l.Entries[n*width : min((n+1)*width, len(l.Entries))]
		var data []byte
		for _, e := range some {
			data = append(binary.BigEndian.AppendUint16(data, uint16(len(e))), e...)
		}
		name := tileName(n)
		if len(some) < width {
			name += fmt.Sprintf(".p/%d", len(some))
		}
		each("tile/entries/"+name, data)
	}
}

func tileName(n int) string {
	parts := []string{fmt.Sprintf("%03d", n%1000)}
	for n /= 1000; n > 0; n /= 1000 {
		parts = append([]string{fmt.Sprintf("x%03d", n%1000)}, parts...)
	}
	return strings.Join(parts, "/")
}
