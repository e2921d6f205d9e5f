package kserve

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// varints are numbers behind one another.
func varints(all ...int64) string {
	var b []byte
	for _, n := range all {
		b = protowire.AppendVarint(b, uint64(n))
	}
	return string(b)
}

// unpacked are numbers as fields of their own.
func unpacked(number protowire.Number, all ...int64) string {
	var b []byte
	for _, n := range all {
		b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(n))
	}
	return string(b)
}

// given is a tensor.
func given(name, datatype string, bytes int64, shape ...int64) inspect.Tensor {
	return inspect.Tensor{Name: name, Datatype: datatype, Shape: shape, Bytes: bytes}
}

func sameTensor(a, b inspect.Tensor) bool {
	return a.Name == b.Name && a.Datatype == b.Datatype && a.Bytes == b.Bytes && slices.Equal(a.Shape, b.Shape)
}

// request is one whose tensors are told.
type request struct {
	name, content string
	head          *l7.RequestHead
	version       string
	inputs        []inspect.Tensor
}

func requests() []request {
	call := head("POST", service+"ModelInfer", "content-type", "application/grpc")
	text := head("POST", inferPath, "content-type", "application/json")
	const sized = `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}},{"name":"y","data":["a"]},{"name":"z","parameters":{"binary_data_size":0}}]}`
	long := strings.Repeat("n", inspect.MaxText+1)
	many := strings.Repeat(`{"name":"t","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]},`, inspect.MaxTensors)
	sixteen := slices.Repeat([]int64{1}, inspect.MaxDimensions)
	return []request{
		{"a text", `{"inputs":[{"shape":[2,3],"name":"x","datatype":"FP32","data":[[1,2,3],[4,5,6]]}]}`, text, "", []inspect.Tensor{given("x", "FP32", -1, 2, 3)}},
		{"no inputs", `{"inputs":[]}`, text, "", nil},
		{"a version", `{"model_version":"2","inputs":[]}`, head("POST", "/v2/models/m/versions/2/infer", "content-type", "application/json"), "2", nil},
		{"a version that is not said", `{"model_version":null,"inputs":[]}`, text, "", nil},
		{"binary", sized + "\x00{\"]}\xff12", binaryHead(len(sized)), "", []inspect.Tensor{
			given("x", "FP32", 8, 1, 2), given("y", "", -1), given("z", "", 0),
		}},
		{
			"shapes that are none", `{"inputs":[{"shape":[1,2.5]},{"shape":["1"]},{"shape":[[1]]},{"shape":4},{"shape":[1e3]},{"shape":[9223372036854775808]},{"shape":[]},{"shape":null},7]}`,
			text, "", slices.Repeat([]inspect.Tensor{{Bytes: -1}}, 9),
		},
		{"names that are none", `{"inputs":[{"name":1,"datatype":null},{"name":"` + long + `"}]}`, text, "", slices.Repeat([]inspect.Tensor{{Bytes: -1}}, 2)},
		{"more than are told", `{"inputs":[` + many + `{"name":"one too many"}]}`, text, "", slices.Repeat([]inspect.Tensor{given("t", "", -1, sixteen...)}, inspect.MaxTensors)},
		{"outputs that are asked for", `{"inputs":[],"outputs":[{"name":"y"}]}`, text, "", nil},

		{
			"a call", framed(field(1, "m") + field(2, "2") + field(5, field(1, "x"), field(2, "INT64"), field(3, varints(2, 300))) + field(7, "0123456789")),
			call, "2",
			[]inspect.Tensor{given("x", "INT64", 10, 2, 300)},
		},
		{
			"a call that says it in other order", framed(field(7, "01") + field(5, unpacked(3, 2), field(1, "x"), field(3, varints(-1)), unpacked(3, 4)) + field(7, "") + field(5) + field(2, "2") + field(1, "m")),
			call, "2",
			[]inspect.Tensor{given("x", "", 2, 2, -1, 4), given("", "", 0)},
		},
		{"its contents in the message", framed(field(1, "m") + field(5, field(1, "x"), field(5, field(6, "1234")))), call, "", []inspect.Tensor{given("x", "", -1)}},
		{"a name twice", framed(field(1, "m") + field(5, field(1, "x"), field(1, "y"))), call, "", []inspect.Tensor{given("y", "", -1)}},
		{"a name, and one that is none", framed(field(1, "m") + field(5, field(1, "x"), field(1, long))), call, "", []inspect.Tensor{given("", "", -1)}},
		{
			"more in a call than are told", framed(field(1, "m") + strings.Repeat(field(5, field(3, varints(make([]int64, 20)...))), 40) + strings.Repeat(field(7, "1"), 41)),
			call, "", slices.Repeat([]inspect.Tensor{given("", "", 1, make([]int64, inspect.MaxDimensions)...)}, inspect.MaxTensors),
		},
		{"outputs that a call asks for", framed(field(1, "m") + field(6, field(1, "y"))), call, "", nil},
	}
}

