package sdk

import (
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/sallyport-mesh/sallyport/e2e/sdk/provider"
)

const claudeAt = "llm.azure.mesh:8001"

// TestAnthropic: each ordinary call of Anthropic's SDKs is with the mesh what it is
// without it.
func TestAnthropic(t *testing.T) {
	t.Parallel()
	m := withProvider(t, permissive(t))
	t.Run("Node", func(t *testing.T) {
		m.same(t, node(t, "anthropic.mjs"), map[string]string{
			"error 400": "BadRequestError 400", "error 401": "AuthenticationError 401", "error 404": "NotFoundError 404",
			"error 429": "RateLimitError 429", "error 500": "InternalServerError 500", "error 529": "OverloadedError 529",
		}, claudeAt, "base URL", "attach helper")
	})
	t.Run("Go", func(t *testing.T) {
		m.same(t, anthropicGo, map[string]string{
			"error 400": "anthropic.Error 400", "error 401": "anthropic.Error 401", "error 404": "anthropic.Error 404",
			"error 429": "anthropic.Error 429", "error 500": "anthropic.Error 500", "error 529": "anthropic.Error 529",
		}, claudeAt, "base URL", "forward proxy", "mTLS, HTTP/2")
	})
}

// anthropicGo makes each ordinary call of the SDK for Go, whose key is in X-Api-Key.
func anthropicGo(t *testing.T, at place, names ...string) []outcome {
	t.Helper()
	client := anthropic.NewClient(
		option.WithoutEnvironmentDefaults(), option.WithBaseURL(at.base), option.WithAPIKey(at.key), option.WithHTTPClient(at.from(t)),
	)
	params := func(model string) anthropic.MessageNewParams {
		return anthropic.MessageNewParams{
			Model: model, MaxTokens: 512,
			Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(question))},
		}
	}
	create := func(model string) func() (any, error) {
		return func() (any, error) { return client.Messages.New(t.Context(), params(model)) }
	}
	streamed := func(model string) func() (any, error) {
		return func() (any, error) {
			var sum anthropic.Message
			s := client.Messages.NewStreaming(t.Context(), params(model))
			g := gather(s, func(e anthropic.MessageStreamEventUnion) {
				if err := sum.Accumulate(e); err != nil {
					t.Errorf("accumulate %s: %v", e.RawJSON(), err)
				}
			})
			g.Sum = sum
			return g, nil
		}
	}
	return tell(t, []call{
		{"messages", create("claude")},
		{"messages, streamed", streamed("claude")},
		{"messages, in gzip", create(provider.Zipped)},
		{"messages, streamed in gzip", streamed(provider.Zipped)},
		{"messages, streamed slowly", streamed(provider.Slow)},
		{"messages, tools", create(provider.Tools)},
		{"messages, tools streamed", streamed(provider.Tools)},
		{"messages, left", func() (any, error) {
			return leave(client.Messages.NewStreaming(t.Context(), params(provider.Held)), 5)
		}},
		{"messages, no such model", create(provider.NotAllowed)},
		{"count_tokens", func() (any, error) {
			return client.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{Model: "claude", Messages: params("").Messages})
		}},
		{"batch", func() (any, error) {
			one := anthropic.MessageBatchNewParamsRequest{CustomID: "one", Params: anthropic.MessageBatchNewParamsRequestParams{Model: "claude", MaxTokens: 512, Messages: params("").Messages}}
			two := one
			two.CustomID = "two"
			return client.Messages.Batches.New(t.Context(), anthropic.MessageBatchNewParams{Requests: []anthropic.MessageBatchNewParamsRequest{one, two}})
		}},
		{"batch results", func() (any, error) {
			s := client.Messages.Batches.ResultsStreaming(t.Context(), "msgbatch_text", anthropic.MessageBatchResultsParams{})
			return gather(s, func(anthropic.MessageBatchIndividualResponse) {}), nil
		}},
		{"error 400", create(provider.BadRequest)},
		{"error 401", create(provider.NoKey)},
		{"error 404", func() (any, error) { return client.Models.Get(t.Context(), "nothing", anthropic.ModelGetParams{}) }},
		{"error 429", create(provider.Busy)},
		{"error 429, once", create(provider.BusyOnce)},
		{"error 500", create(provider.Broken)},
		{"error 529", create(provider.Overloaded)},
		{"error 529, streamed", streamed(provider.Overloaded)},
		{"error in the stream", streamed(provider.Midway)},
		{"broken stream", streamed(provider.Cut)},
	}, names)
}
