package sniff

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// of is a tensor in a header.
func of(name, dtype, shape string, begin, end uint64) string {
	return fmt.Sprintf(`%q:{"dtype":%q,"shape":[%s],"data_offsets":[%d,%d]}`, name, dtype, shape, begin, end)
}

// whole is a file with a header of those members, and so many bytes behind it.
func whole(data int, members ...string) string {
	header := "{" + strings.Join(members, ",") + "}"
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	return safetensors(uint64(len(header)), header+strings.Repeat("x", data))
}

// TestSafetensors: a header is held against itself and against the file, as far as that is
// known.
func TestSafetensors(t *testing.T) {
	a, b := of("a", "BF16", "2,3", 0, 12), of("b", "F32", "", 12, 16)
	for name, c := range map[string]struct {
		content string
		tensors uint64
		data    uint64
		dtypes  []string
		bad     bool
	}{
		"none":                          {whole(0), 0, 0, nil, false},
		"metadata alone":                {whole(0, `"__metadata__":{"format":"pt"}`), 0, 0, nil, false},
		"no metadata":                   {whole(0, `"__metadata__":null`), 0, 0, nil, false},
		"two":                           {whole(16, `"__metadata__":{}`, a, b), 2, 16, []string{"BF16", "F32"}, false},
		"in another order":              {whole(16, b, a), 2, 16, []string{"BF16", "F32"}, false},
		"one of no elements":            {whole(16, a, of("z", "I8", "0,9", 12, 12), b), 3, 16, []string{"I8", "BF16", "F32"}, false},
		"half bytes":                    {whole(4, of("q", "F4", "8", 0, 4)), 1, 4, []string{"F4"}, false},
		"a type that is not known":      {whole(5, of("q", "Q4", "8", 0, 5)), 1, 5, nil, false},
		"a name in another way":         {whole(12, of("\\u0061", "BF16", "2,3", 0, 12)), 1, 12, []string{"BF16"}, false},
		"half a byte":                   {whole(4, of("q", "F4", "7", 0, 4)), 0, 0, nil, true},
		"a gap":                         {whole(20, a, of("b", "F32", "", 16, 20)), 0, 0, nil, true},
		"one that begins later":         {whole(16, b), 0, 0, nil, true},
		"one over another":              {whole(14, a, of("b", "F16", "2", 10, 14)), 0, 0, nil, true},
		"one twice":                     {whole(12, a, of("b", "BF16", "2,3", 0, 12)), 0, 0, nil, true},
		"a gap as long as what is over": {whole(16, of("a", "U8", "8", 0, 8), of("b", "U8", "4", 4, 8), of("c", "U8", "4", 12, 16)), 0, 0, nil, true},
		"from its end to its begin":     {whole(12, of("a", "I8", "", 12, 0)), 0, 0, nil, true},
		"longer than its elements":      {whole(12, of("a", "BF16", "2,2", 0, 12)), 0, 0, nil, true},
		"too many elements":             {whole(0, of("a", "I8", "4294967296,4294967296", 0, 0)), 0, 0, nil, true},
		"no type":                       {whole(4, `"a":{"shape":[4],"data_offsets":[0,4]}`), 0, 0, nil, true},
		"no shape":                      {whole(4, `"a":{"dtype":"I8","data_offsets":[0,4]}`), 0, 0, nil, true},
		"no offsets":                    {whole(0, `"a":{"dtype":"I8","shape":[0]}`), 0, 0, nil, true},
		"three offsets":                 {whole(4, `"a":{"dtype":"I8","shape":[4],"data_offsets":[0,0,4]}`), 0, 0, nil, true},
		"an offset below zero":          {whole(4, `"a":{"dtype":"I8","shape":[4],"data_offsets":[-4,0]}`), 0, 0, nil, true},
		"an offset that is a text":      {whole(4, `"a":{"dtype":"I8","shape":[4],"data_offsets":["0",4]}`), 0, 0, nil, true},
		"a dimension that is a text":    {whole(4, `"a":{"dtype":"I8","shape":["4"],"data_offsets":[0,4]}`), 0, 0, nil, true},
		"a tensor that is a number":     {whole(0, `"a":1`), 0, 0, nil, true},
		"a shape twice":                 {whole(4, `"a":{"dtype":"I8","shape":[4],"shape":[4],"data_offsets":[0,4]}`), 0, 0, nil, true},
		"no JSON":                       {whole(0, `"a"`), 0, 0, nil, true},
		"more behind the header":        {safetensors(4, "{}{}"), 0, 0, nil, true},
		"a file that is longer":         {whole(17, a, b), 2, 16, []string{"BF16", "F32"}, true},
		"a file that is shorter":        {whole(15, a, b), 2, 16, []string{"BF16", "F32"}, true},
	} {
		got := file(c.content)
		want := File{Format: Safetensors, Tensors: c.tensors, Counted: c.tensors > 0 || !c.bad, Data: c.data, Inconsistent: c.bad, Dtypes: got.Dtypes}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if d := cmp.Diff(c.dtypes, got.Dtypes.Names()); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestSafetensorsInPart: of a file whose size is not known, only the header is held against
// itself; of a header that did not come to its end, nothing is said.
func TestSafetensorsInPart(t *testing.T) {
	content := whole(4, of("a", "I8", "4", 0, 4))
	for name, c := range map[string]struct {
		came int
		want File
	}{
		"the header":      {len(content) - 4, File{Format: Safetensors, Tensors: 1, Counted: true, Data: 4, Dtypes: 1 << 5}},
		"less":            {len(content) - 5, File{Format: Safetensors}},
		"how long it is":  {8, File{}},
		"and one byte":    {9, File{Format: Safetensors}},
		"hardly anything": {3, File{}},
	} {
		var h Head
		h.Take([]byte(content[:c.came]))
		if got := h.File(-1); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestManyTensors: a header of any length takes the same room.
func TestManyTensors(t *testing.T) {
	const n = 10_000
	members := make([]string, n)
	for i := range members {
		members[i] = of(fmt.Sprintf("model.layers.%d.weight", i), "F16", "1", uint64(2*i), uint64(2*i+2))
	}
	slices.Reverse(members)
	content := []byte(whole(2*n, members...))
	var h Head
	if allocs := testing.AllocsPerRun(5, func() {
		h = Head{}
		for p := range slices.Chunk(content, 32<<10) {
			h.Take(p)
		}
	}); allocs > 8 {
		t.Errorf("%v allocations", allocs)
	}
	if got := h.File(int64(len(content))); got.Tensors != n || got.Inconsistent {
		t.Errorf("%+v", got)
	}
}

// loads says whether the reference implementation would load a file, and how many tensors
// it would find (safetensors, SafeTensors::read_metadata), of types that are known.
func loads(content []byte, header int) (tensors int, ok bool) {
	type info struct {
		Dtype       *string   `json:"dtype"`
		Shape       *[]uint64 `json:"shape"`
		DataOffsets *[]uint64 `json:"data_offsets"`
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(content[prefix:prefix+header], &all) != nil {
		return 0, false
	}
	delete(all, "__metadata__")
	var infos []info
	for _, text := range all {
		var i info
		if json.Unmarshal(text, &i) != nil || i.Dtype == nil || i.Shape == nil || i.DataOffsets == nil || len(*i.DataOffsets) != 2 {
			return 0, false
		}
		infos = append(infos, i)
	}
	slices.SortFunc(infos, func(x, y info) int { return slices.Compare(*x.DataOffsets, *y.DataOffsets) })
	at := uint64(0)
	for _, i := range infos {
		if (*i.DataOffsets)[0] != at || (*i.DataOffsets)[1] < at {
			return 0, false
		}
		at = (*i.DataOffsets)[1]
	}
	return len(infos), at == uint64(len(content)-prefix-header)
}

// FuzzSafetensors: what is found consistent, the reference implementation loads.
func FuzzSafetensors(f *testing.F) {
	f.Add(of("a", "BF16", "2,3", 0, 12)+","+of("b", "F32", "", 12, 16), 16)
	f.Add(`"__metadata__":{},`+of("a", "F4", "2", 0, 1), 1)
	f.Add(of("a", "I8", "0", 0, 0), 0)
	f.Fuzz(func(t *testing.T, members string, data int) {
		content := whole(min(max(data, 0), 1<<10), members)
		got := file(content)
		if got.Format != Safetensors || got.Inconsistent {
			return
		}
		header := len("{" + members + "}")
		header += (8 - header%8) % 8
		if tensors, ok := loads([]byte(content), header); !ok || uint64(tensors) > got.Tensors {
			t.Errorf("%q of %d bytes is consistent with %d tensors; loads %t with %d", members, data, got.Tensors, ok, tensors)
		}
	})
}
