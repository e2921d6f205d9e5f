// Package pack checks a pack of evidence, as ../FORMAT.md specifies it: the logs of some
// environments whole, and the frames of a time.
//
// The one invariant: whatever was signed and is not there is named, and whatever is there
// and was not signed. It computes every root again and takes nobody's word for one.
package pack

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/chain"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/keys"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/trust"
)

const (
	// First is the name of a pack's first file.
	First = "sallyport-pack"
	magic = "sallyport.pack.v1"

	logsDir   = "logs/"
	framesDir = "frames/"

	// maxLogs is the most logs that a pack has.
	maxLogs = 1000
)

// Report is what a pack has, and what is wrong with it.
type Report struct {
	// From and To are the time of which it has the frames.
	From, To time.Time
	// Logs are those that were read, by trust domain.
	Logs []Log
	// Chains, Statements and Frames are how many there are. Crossings are those whose
	// opening is in a statement that was checked.
	Chains, Statements, Crossings, Frames int
	// Findings in the order of logs, chains and epochs.
	Findings finding.List
}

// Log is one that was read.
type Log struct {
	chain.Log

	// Checkpoint of it.
	Checkpoint *keys.Checkpoint
	// Entries is how many there are.
	Entries uint64
}

// checker is a check that is going on.
type checker struct {
	*Report

	files  *files
	keys   *keys.File
	book   *trust.Book
	logs   []*log
	chains map[statement.Chain]*chained
	names  []statement.Chain // of chains, in order
	voices map[string][]voice
	tiles  map[string]int // files with entries, by trust domain
}

// Check checks a pack. Since is a checkpoint that was kept from before; nil if there is
// none. The error says why the pack cannot be read.
func Check(from io.ReaderAt, size int64, k *keys.File, since *keys.Checkpoint) (*Report, error) {
	f, err := index(from, size)
	if err != nil {
		return nil, err
	}
	c := &checker{
		Report: new(Report), files: f, keys: k, book: trust.NewBook(k),
		chains: map[statement.Chain]*chained{}, voices: map[string][]voice{}, tiles: map[string]int{},
	}
	if err := c.head(); err != nil {
		return nil, err
	}
	if c.strangers(); len(c.logs) > maxLogs {
		return nil, fmt.Errorf("%d logs, the most are %d", len(c.logs), maxLogs)
	}
	c.readLogs(since)
	c.announced()
	c.stated()
	c.follow()
	c.silences()
	c.deliver()
	c.hold()
	return c.Report, nil
}

// head reads the first file.
func (c *checker) head() (err error) {
	if len(c.files.names) == 0 || c.files.names[0] != First {
		return fmt.Errorf("its first file is not %s", First)
	}
	text, err := c.files.read(First, 1<<10, nil)
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 4 || lines[0] != magic || lines[3] != "" {
		return fmt.Errorf("%s: want the lines %s, from and to", First, magic)
	}
	if c.From, err = headTime(lines[1], "from "); err != nil {
		return err
	}
	if c.To, err = headTime(lines[2], "to "); err != nil {
		return err
	}
	if c.To.Before(c.From) {
		return errors.New("it ends before it begins")
	}
	return nil
}

func headTime(line, name string) (time.Time, error) {
	text, is := strings.CutPrefix(line, name)
	t, err := time.Parse(time.RFC3339Nano, text)
	if !is || err != nil {
		return t, fmt.Errorf("%s: want %sand a time of RFC 3339", First, name)
	}
	return t.UTC(), nil
}

// strangers finds files that no pack has, and sorts the logs out.
func (c *checker) strangers() {
	frames := 0
	for _, name := range c.files.names[1:] {
		switch td, rest, _ := strings.Cut(strings.TrimPrefix(name, logsDir), "/"); {
		case strings.HasPrefix(name, framesDir):
			if frames++; name != framesName(frames) {
				c.Findings.Add(finding.Finding{Weight: finding.Fault, Kind: finding.Dropped, Why: fmt.Sprintf("the file %s is where %s should be", name, framesName(frames))})
			}
		case strings.HasPrefix(name, logsDir) && rest == checkpointName:
			c.logs = append(c.logs, &log{Log: Log{Log: chain.Log{TrustDomain: td}}})
		case strings.HasPrefix(name, logsDir) && strings.HasPrefix(rest, entriesDir):
			c.tiles[td]++
		default:
			c.Findings.Add(finding.Finding{Weight: finding.Fault, Kind: finding.Added, Why: fmt.Sprintf("%.100q is no file of a pack", name)})
		}
	}
	slices.SortFunc(c.logs, func(x, y *log) int { return strings.Compare(x.TrustDomain, y.TrustDomain) })
}

func framesName(n int) string { return fmt.Sprintf("%s%08d", framesDir, n) }
