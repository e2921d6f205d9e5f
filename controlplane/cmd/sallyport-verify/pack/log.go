package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/chain"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/frame"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/note"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

const (
	checkpointName = "checkpoint"
	entriesDir     = "tile/entries/"
	// width is how many entries a bundle has (C2SP tlog-tiles, "Log entries").
	width     = 256
	maxBundle = width * (2 + 1<<16)
)

// log is one that is being read, and what it has that others are held against.
type log struct {
	Log

	findings      []finding.Finding
	announcements []logged
	bundles       []logged
	statements    []delivered
	beats         []beat

	tiles int // files with entries
	tree  merkle.Tree
	since *keys.Checkpoint // what must be its beginning; nil if nothing must
	entry *wire.Message
	frame *frame.Reader
}

// logged is bytes of an entry.
type logged struct {
	chain.Delivery

	data []byte
}

// delivered is a statement in a log.
type delivered struct {
	*statement.Statement
	chain.Delivery
}

// beat is a heartbeat in a log.
type beat struct {
	*statement.Heartbeat
	chain.Delivery
}

// readLogs reads all logs, each by itself.
func (c *checker) readLogs(since *keys.Checkpoint) {
	if len(c.logs) == 0 {
		c.Findings.Add(finding.Finding{Weight: finding.Unknown, Kind: finding.Pending, Why: "there is no log in the pack"})
	}
	var each sync.WaitGroup
	found := since == nil
	for _, l := range c.logs {
		l.tiles = c.tiles[l.TrustDomain]
		if since != nil && since.Origin == l.TrustDomain+"/sallyport/log" {
			l.since, found = since, true
		}
		each.Go(func() { l.read(c.files, c.keys) })
	}
	each.Wait()
	if !found {
		c.Findings.Add(finding.Finding{Weight: finding.Unknown, Kind: finding.Dropped, Log: since.Origin, Why: "the checkpoint from before is of a log that is not in the pack"})
	}
	for _, l := range c.logs {
		c.Findings.Add(l.findings...)
		if l.Checkpoint != nil {
			c.Logs = append(c.Logs, l.Log)
		}
	}
}

func (l *log) find(w finding.Weight, k finding.Kind, why string, args ...any) {
	l.findings = append(l.findings, finding.Finding{Weight: w, Kind: k, Log: l.Origin, Why: fmt.Sprintf(why, args...)})
}

// read reads a log, and holds its entries against its checkpoint.
func (l *log) read(f *files, k *keys.File) {
	l.Origin = l.TrustDomain + "/sallyport/log"
	text, err := f.read(logsDir+l.TrustDomain+"/"+checkpointName, note.MaxSize, nil)
	if err == nil {
		l.Checkpoint, err = k.Checkpoint(text)
	}
	switch {
	case errors.Is(err, keys.ErrNoKey):
		l.find(finding.Unknown, finding.Unproven, "checkpoint: %v", err)
		return
	case err != nil:
		l.find(finding.Fault, finding.Changed, "checkpoint: %v", err)
		return
	case l.Checkpoint.Origin != l.Origin:
		l.find(finding.Fault, finding.Changed, "its checkpoint is of %.100q", l.Checkpoint.Origin)
		l.Checkpoint = nil
		return
	}
	l.entry, l.frame = wire.NewMessage(message.Entry), frame.NewReader()
	l.before()
	if l.bundlesOf(f) {
		l.holdRoot()
	}
}

// bundlesOf reads the entries, bundle by bundle. It is false if some are missing.
func (l *log) bundlesOf(f *files) bool {
	expected := 0
	for n := uint64(0); n*width < l.Checkpoint.Size; n++ {
		want := min(l.Checkpoint.Size-n*width, width)
		name := logsDir + l.TrustDomain + "/" + entriesDir + tileName(n, want)
		data, err := f.read(name, maxBundle, nil)
		if err != nil {
			l.lost(f, n, expected, err)
			return false
		}
		expected++
		if err := l.bundle(data, want); err != nil {
			l.find(finding.Fault, finding.Changed, "the entries from %d on: %v", n*width, err)
			return false
		}
	}
	l.Entries = l.tree.Size()
	if more := l.tiles - expected; more > 0 {
		l.find(finding.Fault, finding.Added, "%d files with entries that the signed %d do not have", more, l.Checkpoint.Size)
	}
	return true
}

// lost names the entries that are missing, from bundle n on. A smaller bundle in its place
// has the first of them.
func (l *log) lost(f *files, n uint64, expected int, err error) {
	want := min(l.Checkpoint.Size-n*width, width)
	for some := want - 1; some > 0; some-- {
		name := logsDir + l.TrustDomain + "/" + entriesDir + tileName(n, some)
		if _, is := f.place[name]; !is {
			continue
		}
		expected++
		data, readErr := f.read(name, maxBundle, nil)
		if readErr == nil {
			readErr = l.bundle(data, some)
		}
		if readErr != nil {
			err = readErr
		}
		break
	}
	l.Entries = l.tree.Size()
	if l.tiles > expected {
		l.find(finding.Fault, finding.Dropped, "it has signed %d entries, and of those from %d on some are missing: %v", l.Checkpoint.Size, l.Entries, err)
		return
	}
	l.find(finding.Fault, finding.DroppedTail, "it has signed %d entries, and those from %d on are missing", l.Checkpoint.Size, l.Entries)
}

// tileName is the name of a bundle's file (C2SP tlog-tiles, "Merkle Tree").
func tileName(n, entries uint64) string {
	name := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		name = fmt.Sprintf("x%03d/", n%1000) + name
	}
	if entries < width {
		name += fmt.Sprintf(".p/%d", entries)
	}
	return name
}

