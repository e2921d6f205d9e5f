package pack

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/finding"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
)

// TestNoByteFree: no byte of a file of a pack can be another one unseen. Which bit of it
// is turned depends on where it is. With -short, each fifth byte is looked at.
func TestNoByteFree(t *testing.T) {
	m := verifytest.New(t)
	m.Cross()
	m.Epoch(true)
	k := believing(t, m)
	whole := m.Pack()
	f, err := index(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	stride := int64(1)
	if testing.Short() || raceEnabled {
		stride = 5
	}
	var each sync.WaitGroup
	for _, name := range f.names[1:] { // the first says of which time the frames are
		s := f.place[name]
		each.Go(func() {
			data := bytes.Clone(whole)
			for at := s.at; at < s.at+s.size; at += stride {
				data[at] ^= 1 << (at % 8)
				r, err := Check(bytes.NewReader(data), int64(len(data)), k, nil)
				if err == nil && r.Findings.Worst() == finding.Note {
					t.Errorf("byte %d of %s (%.40q) is free:\n%s", at-s.at, name, data[max(s.at, at-20):], found(r))
				}
				data[at] ^= 1 << (at % 8)
			}
		})
	}
	each.Wait()
}

// TestTarRefused: what is no tar of files with names of their own.
func TestTarRefused(t *testing.T) {
	m := verifytest.New(t)
	whole := m.Pack()
	for name, data := range map[string][]byte{
		"nothing":           nil,
		"half of it":        whole[:len(whole)/2],
		"without its end":   whole[:len(whole)-1024],
		"with half its end": whole[:len(whole)-512],
		"with more":         append(bytes.Clone(whole), 1),
		"with zeroes":       append(bytes.Clone(whole), make([]byte, maxPadding)...),
		"a file twice":      verifytest.Tar([]verifytest.File{{Name: First}, {Name: First}}),
		"another beginning": verifytest.Tar([]verifytest.File{{Name: "frames/00000001"}}),
		"an empty head":     verifytest.Tar([]verifytest.File{{Name: First}}),
		"another version":   verifytest.Tar([]verifytest.File{{Name: First, Data: []byte("sallyport.pack.v2\nfrom 2026-01-01T00:00:00Z\nto 2026-01-02T00:00:00Z\n")}}),
		"a time that is none": verifytest.Tar([]verifytest.File{{
			Name: First, Data: []byte("sallyport.pack.v1\nfrom yesterday\nto 2026-01-02T00:00:00Z\n"),
		}}),
		"an end before the beginning": verifytest.Tar([]verifytest.File{{
			Name: First, Data: []byte("sallyport.pack.v1\nfrom 2026-01-02T00:00:00Z\nto 2026-01-01T00:00:00Z\n"),
		}}),
	} {
		if r, err := Check(bytes.NewReader(data), int64(len(data)), believing(t, m), nil); err == nil {
			t.Errorf("%s: taken:\n%s", name, found(r))
		}
	}
}

// TestNothing: a pack without logs proves nothing, and says that it could not tell.
func TestNothing(t *testing.T) {
	m := verifytest.New(t)
	r := check(t, believing(t, m), verifytest.Tar(m.Files()[:1]), nil)
	if r.Findings.Worst() != finding.Unknown {
		t.Errorf("it finds:\n%s", found(r))
	}
}

// TestWithoutRoots: of what is signed by gateways whose trust domain has no root, nothing
// can be told.
func TestWithoutRoots(t *testing.T) {
	m := busy(t)
	text := strings.NewReplacer(m.Near.KeyLine(), "", m.Far.KeyLine(), "", m.RootLine(m.Near), "", m.RootLine(m.Far), "").Replace(m.Keys())
	k := parsed(t, text)
	r := check(t, k, m.Pack(), nil)
	unknown := 0
	for _, f := range r.Findings.All {
		if f.Kind == finding.Unproven && f.Weight == finding.Unknown {
			unknown++
		}
	}
	if unknown == 0 {
		t.Errorf("it finds:\n%s", found(r))
	}
	withKeys := strings.NewReplacer(m.RootLine(m.Near), "", m.RootLine(m.Far), "").Replace(m.Keys())
	if r := check(t, parsed(t, withKeys), m.Pack(), nil); r.Findings.Worst() == finding.Fault || r.Crossings != 30 {
		t.Errorf("with the gateways' keys instead:\n%s", found(r))
	}
}

// FuzzPack: whatever the bytes, they are judged; and no file brings a panic or takes memory
// for what it only tells.
func FuzzPack(f *testing.F) {
	m := verifytest.New(f)
	m.Cross()
	m.Epoch(true)
	k := believing(f, m)
	f.Add(m.Pack())
	f.Add(verifytest.Tar(m.Files()[:2]))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = Check(bytes.NewReader(data), int64(len(data)), k, nil)
	})
}

// FuzzFrames: the same of a file of frames in a pack that is right.
func FuzzFrames(f *testing.F) {
	m := verifytest.New(f)
	m.Cross()
	m.Epoch(true)
	k := believing(f, m)
	files := m.Files()
	last := len(files) - 1
	f.Add(files[last].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		all := append(files[:last:last], verifytest.File{Name: files[last].Name, Data: data})
		pack := verifytest.Tar(all)
		r, err := Check(bytes.NewReader(pack), int64(len(pack)), k, nil)
		if err != nil || r.Findings.Worst() == finding.Note && !bytes.Equal(data, files[last].Data) && r.Frames == 4 && len(data) == len(files[last].Data) {
			t.Errorf("%v: %x is as good:\n%s", err, data, found(r))
		}
	})
}
