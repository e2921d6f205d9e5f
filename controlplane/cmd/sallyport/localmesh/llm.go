package localmesh

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// model is the name that the scripted llm answers to.
const model = "gpt-oss-20b"

// script is what the scripted llm says, whatever it is asked.
const script = "Three documents mention the outage: the incident report of the storage team, " +
	"the minutes of the review that followed it, and the runbook that was changed afterwards. " +
	"The report names the cause, the minutes name the owner, and the runbook names the fix."

// tokenPace is the time between two streamed tokens.
const tokenPace = 2 * time.Millisecond

// scriptedLLM stands in for a model: it speaks the OpenAI chat API and always
// says the same. It is no fake of the mesh's own parts.
func scriptedLLM() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"object": "list", "data": []any{
			map[string]any{"id": model, "object": "model", "owned_by": "ml-platform"},
		}})
	})
	mux.HandleFunc("POST /v1/chat/completions", chat)
	mux.HandleFunc("POST /v1/embeddings", embed)
	return mux
}

// chatRequest is as much of the request as the script needs.
type chatRequest struct {
	Model    string `json:"model"`
	Stream   bool   `json:"stream"`
	Messages []struct {
		Content any `json:"content"`
	} `json:"messages"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

func chat(w http.ResponseWriter, r *http.Request) {
	var req chatRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&req); err != nil {
		http.Error(w, fmt.Sprintf(`{"error":{"message":%q,"type":"invalid_request_error"}}`, err), http.StatusBadRequest)
		return
	}
	if req.Model == "" {
		req.Model = model
	}
	if req.Stream {
		stream(w, r, &req)
		return
	}
	answer(w, map[string]any{
		"id": "chatcmpl-scripted", "object": "chat.completion", "created": time.Now().Unix(), "model": req.Model,
		"choices": []any{map[string]any{
			"index": 0, "finish_reason": "stop",
			"message": map[string]any{"role": "assistant", "content": script},
		}},
		"usage": usage(&req),
	})
}

// embed gives every text the same short vector.
func embed(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model string `json:"model"`
		Input string `json:"input"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&req); err != nil {
		http.Error(w, fmt.Sprintf(`{"error":{"message":%q,"type":"invalid_request_error"}}`, err), http.StatusBadRequest)
		return
	}
	in := len(strings.Fields(req.Input))
	answer(w, map[string]any{
		"object": "list", "model": req.Model,
		"data":  []any{map[string]any{"object": "embedding", "index": 0, "embedding": []float64{0.25, 0.5, 0.75}}},
		"usage": map[string]any{"prompt_tokens": in, "total_tokens": in},
	})
}

// usage counts words as tokens.
func usage(req *chatRequest) map[string]any {
	in, out := 0, len(strings.Fields(script))
	for _, m := range req.Messages {
		in += len(strings.Fields(fmt.Sprint(m.Content)))
	}
	return map[string]any{"prompt_tokens": in, "completion_tokens": out, "total_tokens": in + out}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the caller is gone
}

// stream sends the script word by word, as server-sent events.
func stream(w http.ResponseWriter, r *http.Request, req *chatRequest) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	send := func(choices []any, extra map[string]any) bool {
		chunk := map[string]any{
			"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": time.Now().Unix(),
			"model": req.Model, "choices": choices,
		}
		for k, v := range extra {
			chunk[k] = v
		}
		text, err := json.Marshal(chunk)
		if err != nil {
			return false
		}
		_, err = fmt.Fprintf(w, "data: %s\n\n", text)
		return err == nil && flush.Flush() == nil
	}
	ticker := time.NewTicker(tokenPace)
	defer ticker.Stop()
	for _, word := range strings.SplitAfter(script, " ") {
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
		if !send([]any{map[string]any{"index": 0, "delta": map[string]any{"content": word}, "finish_reason": nil}}, nil) {
			return
		}
	}
	send([]any{map[string]any{"index": 0, "delta": map[string]any{}, "finish_reason": "stop"}}, nil)
	if req.StreamOptions.IncludeUsage {
		send([]any{}, map[string]any{"usage": usage(req)})
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}
