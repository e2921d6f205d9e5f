package kserve

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

const inferPath = "/v2/models/m/infer"

// binaryHead is that of a request whose text has so many bytes.
func binaryHead(length int) *l7.RequestHead {
	return head("POST", inferPath, "content-type", "application/octet-stream", lengthField, strconv.Itoa(length))
}

// readIn reads a request's content in pieces of that size.
func readIn(h *l7.RequestHead, content string, piece int) (inspect.Ask, error) {
	r, _ := Protocol{}.Request(h)
	if asks := r.Asks(); len(asks) > 0 && asks[0].Model != "" {
		return asks[0], errors.New("a model is told of no content")
	}
	for p := range slices.Chunk([]byte(content), piece) {
		if _, err := r.Write(p); err != nil {
			return inspect.Ask{}, err
		}
	}
	err := r.End()
	if asks := r.Asks(); err == nil && r.Settled() && len(asks) == 1 {
		return asks[0], nil
	}
	return inspect.Ask{}, err
}

func TestInference(t *testing.T) {
	jsonHead := head("POST", inferPath, "content-type", "application/json")
	const plain = `{"id":"42","inputs":[{"name":"x","shape":[2,2],"datatype":"UINT32","data":[1,2,3,4]}],"outputs":[{"name":"y"}]}`
	const sized = `{"inputs":[{"name":"x","parameters":{"binary_data_size":4}},{"name":"y","parameters":{"binary_data_size":3}}],"outputs":[{"name":"z","parameters":{"binary_data":true}}]}`
	behind := binaryHead(len(sized))
	for _, tt := range []struct {
		name    string
		head    *l7.RequestHead
		content string
		kind    error // nil where it is good
	}{
		{"plain", jsonHead, plain, nil},
		{"the path's model again", jsonHead, `{"model_name":"m","inputs":[]}`, nil},
		{"binary", behind, sized + "\x00{\"}\xff12", nil},
		{"a text alone, with its length", binaryHead(len(plain)), plain, nil},

		{"another model", jsonHead, `{"model_name":"n","inputs":[]}`, inspect.ErrAmbiguous},
		{"a model twice", jsonHead, `{"model_name":"m","model_name":"n"}`, inspect.ErrAmbiguous},
		{"a model that is none", jsonHead, `{"model_name":1}`, inspect.ErrAmbiguous},
		{"no object", jsonHead, `[]`, inspect.ErrUnreadable},
		{"cut", jsonHead, plain[:20], inspect.ErrUnreadable},
		{"nothing", jsonHead, "", inspect.ErrUnreadable},
		{"no JSON type", head("POST", inferPath, "content-type", "text/plain"), plain, inspect.ErrUnreadable},
		{"an input in shared memory", jsonHead, `{"inputs":[{"name":"x","parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}}]}`, inspect.ErrUnreadable},
		{"an output in shared memory", jsonHead, `{"outputs":[{"name":"x","parameters":{"shared_memory_region":"r"}}]}`, inspect.ErrUnreadable},
		{"sizes of nothing", jsonHead, sized, inspect.ErrAmbiguous},
		{"too little behind", behind, sized + "123456", inspect.ErrAmbiguous},
		{"too much behind", behind, sized + "12345678", inspect.ErrAmbiguous},
		{"a size that is none", jsonHead, `{"inputs":[{"parameters":{"binary_data_size":-1}}]}`, inspect.ErrUnreadable},
		{"a text that is shorter", binaryHead(len(plain) - 1), plain, inspect.ErrUnreadable},
		{"a text that is longer", binaryHead(len(plain) + 1), plain, inspect.ErrAmbiguous},
		{"a length that is none", head("POST", inferPath, lengthField, "+4"), plain, inspect.ErrAmbiguous},
		{"two lengths", head("POST", inferPath, lengthField, "4", lengthField, "4"), plain, inspect.ErrAmbiguous},
	} {
		for piece := range 5 {
			ask, err := readIn(tt.head, tt.content, piece+1)
			if !errors.Is(err, tt.kind) || err == nil && (ask.Operation != Infer || ask.Model != "m") {
				t.Errorf("%s, in pieces of %d: %+v, %v, want %v", tt.name, piece+1, ask, err, tt.kind)
			}
		}
	}
}

// field is one of a message: a text, or a message within it.
func field(number protowire.Number, content ...string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), strings.Join(content, "")))
}

// framed is a message of a gRPC stream.
func framed(message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message
}