// TestTensors: of each input all is told that is known, and no more than may be.
func TestTensors(t *testing.T) {
	for _, tt := range requests() {
		for piece := range 5 {
			ask, err := readIn(tt.head, tt.content, piece+1)
			if err != nil || ask.ModelVersion != tt.version {
				t.Errorf("%s: version %q, %v", tt.name, ask.ModelVersion, err)
			}
			if diff := cmp.Diff(tt.inputs, ask.Inputs); diff != "" {
				t.Errorf("%s, in pieces of %d (-want +got):\n%s", tt.name, piece+1, diff)
			}
		}
	}
}

// TestTensorsOfPart: what is told of the beginning of a content does not depend on the
// pieces, and the whole says nothing else of it.
func TestTensorsOfPart(t *testing.T) {
	inputsOf := func(tt *request, part string, piece int) []inspect.Tensor {
		r, _ := Protocol{}.Request(tt.head)
		for p := range slices.Chunk([]byte(part), piece) {
			if _, err := r.Write(p); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		if asks := r.Asks(); len(asks) > 0 {
			return asks[0].Inputs
		}
		return nil
	}
	for _, tt := range requests() {
		for n := range tt.content {
			part := tt.content[:n]
			got := inputsOf(&tt, part, max(n, 1))
			if cut := inputsOf(&tt, part, 3); !slices.EqualFunc(cut, got, sameTensor) {
				t.Fatalf("%s, of %d bytes: %+v, in pieces %+v", tt.name, n, got, cut)
			}
			for i, in := range got {
				whole := tt.inputs[i]
				if in.Shape != nil && !slices.Equal(in.Shape, whole.Shape) || in.Bytes >= 0 && in.Bytes != whole.Bytes {
					t.Fatalf("%s, of %d bytes: %+v, the whole says %+v", tt.name, n, in, whole)
				}
			}
		}
	}
}

// TestVersions: two versions are as bad as two models.
func TestVersions(t *testing.T) {
	text := func(path string) *l7.RequestHead { return head("POST", path, "content-type", "application/json") }
	call := head("POST", service+"ModelInfer", "content-type", "application/grpc")
	for name, c := range map[string]struct {
		head    *l7.RequestHead
		content string
	}{
		"another than the path's":      {text("/v2/models/m/versions/2/infer"), `{"model_version":"3"}`},
		"one that the path has not":    {text(inferPath), `{"model_version":"3"}`},
		"one that is no text":          {text("/v2/models/m/versions/2/infer"), `{"model_version":2}`},
		"one that cannot be told":      {text("/v2/models/m/versions/a%0Ab/infer"), `{}`},
		"two of a call":                {call, framed(field(1, "m") + field(2, "2") + field(2, "3"))},
		"one and none of a call":       {call, framed(field(1, "m") + field(2, "2") + field(2, ""))},
		"a call's that cannot be told": {call, framed(field(1, "m") + field(2, "a\nb"))},
		"a call's that is a number":    {call, framed(field(1, "m") + unpacked(2, 2))},
	} {
		if ask, err := readIn(c.head, c.content, 5); err == nil {
			t.Errorf("%s: %+v", name, ask)
		}
	}
	r, _ := Protocol{}.Request(head("POST", service+"ModelMetadata", "content-type", "application/grpc"))
	if _, err := r.Write([]byte(framed(field(1, "m") + field(2, "4")))); err != nil || r.End() != nil || r.Asks()[0].ModelVersion != "4" {
		t.Errorf("of metadata: %+v, %v", r.Asks(), err)
	}
}

// outputsOf are those of an answer that comes in pieces of that size, and what passed.
func outputsOf(t *testing.T, h *l7.ResponseHead, content string, piece int) (said inspect.Said, passed string) {
	t.Helper()
	a := Protocol{}.Answer([]inspect.Ask{{Operation: Infer}}, h, nil)
	for p := range slices.Chunk([]byte(content), piece) {
		out, err := a.Pass(p)
		if err != nil {
			t.Fatal(err)
		}
		passed += string(out)
	}
	rest, err := a.End()
	if err != nil {
		t.Fatal(err)
	}
	return *a.Said(), passed + string(rest)
}

// answerHead is that of an answer: a message, or a text of that length if it is not -1.
func answerHead(length int, kind string) *l7.ResponseHead {
	h := &l7.ResponseHead{Status: 200, Fields: l7.Fields{{Name: "content-type", Value: kind}}}
	if length >= 0 {
		h.Fields = append(h.Fields, l7.Field{Name: lengthField, Value: strconv.Itoa(length)})
	}
	return h
}

// TestOutputs: of each output all is told that is known, once the answer is whole.
func TestOutputs(t *testing.T) {
	const text = `{"model_name":"m","outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[0.5,1]}]}`
	const sized = `{"model_name":"m","outputs":[{"name":"y","datatype":"BYTES","parameters":{"binary_data_size":3}}]}`
	message := framed(field(1, "m") + field(5, field(1, "y"), field(2, "FP16"), field(3, varints(1, 3))) + field(6, "123456"))
	for _, tt := range []struct {
		name, content string
		head          *l7.ResponseHead
		want          []inspect.Tensor
	}{
		{"a text", text, answerHead(-1, "application/json"), []inspect.Tensor{given("y", "FP32", -1, 1, 2)}},
		{"binary", sized + "abc", answerHead(len(sized), "application/octet-stream"), []inspect.Tensor{given("y", "BYTES", 3)}},
		{"a message", message, answerHead(-1, "application/grpc"), []inspect.Tensor{given("y", "FP16", 6, 1, 3)}},
		{"too much behind", sized + "abcd", answerHead(len(sized), "application/octet-stream"), nil},
		{"too little behind", sized + "ab", answerHead(len(sized), "application/octet-stream"), nil},
		{"a message that is cut", message[:len(message)-1], answerHead(-1, "application/grpc"), nil},
		{"a text that is cut", text[:len(text)-1], answerHead(-1, "application/json"), nil},
	} {
		for piece := range 5 {
			said, passed := outputsOf(t, tt.head, tt.content, piece+1)
			if diff := cmp.Diff(tt.want, said.Outputs); diff != "" || passed != tt.content {
				t.Errorf("%s, in pieces of %d: %q passed (-want +got):\n%s", tt.name, piece+1, passed, diff)
			}
		}
	}
}

// FuzzAnswer: whatever a server answers passes as it is, and what is told of it does not
// depend on the pieces.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"model_name":"m","outputs":[{"name":"y","shape":[1],"parameters":{"binary_data_size":1}}]}x`, 91, false, 2)
	f.Add(framed(field(1, "m")+field(5, field(1, "y"), field(3, varints(1, 300)))+field(6, "0123")), -1, true, 3)
	f.Fuzz(func(t *testing.T, content string, length int, call bool, piece int) {
		h := answerHead(max(length, -1), "application/json")
		if call {
			h = answerHead(-1, "application/grpc")
		}
		whole, passed := outputsOf(t, h, content, max(len(content), 1))
		cut, alike := outputsOf(t, h, content, max(piece%64, 1))
		if diff := cmp.Diff(whole, cut); diff != "" || passed != content || alike != content {
			t.Fatalf("%q passed, and %q in pieces of %d (-whole +cut):\n%s", passed, alike, piece, diff)
		}
	})
}