// bundle takes up its entries: so many.
func (l *log) bundle(data []byte, want uint64) error {
	for range want {
		if len(data) < 2 {
			return errors.New("the bundle ends early")
		}
		size := int(binary.BigEndian.Uint16(data))
		if data = data[2:]; len(data) < size {
			return errors.New("the bundle ends in mid-entry")
		}
		l.take(data[:size])
		data = data[size:]
	}
	if len(data) > 0 {
		return errors.New("the bundle has more than its entries")
	}
	return nil
}

// take takes up one entry.
func (l *log) take(data []byte) {
	at := l.tree.Size()
	l.tree.Add(merkle.Leaf(data))
	l.holdSince()
	if err := l.keep(at, data); err != nil {
		l.findings = append(l.findings, finding.In(finding.Fault, finding.Malformed, l.Origin, at, "%v", err))
	}
}

// keep keeps of an entry what others are held against.
func (l *log) keep(at uint64, data []byte) error {
	err := l.entry.Decode(data)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(l.entry.Encode(), data):
		return errors.New("the entry is not encoded in the one way that there is")
	case l.entry.Count(message.Kept...) != 1 || !l.entry.Has("at"):
		return errors.New("the entry does not have exactly one thing, and a time")
	}
	d := chain.Delivery{Log: l.Origin, Index: at, Entered: l.entry.Time("at")}
	if at == 0 {
		l.First = d.Entered
	}
	if d.Entered.Before(l.Last) {
		return fmt.Errorf("the entry is of %s, and the one before it of %s: the log's clock was put back", clock(d.Entered), clock(l.Last))
	}
	l.Last = d.Entered
	l.holdClock(d)
	switch {
	case l.entry.Has("bundle"):
		l.bundles = append(l.bundles, logged{d, bytes.Clone(l.entry.Bytes("bundle"))})
	case l.entry.Has("frame"):
		return l.keepFrame(d, l.entry.Bytes("frame"))
	}
	return nil
}

func (l *log) keepFrame(d chain.Delivery, data []byte) error {
	f, err := l.frame.Read(data)
	if err != nil {
		return err
	}
	d.Gateway = f.Text("gateway")
	switch {
	case f.Has("announcement"):
		l.announcements = append(l.announcements, logged{d, f.Sub("announcement").Encode()})
	case f.Has("statement"):
		s, err := statement.Read(f.Sub("statement"))
		if err != nil {
			return err
		}
		if d.Gateway != s.Chain.Egress && d.Gateway != s.Chain.Ingress {
			return fmt.Errorf("a statement that was delivered by %.256q, which is neither gateway", d.Gateway)
		}
		l.statements = append(l.statements, delivered{s, d})
	case f.Has("heartbeat"):
		h, err := statement.ReadHeartbeat(f.Sub("heartbeat"))
		if err != nil {
			return err
		}
		l.beats = append(l.beats, beat{h, d})
	default:
		return errors.New("a frame that no log has")
	}
	return nil
}

// holdRoot holds the entries against the checkpoint.
func (l *log) holdRoot() {
	if root := l.tree.Root(); root != l.Checkpoint.Root {
		l.find(finding.Fault, finding.Changed, "its %d entries come to the root %x, and it has signed %x: one was changed, or another is in its place",
			l.tree.Size(), root[:4], l.Checkpoint.Root[:4])
	}
}

// before holds the checkpoint against the one from before, as far as that can be done
// without entries.
func (l *log) before() {
	s := l.since
	if s == nil {
		return
	}
	switch {
	case s.Size > l.Checkpoint.Size:
		l.find(finding.Fault, finding.DroppedTail, "it had signed %d entries before, and has %d: the last %d are gone", s.Size, l.Checkpoint.Size, s.Size-l.Checkpoint.Size)
	case s.Size == l.Checkpoint.Size && s.Root != l.Checkpoint.Root:
		l.find(finding.Fault, finding.Fork, "it has signed two trees of %d entries: %x before, and %x", s.Size, s.Root[:4], l.Checkpoint.Root[:4])
	}
	l.holdSince()
}

// holdSince holds the entries that were taken up against the checkpoint from before, when
// they are as many.
func (l *log) holdSince() {
	if l.since == nil || l.tree.Size() != l.since.Size || l.since.Size > l.Checkpoint.Size {
		return
	}
	if root := l.tree.Root(); root != l.since.Root {
		l.find(finding.Fault, finding.Fork, "its first %d entries come to the root %x, and it had signed %x: what was there before was changed, or is gone",
			l.since.Size, root[:4], l.since.Root[:4])
	}
}

// skew is what the clocks of a log and of its witnesses may differ, and the time that a log
// may take to ask them.
const skew = 5 * time.Minute

// holdClock holds the log's clock against its witnesses': what they had not seen when they
// cosigned the checkpoint from before was added after that, and what they have cosigned now
// was added before.
func (l *log) holdClock(d chain.Delivery) {
	if s := l.since; s != nil && d.Index >= s.Size {
		for _, w := range s.Cosigned {
			if d.Entered.Before(w.At.Add(-skew)) {
				l.findings = append(l.findings, finding.In(finding.Fault, finding.BackDated, l.Origin, d.Index,
					"the log dates it %s, and at %s the witness %s saw the log without it", clock(d.Entered), clock(w.At), w.Witness))
				return
			}
		}
	}
	for _, w := range l.Checkpoint.Cosigned {
		if d.Entered.After(w.At.Add(skew)) {
			l.findings = append(l.findings, finding.In(finding.Fault, finding.Malformed, l.Origin, d.Index,
				"the log dates it %s, and the witness %s saw it at %s", clock(d.Entered), w.Witness, clock(w.At)))
			return
		}
	}
}

func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05") }