func TestCall(t *testing.T) {
	call := func(method string) *l7.RequestHead {
		return head("POST", service+method, "content-type", "application/grpc+proto")
	}
	input := field(5, field(1, "x"), field(2, "FP32"), field(3, "\x02\x02"))
	good := field(1, "m") + field(2, "3") + field(3, "id") + input + field(7, strings.Repeat("t", 100))
	region := field(4, field(1, sharedRegion), field(2, field(3, "r")))
	for _, tt := range []struct {
		name, method, content string
		kind                  error // nil where it is good
	}{
		{"an inference", "ModelInfer", framed(good), nil},
		{"its model last", "ModelInfer", framed(input + field(1, "m")), nil},
		{"its model twice", "ModelInfer", framed(field(1, "m") + good), nil},
		{"other parameters", "ModelInfer", framed(field(1, "m") + field(5, field(4, field(1, "priority"), field(2, "\x10\x01")))), nil},
		{"a model's metadata", "ModelMetadata", framed(field(1, "m") + field(2, "1")), nil},
		{"to load", "RepositoryModelLoad", framed(field(1, "repository") + field(2, "m")), nil},

		{"two models", "ModelInfer", framed(good + field(1, "n")), inspect.ErrAmbiguous},
		{"a name that cannot be told", "ModelInfer", framed(field(1, "a\nb")), inspect.ErrUnreadable},
		{"no text", "ModelInfer", framed(field(1, "\xff")), inspect.ErrAmbiguous},
		{"an input in shared memory", "ModelInfer", framed(field(1, "m") + field(5, region)), inspect.ErrUnreadable},
		{"an output in shared memory", "ModelInfer", framed(field(1, "m") + field(6, field(2, field(1, sharedRegion)))), inspect.ErrUnreadable},
		{"compressed", "ModelInfer", "\x01" + framed(good)[1:], inspect.ErrUnreadable},
		{"two messages", "ModelInfer", framed(good) + framed(good), inspect.ErrAmbiguous},
		{"cut", "ModelInfer", framed(good)[:30], inspect.ErrUnreadable},
		{"a length too short", "ModelInfer", framed(good[:len(good)-1]), inspect.ErrAmbiguous},
		{"nothing", "ModelInfer", "", inspect.ErrUnreadable},
	} {
		for piece := range 7 {
			ask, err := readIn(call(tt.method), tt.content, piece+1)
			if !errors.Is(err, tt.kind) || err == nil && ask.Model != "m" {
				t.Errorf("%s, in pieces of %d: %+v, %v, want %v", tt.name, piece+1, ask, err, tt.kind)
			}
		}
	}
	for method, want := range map[string]string{
		"ModelStreamInfer": StreamInfer, "ServerLive": ServerLive, "ServerReady": ServerReady, "ServerMetadata": ServerMetadata,
		"RepositoryIndex": RepositoryIndex, "CudaSharedMemoryRegister": RegisterSharedMemory, "SystemSharedMemoryUnregister": UnregisterSharedMemory,
		"SystemSharedMemoryStatus": SharedMemoryStatus, "TraceSetting": Settings, "LogSettings": Settings, "modelInfer": "",
	} {
		if r, ask := (Protocol{}).Request(call(method)); r != nil || ask.Operation != want || ask.Model != "" {
			t.Errorf("%s is %q of %q, read: %v", method, ask.Operation, ask.Model, r != nil)
		}
	}
}

func TestAnswer(t *testing.T) {
	asks := []inspect.Ask{{Operation: Infer}}
	answer := func(status int, nv ...string) *l7.ResponseHead {
		return &l7.ResponseHead{Status: status, Fields: head("", "", nv...).Fields}
	}
	const text = `{"model_name":"m","model_version":"1","id":"42","outputs":[{"name":"y","parameters":{"binary_data_size":3}}]}`
	for _, tt := range []struct {
		name, content string
		head          *l7.ResponseHead
		model, id     string
		failed        bool
	}{
		{"a text", text, answer(200, "content-type", "application/json"), "m", "42", false},
		{"binary", text + "\x00{\xff", answer(200, "content-type", "application/octet-stream", lengthField, strconv.Itoa(len(text))), "m", "42", false},
		{"a message", framed(field(1, "m") + field(2, "1") + field(3, "42") + field(6, "tensor")), answer(200, "content-type", "application/grpc"), "m", "42", false},
		{"cut", text[:60], answer(200, "content-type", "application/json"), "", "", false},
		{"no text", "m", answer(200, "content-type", "text/plain"), "", "", false},
		{"an error", `{"error":"no such model"}`, answer(404, "content-type", "application/json"), "", "", true},
	} {
		for piece := range 5 {
			a := Protocol{}.Answer(asks, tt.head, nil)
			var passed bytes.Buffer
			for p := range slices.Chunk([]byte(tt.content), piece+1) {
				out, err := a.Pass(p)
				if err != nil {
					t.Fatal(err)
				}
				passed.Write(out)
			}
			rest, err := a.End()
			if err != nil || passed.String()+string(rest) != tt.content {
				t.Errorf("%s: %q passed, %v", tt.name, passed.String(), err)
			}
			if said := a.Said(); said.Model != tt.model || said.ID != tt.id || said.Failed != tt.failed {
				t.Errorf("%s, in pieces of %d: %+v", tt.name, piece+1, said)
			}
		}
	}
}