// tensorsOfJSON are the inputs that encoding/json finds in a text. It is not ok if that is
// of another form than is looked for.
func tensorsOfJSON(text string) (all []inspect.Tensor, ok bool) {
	var got struct {
		Inputs []struct {
			Name, Datatype string
			Shape          []json.RawMessage
			Parameters     struct {
				Size *int64 `json:"binary_data_size"`
			}
		}
	}
	if json.Unmarshal([]byte(text), &got) != nil {
		return nil, false
	}
	for _, in := range got.Inputs[:min(len(got.Inputs), inspect.MaxTensors)] {
		tensor := inspect.Tensor{Name: toldOf(in.Name), Datatype: toldOf(in.Datatype), Bytes: -1}
		for i, size := range in.Shape {
			n, err := strconv.ParseInt(string(size), 10, 64)
			if err != nil {
				tensor.Shape = nil
				break
			}
			if i < inspect.MaxDimensions {
				tensor.Shape = append(tensor.Shape, n)
			}
		}
		if in.Parameters.Size != nil {
			tensor.Bytes = *in.Parameters.Size
		}
		all = append(all, tensor)
	}
	return all, true
}

// toldOf is a name as far as it is told.
func toldOf(name string) string {
	if len(name) > inspect.MaxText {
		return ""
	}
	return name
}

