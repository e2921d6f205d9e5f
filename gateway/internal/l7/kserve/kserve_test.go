package kserve

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// head is that of a request, with fields of names and values in turn.
func head(method, path string, nv ...string) *l7.RequestHead {
	h := &l7.RequestHead{Method: method, Path: path}
	for i := 0; i < len(nv); i += 2 {
		h.Fields = append(h.Fields, l7.Field{Name: nv[i], Value: nv[i+1]})
	}
	return h
}

func TestRoute(t *testing.T) {
	for _, tt := range []struct {
		method, path     string
		operation, model string
		streamed         inspect.Truth
	}{
		{"POST", "/v2/models/m/infer", Infer, "m", inspect.Unknown},
		{"POST", "/v2/models/m/versions/2/infer", Infer, "m", inspect.Unknown},
		{"POST", "/v2/models/a%20b/infer", Infer, "a b", inspect.Unknown},
		{"POST", "/v2/models/m/generate", Generate, "m", inspect.No},
		{"POST", "/v2/models/m/versions/2/generate_stream", Generate, "m", inspect.Yes},
		{"GET", "/v2/models/m/ready", ModelReady, "m", inspect.Unknown},
		{"GET", "/v2/models/m/versions/2/ready", ModelReady, "m", inspect.Unknown},
		{"GET", "/v2/models/m", ModelMetadata, "m", inspect.Unknown},
		{"GET", "/v2/models/m/versions/2", ModelMetadata, "m", inspect.Unknown},
		{"GET", "/v2/models/m/config", ModelConfig, "m", inspect.Unknown},
		{"GET", "/v2/models/m/stats", ModelStats, "m", inspect.Unknown},
		{"POST", "/v2/models/m/trace/setting", Settings, "m", inspect.Unknown},
		{"GET", "/v2", ServerMetadata, "", inspect.Unknown},
		{"GET", "/v2/health/live", ServerLive, "", inspect.Unknown},
		{"GET", "/v2/health/ready", ServerReady, "", inspect.Unknown},
		{"POST", "/v2/logging", Settings, "", inspect.Unknown},
		{"POST", "/v2/repository/index", RepositoryIndex, "", inspect.Unknown},
		{"POST", "/v2/repository/models/m/load", LoadModel, "m", inspect.Unknown},
		{"POST", "/v2/repository/models/m/unload", UnloadModel, "m", inspect.Unknown},
		{"GET", "/v2/systemsharedmemory/status", SharedMemoryStatus, "", inspect.Unknown},
		{"GET", "/v2/systemsharedmemory/region/a/status", SharedMemoryStatus, "", inspect.Unknown},
		{"POST", "/v2/cudasharedmemory/region/a/register", RegisterSharedMemory, "", inspect.Unknown},
		{"POST", "/v2/systemsharedmemory/unregister", UnregisterSharedMemory, "", inspect.Unknown},

		{"GET", "/v2/models/stats", "", "", inspect.Unknown},
		{"GET", "/v2/models/m/infer", "", "", inspect.Unknown},
		{"POST", "/v2/models/m/infer/", "", "", inspect.Unknown},
		{"POST", "/v2/models/m/infer/x", "", "", inspect.Unknown},
		{"POST", "/v2/models/m/versions/infer", "", "", inspect.Unknown},
		{"POST", "/v2/models", "", "", inspect.Unknown},
		{"POST", "/v2/systemsharedmemory/register", "", "", inspect.Unknown},
		{"GET", "/v2/repository/models/m/load", "", "", inspect.Unknown},
		{"POST", "/v2/repository/models/m", "", "", inspect.Unknown},
		{"POST", "/v1/models/m/infer", "", "", inspect.Unknown},
		{"OPTIONS", "*", "", "", inspect.Unknown},
	} {
		version := ""
		if tt.operation != "" && strings.Contains(tt.path, "/versions/2") {
			version = "2"
		}
		if ask := route(tt.method, tt.path); ask.Operation != tt.operation || ask.Model != tt.model || ask.ModelVersion != version || ask.Streamed != tt.streamed {
			t.Errorf("%s %s is %q of %q, streamed %v, want %q of %q, %v",
				tt.method, tt.path, ask.Operation, ask.Model, ask.Streamed, tt.operation, tt.model, tt.streamed)
		}
	}
}

// TestUnnameable: a model whose name cannot be told is not known.
func TestUnnameable(t *testing.T) {
	long := "/v2/repository/models/" + strings.Repeat("m", inspect.MaxText+1) + "/load"
	r, ask := Protocol{}.Request(head("POST", long))
	if r == nil || ask.Model != "" || ask.Operation != LoadModel || r.Settled() || r.End() == nil {
		t.Errorf("%T, %+v", r, ask)
	}
}

func TestRefuse(t *testing.T) {
	refusal := &inspect.Refusal{Crossing: "c", Reason: crossingv1.Reason_NO_INTENT, Owner: "ml"}
	answer, body := Protocol{}.Refuse(refusal, nil, head("POST", "/v2/models/m/infer"))
	var got map[string]string
	if err := json.Unmarshal(body, &got); err != nil || answer.Status != http.StatusForbidden || len(got) != 1 || !strings.Contains(got["error"], "NO_INTENT") {
		t.Errorf("%d %s, %v", answer.Status, body, err)
	}
	answer, body = Protocol{}.Refuse(refusal, nil, head("POST", service+"ModelInfer", "content-type", "application/grpc"))
	if body != nil || answer.Status != http.StatusOK || answer.Fields.Get("grpc-status") != "7" {
		t.Errorf("%d %s %v", answer.Status, body, answer.Fields)
	}
}