// FuzzInference: what is accepted, encoding/json reads too, and its tensors are as long as
// they say; and that does not depend on the pieces.
func FuzzInference(f *testing.F) {
	f.Add(`{"model_name":"m","inputs":[{"parameters":{"binary_data_size":2}}]}`, "ab", true, 3)
	f.Add(`{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1.5]}]}`, "", false, 100)
	f.Fuzz(func(t *testing.T, text, behind string, given bool, piece int) {
		h := head("POST", inferPath, "content-type", "application/json")
		if given {
			h = binaryHead(len(text))
		}
		content := text + behind
		ask, err := readIn(h, content, max(len(content), 1))
		if other, cut := readIn(h, content, max(piece%64, 1)); (err == nil) != (cut == nil) || !cmp.Equal(ask, other) {
			t.Fatalf("whole: %+v, %v, in pieces of %d: %+v, %v", ask, err, piece, other, cut)
		}
		if err != nil {
			return
		}
		if !given {
			text, behind = content, ""
		}
		var got struct {
			ModelName *string `json:"model_name"`
			Inputs    []struct {
				Parameters map[string]any `json:"parameters"`
			} `json:"inputs"`
		}
		if json.Unmarshal([]byte(text), &got) != nil {
			return // of another form than is looked for
		}
		size := 0.0
		for _, in := range got.Inputs {
			n, _ := in.Parameters["binary_data_size"].(float64)
			size += n
			if _, shared := in.Parameters[sharedRegion]; shared {
				t.Fatalf("%q has a tensor in shared memory", text)
			}
		}
		if got.ModelName != nil && *got.ModelName != "m" || int(size) != len(behind) {
			t.Fatalf("%q is for %v, with %v bytes of %d", text, got.ModelName, size, len(behind))
		}
		if want, ok := tensorsOfJSON(text); ok && !cmp.Equal(want, ask.Inputs) {
			t.Fatalf("%q has (-want +got):\n%s", text, cmp.Diff(want, ask.Inputs))
		}
	})
}

// FuzzCall: a second reader finds the model, the version and the inputs that are told, and
// no others.
func FuzzCall(f *testing.F) {
	f.Add([]byte(field(1, "m")+field(5, field(1, "x"))), 3)
	f.Add([]byte(field(7, "ab")+field(2, "2")+field(5, field(1, "x"), field(3, "\x02\x02"))), 2)
	f.Add([]byte(field(5, field(4, field(1, "p")))+field(1, "m")), 1)
	f.Fuzz(func(t *testing.T, message []byte, piece int) {
		h := head("POST", service+"ModelInfer", "content-type", "application/grpc")
		content := framed(string(message))
		ask, err := readIn(h, content, len(content))
		if other, cut := readIn(h, content, max(piece%64, 1)); (err == nil) != (cut == nil) || !cmp.Equal(ask, other) {
			t.Fatalf("whole: %+v, %v; in pieces of %d: %+v, %v", ask, err, piece, other, cut)
		}
		if err != nil {
			return
		}
		model, version := "", ""
		eachField(message, func(number protowire.Number, _ uint64, content []byte) {
			switch number {
			case 1:
				model = string(content)
			case 2:
				version = string(content)
			}
		})
		if model != ask.Model || version != ask.ModelVersion {
			t.Fatalf("%q, version %q; another parser finds %q, version %q", ask.Model, ask.ModelVersion, model, version)
		}
		if want := tensorsOfMessage(message); !cmp.Equal(want, ask.Inputs, cmpopts.EquateEmpty()) {
			t.Fatalf("%x has (-want +got):\n%s", message, cmp.Diff(want, ask.Inputs))
		}
	})
}

// BenchmarkInfer: what does it take to read a small request?
func BenchmarkInfer(b *testing.B) {
	text := []byte(fmt.Sprintf(`{"id":"42","inputs":[{"name":"input_ids","shape":[1,128],"datatype":"INT64","data":[%s1]}]}`, strings.Repeat("101,", 127)))
	h := head("POST", inferPath, "content-type", "application/json")
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r, _ := Protocol{}.Request(h)
		if _, err := r.Write(text); err != nil {
			b.Fatal(err)
		}
		if err := r.End(); err != nil {
			b.Fatal(err)
		}
	}
}
