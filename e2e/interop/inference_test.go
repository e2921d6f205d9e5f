//go:build linux

package interop

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// openInference has what the test uses of ModelInfer's messages, with the numbers of the
// Open Inference Protocol's open_inference_grpc.proto. Inputs and outputs are alike there.
const openInference = `
name: "open_inference_grpc.proto" package: "inference" syntax: "proto3"
message_type {
  name: "Contents"
  field { name: "fp32_contents" number: 6 type: TYPE_FLOAT label: LABEL_REPEATED }
}
message_type {
  name: "Tensor"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "datatype" number: 2 type: TYPE_STRING }
  field { name: "shape" number: 3 type: TYPE_INT64 label: LABEL_REPEATED }
  field { name: "contents" number: 5 type: TYPE_MESSAGE type_name: ".inference.Contents" }
}
message_type {
  name: "ModelInferRequest"
  field { name: "model_name" number: 1 type: TYPE_STRING }
  field { name: "model_version" number: 2 type: TYPE_STRING }
  field { name: "id" number: 3 type: TYPE_STRING }
  field { name: "inputs" number: 5 type: TYPE_MESSAGE type_name: ".inference.Tensor" label: LABEL_REPEATED }
  field { name: "raw_input_contents" number: 7 type: TYPE_BYTES label: LABEL_REPEATED }
}
message_type {
  name: "ModelInferResponse"
  field { name: "model_name" number: 1 type: TYPE_STRING }
  field { name: "model_version" number: 2 type: TYPE_STRING }
  field { name: "id" number: 3 type: TYPE_STRING }
  field { name: "outputs" number: 5 type: TYPE_MESSAGE type_name: ".inference.Tensor" label: LABEL_REPEATED }
  field { name: "raw_output_contents" number: 6 type: TYPE_BYTES label: LABEL_REPEATED }
}`

// messages of the protocol, by name.
func messages(t *testing.T) protoreflect.MessageDescriptors {
	t.Helper()
	described := new(descriptorpb.FileDescriptorProto)
	if err := prototext.Unmarshal([]byte(openInference), described); err != nil {
		t.Fatal(err)
	}
	return must(protodesc.NewFile(described, nil))(t).Messages()
}

// secretIn and secretOut are what is in tensors, and may be nowhere else. As numbers of a
// text they are secretNumber.
const (
	secretIn     = "what-goes-into-the-model"
	secretOut    = "what-comes-out-of-the-model"
	secretNumber = "0.73612947"
)

// Answers of the server, by the form that it was asked in.
const (
	answeredText = `{"model_name":"resnet","model_version":"2","id":"7","outputs":[{"name":"scores","datatype":"FP32","shape":[1,2],"data":[` + secretNumber + `,1]}]}`
	answeredSize = `{"model_name":"resnet","model_version":"2","id":"7","outputs":[{"name":"label","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":27}}]}`
)

// modelServer is no Triton and no KServe, of which there is none to run in a test: it has
// the protocol's messages, paths and fields, and answers the same whatever it is asked.
type modelServer struct {
	messages protoreflect.MessageDescriptors
}

func (s modelServer) infer(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	asked, answer := dynamicpb.NewMessage(s.messages.ByName("ModelInferRequest")), dynamicpb.NewMessage(s.messages.ByName("ModelInferResponse"))
	if err := decode(asked); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`{"model_name":"resnet","model_version":"2","id":"7","outputs":[{"name":"label","datatype":"BYTES","shape":["1"]}],"raw_output_contents":[%q]}`,
		base64.StdEncoding.EncodeToString([]byte(secretOut)))
	return answer, protojson.Unmarshal([]byte(text), answer)
}

func (s modelServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	io.Copy(io.Discard, req.Body) // of no interest, but it has to come
	if req.Header.Get("Inference-Header-Content-Length") == "" {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answeredText)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Inference-Header-Content-Length", strconv.Itoa(len(answeredSize)))
	io.WriteString(w, answeredSize+secretOut)
}

// served is the place of a modelServer, which speaks both on one port.
func (s modelServer) served(t *testing.T) place {
	t.Helper()
	calls := grpc.NewServer()
	calls.RegisterService(&grpc.ServiceDesc{
		ServiceName: "inference.GRPCInferenceService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "ModelInfer", Handler: s.infer}},
	}, s)
	srv := &http.Server{Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.Header.Get("Content-Type"), "application/grpc") {
			calls.ServeHTTP(w, req)
		} else {
			s.ServeHTTP(w, req)
		}
	})
	return serveAt(t, "models", "kserve", srv)
}

// inferring asks for inferences through a mesh.
type inferring struct {
	*testing.T
	m    *meshtest.Mesh
	at   place
	kind protoreflect.MessageDescriptors
}

