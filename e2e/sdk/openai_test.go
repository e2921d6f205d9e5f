package sdk

import (
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/sallyport-mesh/sallyport/e2e/sdk/provider"
)

const (
	chatAt   = "llm.azure.mesh:8000"
	question = "Which documents mention the outage?"
)

// TestOpenAI: each ordinary call of OpenAI's SDKs is with the mesh what it is
// without it.
func TestOpenAI(t *testing.T) {
	t.Parallel()
	m := withProvider(t, permissive(t))
	t.Run("Node", func(t *testing.T) {
		m.same(t, node(t, "openai.mjs"), map[string]string{
			"error 400": "BadRequestError 400", "error 401": "AuthenticationError 401", "error 404": "NotFoundError 404",
			"error 429": "RateLimitError 429", "error 500": "InternalServerError 500",
		}, chatAt, "base URL", "attach helper")
	})
	t.Run("Go", func(t *testing.T) {
		m.same(t, openAIGo, map[string]string{
			"error 400": "openai.Error 400", "error 401": "openai.Error 401", "error 404": "openai.Error 404",
			"error 429": "openai.Error 429", "error 500": "openai.Error 500",
		}, chatAt, "base URL over TLS", "forward proxy", "mTLS, HTTP/2")
	})
}

// openAIGo makes each ordinary call of the SDK for Go.
func openAIGo(t *testing.T, at place, names ...string) []outcome {
	t.Helper()
	client := openai.NewClient(option.WithBaseURL(at.base+"/v1"), option.WithAPIKey(at.key), option.WithHTTPClient(at.from(t)))
	return tell(t, append(chatCalls(t, &client), otherCalls(t, &client)...), names)
}

// ask is a question to a model.
func ask(model string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(question)},
	}
}

// metered asks for the usage of a stream too.
func metered(model string) openai.ChatCompletionNewParams {
	p := ask(model)
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	return p
}

func chatCalls(t *testing.T, client *openai.Client) []call {
	chat := func(p openai.ChatCompletionNewParams) func() (any, error) {
		return func() (any, error) { return client.Chat.Completions.New(t.Context(), p) }
	}
	streamed := func(p openai.ChatCompletionNewParams) func() (any, error) {
		return func() (any, error) {
			var sum openai.ChatCompletionAccumulator
			s := client.Chat.Completions.NewStreaming(t.Context(), p)
			g := gather(s, func(c openai.ChatCompletionChunk) { sum.AddChunk(c) })
			g.Sum = sum.ChatCompletion
			return g, nil
		}
	}
	return []call{
		{"chat", chat(ask(provider.Text))},
		{"chat, streamed", streamed(ask(provider.Text))},
		{"chat, streamed with usage", streamed(metered(provider.Text))},
		{"chat, in gzip", chat(ask(provider.Zipped))},
		{"chat, streamed in gzip", streamed(metered(provider.Zipped))},
		{"chat, streamed slowly", streamed(metered(provider.Slow))},
		{"chat, streamed by another server", streamed(ask(provider.OtherServer))},
		{"chat, tools", chat(ask(provider.Tools))},
		{"chat, tools streamed", streamed(metered(provider.Tools))},
		{"chat, left", func() (any, error) {
			return leave(client.Chat.Completions.NewStreaming(t.Context(), metered(provider.Held)), 4)
		}},
		{"chat, no such model", chat(ask(provider.NotAllowed))},
		{"error 400", chat(ask(provider.BadRequest))},
		{"error 401", chat(ask(provider.NoKey))},
		{"error 429", chat(ask(provider.Busy))},
		{"error 429, once", chat(ask(provider.BusyOnce))},
		{"error 500", chat(ask(provider.Broken))},
		{"error 500, streamed", streamed(ask(provider.Broken))},
		{"error in the stream", streamed(ask(provider.Midway))},
		{"broken stream", streamed(ask(provider.Cut))},
	}
}

func otherCalls(t *testing.T, client *openai.Client) []call {
	respond := func(model string) responses.ResponseNewParams {
		return responses.ResponseNewParams{Model: model, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(question)}}
	}
	streamed := func(model string) func() (any, error) {
		return func() (any, error) {
			s := client.Responses.NewStreaming(t.Context(), respond(model))
			return gather(s, func(responses.ResponseStreamEventUnion) {}), nil
		}
	}
	embed := func(format openai.EmbeddingNewParamsEncodingFormat) func() (any, error) {
		return func() (any, error) {
			got, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
				Model: provider.Embedding, EncodingFormat: format,
				Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("hello")},
			})
			if err != nil {
				return nil, err
			}
			return raw(got.RawJSON()), nil
		}
	}
	return []call{
		{"responses", func() (any, error) { return client.Responses.New(t.Context(), respond(provider.Text)) }},
		{"responses, in the background", func() (any, error) {
			params := respond(provider.Text)
			params.Background = openai.Bool(true)
			return client.Responses.New(t.Context(), params)
		}},
		{"response", func() (any, error) {
			return client.Responses.Get(t.Context(), "resp_text", responses.ResponseGetParams{})
		}},
		{"responses, streamed", streamed(provider.Text)},
		{"responses, cut short", streamed(provider.CutShort)},
		{"responses, error in the stream", streamed(provider.Midway)},
		{"embeddings, float", embed(openai.EmbeddingNewParamsEncodingFormatFloat)},
		{"embeddings, base64", embed(openai.EmbeddingNewParamsEncodingFormatBase64)},
		{"models", func() (any, error) { return client.Models.List(t.Context()) }},
		{"error 404", func() (any, error) { return client.Models.Get(t.Context(), "nothing") }},
	}
}
