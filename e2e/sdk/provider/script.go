package provider

import (
	"embed"
	"net/http"
)

// The models. Each is a script of what a provider does; those that are not here do
// as Text does.
const (
	Text        = "gpt-oss-20b"  // says something
	Tools       = "tools"        // calls two tools of OpenAI's callers, one of Anthropic's
	Slow        = "slow"         // has a gap before each event
	Zipped      = "zipped"       // answers in gzip
	OtherServer = "other-server" // streams in the form of other servers: comments, CRLF, two lines of data
	CutShort    = "cut-short"    // ends at the limit of its tokens; Responses only
	Midway      = "fails-midway" // tells of an error within a stream
	Held        = "held"         // never comes to the end of a stream, until the caller goes
	Cut         = "cut"          // breaks the connection before the end of a stream
	CutAtOnce   = "cut-at-once"  // the same, with no pause before it
	BadRequest  = "bad-request"  // 400
	NoKey       = "unauthorised" // 401
	Busy        = "busy"         // 429, however often
	BusyOnce    = "busy-once"    // 429, to try again after a second; then as Text
	Broken      = "broken"       // 500
	Overloaded  = "overloaded"   // 529
	NotAllowed  = "not-allowed"  // as Text; policies of tests forbid it
	Embedding   = "embedding"    // for embeddings
)

// Served is the model that says to have answered, of OpenAI's and of Anthropic's.
const (
	Served          = "gpt-oss-20b-2026-08-05"
	ServedEmbedding = "text-embedding-3-small-v2"
	ServedMessages  = "claude-sonnet-5-20260801"
)

// scripts are the answers: scripts/OPERATION/MODEL.json or .sse, .metered.sse where
// usage was asked for.
//
//go:embed scripts
var scripts embed.FS

// op is what is asked of a provider.
type op string

const (
	chat        op = "chat"
	responses   op = "responses"
	embeddings  op = "embeddings"
	models      op = "models"
	messages    op = "messages"
	countTokens op = "count_tokens"
	batch       op = "batch"   // messages in a batch
	results     op = "results" // of one
	response    op = "response"
	nothing     op = ""
)

func operation(r *http.Request) op {
	switch r.Method + " " + r.URL.Path {
	case "POST /v1/chat/completions":
		return chat
	case "POST /v1/responses":
		return responses
	case "POST /v1/embeddings":
		return embeddings
	case "GET /v1/models":
		return models
	case "POST /v1/messages":
		return messages
	case "POST /v1/messages/count_tokens":
		return countTokens
	case "POST /v1/messages/batches":
		return batch
	case "GET /v1/messages/batches/msgbatch_text/results":
		return results
	case "GET /v1/responses/resp_text":
		return response
	}
	return nothing
}

// text is the answer; false if there is none.
func (o op) text(ask *asked) ([]byte, bool) {
	name := "text"
	switch ask.Model {
	case Tools, OtherServer, CutShort, Midway:
		name = ask.Model
	}
	switch o {
	case models:
		return read("chat/models.json")
	case countTokens:
		return read("messages/count_tokens.json")
	case batch:
		return read("messages/batch.json")
	case results:
		return read("messages/results.jsonl")
	case response:
		return read("responses/text.json")
	case embeddings:
		if ask.EncodingFormat == "base64" {
			return read("embeddings/base64.json")
		}
		return read("embeddings/float.json")
	case nothing:
		return nil, false
	}
	if ask.Background {
		return read(string(o) + "/queued.json")
	}
	if !ask.Stream {
		return read(string(o) + "/" + name + ".json")
	}
	if ask.StreamOptions.IncludeUsage {
		if text, ok := read(string(o) + "/" + name + ".metered.sse"); ok {
			return text, true
		}
	}
	return read(string(o) + "/" + name + ".sse")
}

func read(name string) ([]byte, bool) {
	text, err := scripts.ReadFile("scripts/" + name)
	return text, err == nil
}

// Usage is what an answer reports to have cost. Cached input is part of Input.
type Usage struct{ Input, Output, CacheRead, CacheWritten, Reasoning int64 }

// Reported is the usage in the answers of a model to POSTs of that path, where they
// report any.
func Reported(path, model string) Usage {
	switch {
	case path == "/v1/chat/completions" && model == Tools:
		return Usage{Input: 98, Output: 41}
	case path == "/v1/chat/completions" && model == OtherServer:
		return Usage{Input: 7}
	case path == "/v1/chat/completions":
		return Usage{Input: 412, Output: 187, CacheRead: 128, Reasoning: 64}
	case path == "/v1/responses", path == "/v1/responses/resp_text":
		return Usage{Input: 36, Output: 87, CacheRead: 32, Reasoning: 21}
	case path == "/v1/embeddings":
		return Usage{Input: 8}
	case path == "/v1/messages" && model == Tools:
		return Usage{Input: 380, Output: 54}
	case path == "/v1/messages/batches/msgbatch_text/results":
		return Usage{Input: 25 + 1800 + 120 + 5, Output: 187 + 13, CacheRead: 1800, CacheWritten: 120}
	case path == "/v1/messages":
		return Usage{Input: 25 + 1800 + 120, Output: 187, CacheRead: 1800, CacheWritten: 120}
	}
	return Usage{}
}
