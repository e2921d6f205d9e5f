package kserve

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// route is what a method asks for at a path (Open Inference Protocol, HTTP/REST; Triton's
// extensions: Model Repository, Shared-Memory, Generate, Model Configuration, Statistics,
// Trace, Logging). Every reader takes the path for the same.
func route(method, path string) inspect.Ask {
	ask := inspect.NewAsk()
	steps := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, step := range steps {
		plain, err := url.PathUnescape(step)
		if err != nil || plain == "" {
			return ask
		}
		steps[i] = plain
	}
	if steps[0] != "v2" {
		return ask
	}
	switch rest := steps[1:]; {
	case len(rest) == 0:
		ask.Operation = get(method, ServerMetadata)
	case rest[0] == "models" && len(rest) > 1:
		ask.Operation, ask.Model, ask.ModelVersion = ofModel(method, rest[1:])
		ask.Streamed = streamed(ask.Operation, rest)
	case rest[0] == "repository":
		ask.Operation, ask.Model = ofRepository(method, rest[1:])
	case rest[0] == "systemsharedmemory", rest[0] == "cudasharedmemory":
		ask.Operation = ofSharedMemory(method, rest[1:])
	case rest[0] == "trace", rest[0] == "logging":
		ask.Operation = Settings
	default:
		ask.Operation = get(method, ofServer(strings.Join(rest, "/")))
	}
	if ask.Operation == "" {
		ask.Model, ask.ModelVersion = "", ""
	}
	return ask
}

// get is an operation that is asked for by GET alone.
func get(method, operation string) string {
	if method != http.MethodGet {
		return ""
	}
	return operation
}

// ofServer is what is asked of a server.
func ofServer(at string) string {
	switch at {
	case "health/live":
		return ServerLive
	case "health/ready":
		return ServerReady
	}
	return ""
}

// ofModel is what is asked of a model, behind its name and version.
func ofModel(method string, steps []string) (operation, model, version string) {
	model, steps = steps[0], steps[1:]
	if model == "stats" && len(steps) == 0 {
		return "", "", "" // for some servers those of all models, for others a model
	}
	if len(steps) > 1 && steps[0] == "versions" {
		version, steps = steps[1], steps[2:]
	}
	if len(steps) > 2 {
		return "", "", ""
	}
	switch at := strings.Join(steps, "/"); at {
	case "infer":
		operation = post(method, Infer)
	case "generate", "generate_stream":
		operation = post(method, Generate)
	case "":
		operation = get(method, ModelMetadata)
	case "ready":
		operation = get(method, ModelReady)
	case "config":
		operation = get(method, ModelConfig)
	case "stats":
		operation = get(method, ModelStats)
	case "trace/setting":
		operation = Settings
	}
	return operation, model, version
}

func post(method, operation string) string {
	if method != http.MethodPost {
		return ""
	}
	return operation
}

// ofRepository is what is asked of a repository of models.
func ofRepository(method string, steps []string) (operation, model string) {
	switch {
	case len(steps) == 1 && steps[0] == "index":
		return post(method, RepositoryIndex), ""
	case len(steps) == 3 && steps[0] == "models" && steps[2] == "load":
		return post(method, LoadModel), steps[1]
	case len(steps) == 3 && steps[0] == "models" && steps[2] == "unload":
		return post(method, UnloadModel), steps[1]
	}
	return "", ""
}

// streamed says whether a text is to be generated as a stream.
func streamed(operation string, steps []string) inspect.Truth {
	switch {
	case operation != Generate:
		return inspect.Unknown
	case steps[len(steps)-1] == "generate_stream":
		return inspect.Yes
	}
	return inspect.No
}

// ofSharedMemory is what is asked of memory that is shared with the server's host, of all
// regions or of one.
func ofSharedMemory(method string, steps []string) string {
	of := len(steps) == 3 && steps[0] == "region"
	if !of && len(steps) != 1 {
		return ""
	}
	switch last := steps[len(steps)-1]; {
	case last == "status":
		return get(method, SharedMemoryStatus)
	case last == "register" && of:
		return post(method, RegisterSharedMemory)
	case last == "unregister":
		return post(method, UnregisterSharedMemory)
	}
	return ""
}
