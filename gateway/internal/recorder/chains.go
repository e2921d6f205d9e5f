package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// What the books know of chains is kept beside the directories of the runs, in one file
// for each process, so that none undoes what another has written: RUN.chains, entries
// as in a segment, each a ChainState.
const chainsSuffix = ".chains"

// saveChains puts what the books know of chains on stable storage.
func (l *library) saveChains() error {
	if l == nil {
		return nil
	}
	l.saving.Lock()
	defer l.saving.Unlock()
	text, err := encodeChains(l.books.Chains())
	if err == nil {
		err = disk.Replace(l.sys, l.chainsPath(l.own), text)
	}
	if err != nil {
		return fmt.Errorf("save chains: %w", err)
	}
	return nil
}

// restore tells the books what the processes of those runs knew.
func (l *library) restore(runs ...string) error {
	var files [][]*crossingv1.ChainState
	for _, run := range runs {
		text, err := disk.ReadFile(l.sys, l.chainsPath(run))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("load chains: %w", err)
		}
		chains, err := decodeChains(text)
		if err != nil {
			// What is lost of them, the other gateways still know.
			l.log.Error("states of chains are damaged", zap.String("run", run), zap.Error(err))
		}
		files = append(files, chains)
	}
	if chains := newest(files...); len(chains) > 0 {
		l.books.Restore(chains)
	}
	return nil
}

// adopt takes over the chains of processes whose directories are gone: what they knew
// is in this one's file before theirs is removed.
func (l *library) adopt() error {
	if l == nil {
		return nil
	}
	runs, err := l.knew()
	if err != nil {
		return err
	}
	runs = slices.DeleteFunc(runs, func(run string) bool {
		there, err := disk.Exists(l.sys, filepath.Join(l.dir, run))
		return there || err != nil
	})
	if len(runs) == 0 {
		return nil
	}
	l.reading.Lock()
	err = l.restore(runs...)
	l.reading.Unlock()
	if err == nil {
		err = l.saveChains()
	}
	for _, run := range runs {
		if err == nil {
			err = l.sys.Remove(l.chainsPath(run))
		}
	}
	return err
}

// knew are the other runs that have left a file of chains.
func (l *library) knew() ([]string, error) {
	entries, err := l.sys.List(l.dir)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var runs []string
	for _, e := range entries {
		if run, ok := strings.CutSuffix(e.Name, chainsSuffix); ok && run != l.own && crossing.CheckRun(run) == nil {
			runs = append(runs, run)
		}
	}
	return runs, nil
}

func (l *library) chainsPath(run string) string { return filepath.Join(l.dir, run+chainsSuffix) }

func encodeChains(chains []*crossingv1.ChainState) ([]byte, error) {
	var text []byte
	for _, c := range chains {
		payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
		if err != nil {
			return nil, err
		}
		text = spool.AppendEntry(text, payload)
	}
	return text, nil
}

// decodeChains gives those that are whole, and why there are no more.
func decodeChains(text []byte) (chains []*crossingv1.ChainState, err error) {
	for len(text) > 0 {
		var payload []byte
		if payload, text, err = spool.CutEntry(text, len(text)); err != nil {
			return chains, err
		}
		c := new(crossingv1.ChainState)
		if err := proto.Unmarshal(payload, c); err != nil {
			return chains, err
		}
		chains = append(chains, c)
	}
	return chains, nil
}

// newest is the newest state of each chain, in the order in which chains first appear.
func newest(files ...[]*crossingv1.ChainState) []*crossingv1.ChainState {
	type name struct {
		egress, ingress, run string
		side                 crossingv1.Side
	}
	var all []*crossingv1.ChainState
	where := map[name]int{}
	for _, c := range slices.Concat(files...) {
		of := c.GetChain()
		n := name{of.GetEgress(), of.GetIngress(), of.GetRun(), c.GetSide()}
		switch i, ok := where[n]; {
		case !ok:
			where[n] = len(all)
			all = append(all, c)
		case statement.Ahead(c, all[i]):
			all[i] = c
		}
	}
	return all
}
