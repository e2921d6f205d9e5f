package sniff

import (
	"encoding/binary"
	"strings"
	"testing"
)

func safetensors(n uint64, header string) string {
	return string(binary.LittleEndian.AppendUint64(nil, n)) + header
}

func gguf2(version uint32, tensors uint64) string {
	b := binary.LittleEndian.AppendUint32([]byte("GGUF"), version)
	return string(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, tensors), 3))
}

func zipped(name string) string {
	head := make([]byte, 30)
	copy(head, "PK\x03\x04")
	head[26] = byte(len(name))
	return string(head) + name
}

func file(content string) File {
	var h Head
	h.Take([]byte(content))
	return h.File(int64(len(content)))
}

func TestFile(t *testing.T) {
	const header = `{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`
	pickle := "\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94."
	for name, c := range map[string]struct {
		content string
		want    File
	}{
		"safetensors":                 {safetensors(uint64(len(header)), header+"1234"), File{Format: Safetensors, Tensors: 1, Counted: true, Data: 4, Dtypes: 1 << 17}},
		"a header beyond the file":    {safetensors(uint64(len(header)+5), header+"1234"), File{Format: Safetensors, Inconsistent: true}},
		"a header beyond the limit":   {safetensors(maxHeader+1, header), File{}},
		"a header that is no object":  {safetensors(4, "[{}]"), File{}},
		"gguf":                        {gguf2(3, 291), File{Format: GGUF, Tensors: 291, Counted: true}},
		"gguf without tensors":        {gguf2(2, 0), File{Format: GGUF, Counted: true}},
		"gguf, the first":             {gguf2(1, 0), File{Format: GGUF}},
		"gguf of another byte order":  {gguf2(3<<24, 0), File{}},
		"gguf, cut off":               {gguf2(3, 291)[:20], File{}},
		"parquet":                     {"PAR1\x15\x04", File{Format: Parquet}},
		"arrow":                       {"ARROW1\x00\x00\xff", File{Format: Arrow}},
		"pytorch":                     {zipped("archive/data.pkl"), File{Format: PyTorch, Pickle: true}},
		"another archive":             {zipped("word/document.xml"), File{}},
		"an archive with a long name": {zipped(strings.Repeat("x", 200)), File{}},
		"pickle, protocol 4":          {pickle, File{Format: Pickle, Pickle: true}},
		"pickle, protocol 2":          {"\x80\x02}q\x00.", File{Format: Pickle, Pickle: true}},
		"pickle without a frame":      {"\x80\x05K\x01.", File{Format: Pickle, Pickle: true}},
		"pickle of large bytes":       {"\x80\x05\x8e\x00\x00\x10\x00\x00\x00\x00\x00", File{Format: Pickle, Pickle: true}},
		"pickle of a newer opcode":    {"\x80\x02\x8c\x02os\x8c\x06system\x93.", File{Format: Pickle, Pickle: true}},
		"pickle of what takes off":    {"\x80\x02R.", File{}},
		"torch.save's old form":       {"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", File{Format: Pickle, Pickle: true}},
		"pickle, protocol 9":          {"\x80\x09}q\x00.", File{}},
		"text":                        {"a,b,c\n1,2,3\n", File{}},
		"nothing":                     {"", File{}},
	} {
		if got := file(c.content); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// FuzzFile: however a file is cut on its way, it is the same.
func FuzzFile(f *testing.F) {
	f.Add([]byte(safetensors(2, "{}")), 3)
	f.Add([]byte(gguf2(3, 9)), 5)
	f.Add([]byte(zipped("a/data.pkl")), 28)
	f.Add([]byte("\x80\x02}q\x00."), 1)
	f.Fuzz(func(t *testing.T, content []byte, at int) {
		at = min(max(at, 0), len(content))
		var h Head
		h.Take(content[:at])
		h.Take(content[at:])
		if got, want := h.File(int64(len(content))), file(string(content)); got != want {
			t.Errorf("cut at %d: %+v, whole: %+v", at, got, want)
		}
	})
}
