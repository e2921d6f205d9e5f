package verifytest

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"
)

// File is one of a pack.
type File struct {
	Name string
	Data []byte
}

// Files are those of the pack of all that there is.
func (m *Mesh) Files() []File {
	files := m.LogFiles(Began, m.Now.Add(time.Hour))
	w := &FrameWriter{Each: func(f File) { files = append(files, f) }}
	for _, frame := range m.Frames {
		w.Write(frame)
	}
	w.Close()
	return files
}

// LogFiles are those of the pack that come before its frames.
func (m *Mesh) LogFiles(from, to time.Time) []File {
	files := []File{{"sallyport-pack", fmt.Appendf(nil, "sallyport.pack.v1\nfrom %s\nto %s\n", from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano))}}
	for _, g := range []*Gateway{m.Far, m.Near} {
		dir := "logs/" + g.Log.Origin[:len(g.Log.Origin)-len("/sallyport/log")] + "/"
		files = append(files, File{dir + "checkpoint", []byte(m.Checkpoint(g))})
		g.Log.bundles(func(name string, data []byte) { files = append(files, File{dir + name, data}) })
	}
	return files
}

// FrameWriter makes a pack's files of frames.
type FrameWriter struct {
	// Each gets each file.
	Each func(f File)

	n    int
	data []byte
}

// Write appends a frame.
func (w *FrameWriter) Write(frame []byte) {
	if len(w.data)+len(frame)+binary.MaxVarintLen32 > 4<<20 {
		w.Close()
	}
	w.data = append(binary.AppendUvarint(w.data, uint64(len(frame))), frame...)
}

// Close gives the last file out.
func (w *FrameWriter) Close() {
	if len(w.data) == 0 {
		return
	}
	w.n++
	w.Each(File{fmt.Sprintf("frames/%08d", w.n), slices.Clone(w.data)})
	w.data = w.data[:0]
}

// Tar puts files together.
func Tar(files []File) []byte {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, f := range files {
		if err := WriteFile(t, f); err != nil {
			panic(err)
		}
	}
	if err := t.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// WriteFile appends a file to a tar.
func WriteFile(t *tar.Writer, f File) error {
	err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Size: int64(len(f.Data)), Mode: 0o644, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = io.Copy(t, bytes.NewReader(f.Data))
	}
	return err
}

// Pack is the pack of all that there is.
func (m *Mesh) Pack() []byte { return Tar(m.Files()) }