// tensorsOfMessage are the inputs that protowire finds in a request that is well formed.
func tensorsOfMessage(message []byte) (all []inspect.Tensor) {
	var lengths []int64
	eachField(message, func(number protowire.Number, _ uint64, content []byte) {
		switch number {
		case 5:
			tensor := inspect.Tensor{Bytes: -1}
			eachField(content, func(number protowire.Number, n uint64, content []byte) {
				switch {
				case number == 1:
					tensor.Name = toldOf(string(content))
				case number == 2:
					tensor.Datatype = toldOf(string(content))
				case number == 3 && content == nil:
					tensor.Shape = append(tensor.Shape, int64(n))
				case number == 3:
					for len(content) > 0 {
						v, size := protowire.ConsumeVarint(content)
						tensor.Shape, content = append(tensor.Shape, int64(v)), content[size:]
					}
				}
			})
			tensor.Shape = tensor.Shape[:min(len(tensor.Shape), inspect.MaxDimensions)]
			all = append(all, tensor)
		case 7:
			lengths = append(lengths, int64(len(content)))
		}
	})
	for i := range min(len(all), len(lengths)) {
		all[i].Bytes = lengths[i]
	}
	return all[:min(len(all), inspect.MaxTensors)]
}

// eachField has f called with each field of a message: its number, and what it has.
func eachField(message []byte, f func(number protowire.Number, n uint64, content []byte)) {
	for len(message) > 0 {
		number, wire, n := protowire.ConsumeTag(message)
		size := protowire.ConsumeFieldValue(number, wire, message[n:])
		value := message[n : n+size]
		switch message = message[n+size:]; wire {
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(value)
			f(number, v, nil)
		case protowire.BytesType:
			v, _ := protowire.ConsumeBytes(value)
			f(number, 0, v[:len(v):len(v)])
		}
	}
}