// ordered writes messages as generated code does: fields by their numbers, so that the
// names come before what is in the tensors.
type ordered struct{}

func (ordered) Name() string { return "proto" }

func (ordered) Marshal(v any) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(v.(proto.Message))
}

func (ordered) Unmarshal(data []byte, v any) error { return proto.Unmarshal(data, v.(proto.Message)) }

// ending is how a request ended for its caller: with which crossing, and why it was refused
// if it was.
type ending struct{ crossing, refused string }

// call makes a gRPC call of a request, as JSON has it, with contents behind it.
func (i *inferring) call(text string, contents ...string) ending {
	i.Helper()
	source := must(i.m.Source(i.m.Context, "orchestrator"))(i.T)
	creds := credentials.NewTLS(certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), "h2"))
	conn := must(grpc.NewClient("passthrough:///"+i.m.Gateways["onprem-1"].AttachAddr().String(),
		grpc.WithTransportCredentials(creds), grpc.WithAuthority(i.at.host())))(i.T)
	defer conn.Close()
	asked, answer := dynamicpb.NewMessage(i.kind.ByName("ModelInferRequest")), dynamicpb.NewMessage(i.kind.ByName("ModelInferResponse"))
	if err := protojson.Unmarshal([]byte(text), asked); err != nil {
		i.Fatal(err)
	}
	raw := asked.Mutable(asked.Descriptor().Fields().ByName("raw_input_contents")).List()
	for _, content := range contents {
		raw.Append(protoreflect.ValueOfBytes([]byte(content)))
	}
	var head, tail metadata.MD
	err := conn.Invoke(i.m.Context, "/inference.GRPCInferenceService/ModelInfer", asked, answer, grpc.ForceCodec(ordered{}), grpc.Header(&head), grpc.Trailer(&tail))
	ids := metadata.Join(head, tail).Get("sallyport-crossing")
	if len(ids) == 0 {
		i.Fatalf("no crossing: %v", err)
	}
	if err == nil {
		return ending{crossing: ids[0]}
	}
	if status.Code(err) != codes.PermissionDenied {
		i.Errorf("the call ended with %v", err)
	}
	return ending{ids[0], status.Convert(err).Message()}
}

// post asks by REST, with contents behind the text if there are any.
func (i *inferring) post(version, text string, contents ...string) ending {
	i.Helper()
	url := "https://" + i.at.host() + "/v2/models/resnet/versions/" + version + "/infer"
	req := must(http.NewRequestWithContext(i.m.Context, http.MethodPost, url, strings.NewReader(text+strings.Join(contents, ""))))(i.T)
	req.Header.Set("Content-Type", "application/json")
	if len(contents) > 0 {
		req.Header.Set("Content-Type", "application/octet-stream")
		req.Header.Set("Inference-Header-Content-Length", strconv.Itoa(len(text)))
	}
	resp := must(asOrchestrator(i.T, i.m, "http/1.1").Do(req))(i.T)
	body := meshtest.ReadAll(i.T, resp)
	end := ending{crossing: resp.Header.Get("Sallyport-Crossing")}
	switch {
	case resp.StatusCode == http.StatusForbidden && bytes.HasPrefix(body, []byte(`{"error":`)):
		end.refused = string(body)
	case resp.StatusCode != http.StatusOK:
		i.Errorf("%s: %d %s", url, resp.StatusCode, body)
	}
	return end
}

// repeated is so many bytes of a text.
func repeated(text string, size int) string { return strings.Repeat(text, size/len(text)+1)[:size] }

