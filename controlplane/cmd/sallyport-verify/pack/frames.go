package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/frame"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
)

// maxFrames is the largest file of frames, in bytes.
const maxFrames = 4 << 20

// seen is an opening or an end that was read.
type seen struct {
	of     *chained
	side   uint8
	list   uint8
	n      uint64
	leaf   merkle.Hash
	agreed uint64
}

// batch is what one file of frames has.
type batch struct {
	seen     []seen
	frames   int
	findings []finding.Finding
	unknown  map[string]unstated // frames of chains that nobody states
}

// unstated are frames of a chain that nobody states, and when the first of them opened.
type unstated struct {
	frames int
	since  time.Time
}

func (u unstated) with(other unstated) unstated {
	if u.since.IsZero() || !other.since.IsZero() && other.since.Before(u.since) {
		u.since = other.since
	}
	u.frames += other.frames
	return u
}

// deliver reads all frames, file by file on all processors.
func (c *checker) deliver() {
	known := map[string]*chained{}
	for name, ch := range c.chains {
		known[string(chainKey(nil, []byte(name.Egress), []byte(name.Ingress), []byte(name.Run)))] = ch
	}
	var names []string
	for _, name := range c.files.names {
		if strings.HasPrefix(name, framesDir) {
			names = append(names, name)
		}
	}
	done, spare := make(chan *batch, 2), sync.Pool{New: func() any { return new(batch) }}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			r := &reader{known: known, frames: frame.NewReader()}
			for at := int(next.Add(1)) - 1; at < len(names); at = int(next.Add(1)) - 1 {
				b := spare.Get().(*batch)
				*b = batch{seen: b.seen[:0]}
				r.file(c.files, names[at], b)
				done <- b
			}
		})
	}
	go func() { workers.Wait(); close(done) }()
	unknown := map[string]unstated{}
	for b := range done {
		c.collect(b)
		for name, u := range b.unknown {
			if unknown[name].frames > 0 || len(unknown) < maxUnknown {
				unknown[name] = unknown[name].with(u)
			}
		}
		spare.Put(b)
	}
	for _, u := range unknown {
		c.Findings.Add(c.young(u))
	}
}

// young is what frames of a chain that nobody states mean: a chain that began right before
// the pack was made is stated with the next epoch.
func (c *checker) young(u unstated) finding.Finding {
	if !u.since.IsZero() && c.To.Sub(u.since) <= maxSilence {
		return finding.Finding{Weight: finding.Note, Kind: finding.Pending, Why: fmt.Sprintf("%d frames are of a chain that began right before the end: it is in no statement yet", u.frames)}
	}
	return finding.Finding{Weight: finding.Fault, Kind: finding.Added, Why: fmt.Sprintf("%d frames are of a chain that no log has a statement of: nobody has signed them", u.frames)}
}

// maxUnknown is how many chains that nobody states are told apart.
const maxUnknown = 100

// collect takes up what a file has.
func (c *checker) collect(b *batch) {
	c.Frames += b.frames
	c.Findings.Add(b.findings...)
	for i := range b.seen {
		s := &b.seen[i]
		if !s.of.columns[s.side][s.list].put(s.n, s.leaf, s.agreed) {
			c.Findings.Add(finding.Of(finding.Fault, finding.Added, s.of.Name, 0, s.n, "there are two frames of %s with %s", gatewayOf(s.of.Name, int(s.side)), what(int(s.list))))
		}
	}
}

func what(list int) string {
	if list == closed {
		return "its end"
	}
	return "its opening"
}

// reader reads files of frames.
type reader struct {
	known  map[string]*chained
	frames *frame.Reader
	buffer []byte // a file
	key    []byte
	agreed []byte
}

// file reads a file. What follows a fault in its lengths is not read.
func (r *reader) file(f *files, name string, b *batch) {
	data, err := f.read(name, maxFrames, r.buffer)
	if err != nil {
		b.fault(finding.Malformed, "%v", err)
		return
	}
	r.buffer = data
	for at := 0; at < len(data); {
		size, n := binary.Uvarint(data[at:])
		if n <= 0 || n > 1 && data[at+n-1] == 0 || size == 0 || size > min(frame.MaxSize, uint64(len(data)-at-n)) {
			b.fault(finding.Malformed, "%s: at byte %d there is no frame", name, at)
			return
		}
		at += n
		if err := r.frame(data[at:at+int(size)], b); err != nil { //nolint:gosec // it is at most len(data)
			b.fault(finding.Changed, "%s: the frame at byte %d: %v", name, at, err)
		}
		at += int(size) //nolint:gosec // as above
	}
}

func (b *batch) fault(k finding.Kind, why string, args ...any) {
	b.findings = append(b.findings, finding.Finding{Weight: finding.Fault, Kind: k, Why: fmt.Sprintf(why, args...)})
}

var errStatement = errors.New("it belongs into a log")

// frame takes up one frame.
func (r *reader) frame(data []byte, b *batch) error {
	f, err := r.frames.Read(data)
	if err != nil {
		return err
	}
	b.frames++
	p, is, err := frame.PlaceOf(f)
	if err == nil && is {
		err = p.Speaks()
	}
	if err != nil {
		return err
	}
	if !is {
		if f.Count("statement", "heartbeat", "announcement") > 0 {
			return errStatement
		}
		return nil
	}
	r.key = chainKey(r.key[:0], p.Egress, p.Ingress, p.Run)
	of := r.known[string(r.key)]
	if of == nil {
		if b.unknown == nil {
			b.unknown = map[string]unstated{}
		}
		one := unstated{frames: 1}
		if !p.Ending {
			one.since = p.Of.Sub("end").Time("open")
		}
		b.unknown[string(r.key)] = b.unknown[string(r.key)].with(one)
		return nil
	}
	r.agreed = p.AppendAgreed(r.agreed[:0])
	digest := sha256.Sum256(r.agreed)
	s := seen{of: of, side: uint8(p.Side - 1), n: p.Number, leaf: merkle.Leaf(data), agreed: binary.BigEndian.Uint64(digest[:])} //nolint:gosec // a side is 1 or 2
	if p.Ending {
		s.list = closed
	}
	b.seen = append(b.seen, s)
	return nil
}

// chainKey is a chain as the key of a map.
func chainKey(b, egress, ingress, run []byte) []byte {
	b = append(append(b, egress...), ' ')
	b = append(append(b, ingress...), ' ')
	return append(b, run...)
}

func gatewayOf(c statement.Chain, side int) string {
	if side == ingress {
		return c.Ingress
	}
	return c.Egress
}