// TestInference: whoever asks for an inference, by either form of the protocol, is told of
// with the model, its version and what the tensors are; one version is allowed and another
// is not; and nothing of what is in a tensor is kept.
func TestInference(t *testing.T) {
	kinds := messages(t)
	at := modelServer{kinds}.served(t)
	m := meshWith(t, func(cfg *localmesh.Config) {
		const intent = "allow: {from: orchestrator, to: models}\n"
		cfg.Policy = []byte(meshtest.Edit(t, string(cfg.Policy), intent, intent+"    when: ai.model == \"resnet\" && ai.model_version == \"2\"\n"))
	}, at)
	const large = 3 * 224 * 224 * 4 // more than is held back
	label := &crossingv1.Tensor{Name: "label", Datatype: "BYTES", Shape: []int64{1}, Bytes: proto.Uint64(uint64(len(secretOut)))}
	scores := &crossingv1.Tensor{Name: "scores", Datatype: "FP32", Shape: []int64{1, 2}}
	for _, c := range []struct {
		name   string
		ask    func(i *inferring, version string) ending
		inputs []*crossingv1.Tensor
		output *crossingv1.Tensor
	}{
		{
			"gRPC, raw", func(i *inferring, version string) ending {
				return i.call(`{"model_name":"resnet","model_version":"`+version+`","inputs":[{"name":"text","datatype":"BYTES","shape":["1"]},{"name":"mask","datatype":"BOOL","shape":["2","2"]}]}`,
					secretIn, "\x01\x00\x01\x00")
			},
			[]*crossingv1.Tensor{
				{Name: "text", Datatype: "BYTES", Shape: []int64{1}, Bytes: proto.Uint64(uint64(len(secretIn)))},
				{Name: "mask", Datatype: "BOOL", Shape: []int64{2, 2}, Bytes: proto.Uint64(4)},
			},
			label,
		},
		{
			"gRPC, raw and large", func(i *inferring, version string) ending {
				return i.call(`{"model_name":"resnet","model_version":"`+version+`","inputs":[{"name":"pixels","datatype":"FP32","shape":["1","3","224","224"]}]}`,
					repeated(secretIn, large))
			},
			[]*crossingv1.Tensor{{Name: "pixels", Datatype: "FP32", Shape: []int64{1, 3, 224, 224}, Bytes: proto.Uint64(large)}},
			label,
		},
		{
			"gRPC, in the message", func(i *inferring, version string) ending {
				return i.call(`{"model_name":"resnet","model_version":"` + version + `","inputs":[{"name":"x","datatype":"FP32","shape":["1"],"contents":{"fp32_contents":[` + secretNumber + `]}}]}`)
			},
			[]*crossingv1.Tensor{{Name: "x", Datatype: "FP32", Shape: []int64{1}}},
			label,
		},
		{
			"REST", func(i *inferring, version string) ending {
				return i.post(version, `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[`+secretNumber+`,0]}]}`)
			},
			[]*crossingv1.Tensor{{Name: "x", Datatype: "FP32", Shape: []int64{1, 2}}},
			scores,
		},
		{
			"REST, binary and large", func(i *inferring, version string) ending {
				return i.post(version, `{"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,3,224,224],"parameters":{"binary_data_size":`+strconv.Itoa(large)+`}},`+
					`{"name":"text","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":`+strconv.Itoa(len(secretIn))+`}}]}`, repeated(secretIn, large), secretIn)
			},
			[]*crossingv1.Tensor{
				{Name: "pixels", Datatype: "FP32", Shape: []int64{1, 3, 224, 224}, Bytes: proto.Uint64(large)},
				{Name: "text", Datatype: "BYTES", Shape: []int64{1}, Bytes: proto.Uint64(uint64(len(secretIn)))},
			},
			label,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := &inferring{t, m, at, kinds}
			good := c.ask(i, "2")
			r := m.Record(t, good.crossing)
			op, outputs := r.GetOperation(), []*crossingv1.Tensor{c.output}
			if good.refused != "" || !r.GetAgree() || op.GetName() != "infer" || op.GetModelRequested() != "resnet" || op.GetModelVersion() != "2" || op.GetModelServed() != "resnet" {
				t.Errorf("refused: %q; record %v", good.refused, r)
			}
			for what, diff := range map[string]string{
				"inputs":              cmp.Diff(c.inputs, op.GetInputs(), protocmp.Transform()),
				"outputs, at egress":  cmp.Diff(outputs, r.GetEgress().GetSaid().GetOutputs(), protocmp.Transform()),
				"outputs, at ingress": cmp.Diff(outputs, r.GetIngress().GetSaid().GetOutputs(), protocmp.Transform()),
			} {
				if diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
			bad := c.ask(i, "3")
			r = m.Record(t, bad.crossing)
			if !strings.Contains(bad.refused, "no intent allows it") || r.GetEgress().GetReason() != crossingv1.Reason_NO_INTENT || r.GetOperation().GetModelVersion() != "3" {
				t.Errorf("another version: %q; record %v", bad.refused, r)
			}
		})
	}
	keepsNothing(t, m, "pixels", secretIn, secretOut, secretNumber)
}

// keepsNothing holds that none of the texts is in a file of the mesh, where what is kept
// is found.
func keepsNothing(t *testing.T, m *meshtest.Mesh, kept string, texts ...string) {
	t.Helper()
	found := false
	err := filepath.WalkDir(m.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, []byte(kept))
		for _, text := range texts {
			if bytes.Contains(content, []byte(text)) {
				t.Errorf("%s has %q", path, text)
			}
		}
		return err
	})
	if err != nil || !found {
		t.Errorf("%q is in the files of the mesh: %v, %v", kept, found, err)
	}
}
