package openai

import "github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"

// schema is what is looked for in a JSON text: places, by their pointers.
type (
	schema = jsonscan.Schema[place]
	places = map[string]place
)

// compile makes a schema of its parts.
func compile(parts ...places) *schema { return jsonscan.MustSchema(parts...) }

// place is what stands somewhere in a JSON text.
type place uint8

// Of a request.
const (
	document place = iota
	model
	stream
	limit   // of tokens, for each choice
	choices // how many answers to each prompt
	prompt  // one of several
	tool    // that is offered
	toolName
	toolType
)

// requests are what the contents of requests have (OpenAI's API, Create chat
// completion, Create a response, Create completion, Create embeddings).
var requests = map[string]*schema{
	Chat: compile(places{
		"": document, "/model": model, "/stream": stream,
		"/max_completion_tokens": limit, "/max_tokens": limit, "/n": choices,
		"?/tools/*": tool, "/tools/*/function/name": toolName, "/tools/*/custom/name": toolName,
		"?/functions/*": tool, "/functions/*/name": toolName,
	}),
	Responses: compile(places{
		"": document, "/model": model, "/stream": stream, "/max_output_tokens": limit,
		"?/tools/*": tool, "/tools/*/name": toolName, "/tools/*/type": toolType,
	}),
	TextCompletion: compile(places{
		"": document, "/model": model, "/stream": stream,
		"/max_tokens": limit, "/n": choices, "/best_of": choices, "?/prompt/*": prompt,
	}),
	Embeddings: compile(places{"": document, "/model": model}),
}

// Of an answer.
const (
	answerID place = iota
	answerModel
	status  // of a response
	behind  // a response is made in the background
	reason  // why a response is not complete
	choice  // one of several, in an array
	index   // its number
	finish  // why it ended
	content // some of it, in a stream
	event   // what an event of a stream is
	usage
	input
	output
	cached
	written // to a cache
	reasoning
	failure // an error, or null
	faultType
	faultCode
	eventCode // of an error, or what a model has programmed
)

// answer are the fields of an answer, any of which may be an error instead.
func answer(parts ...places) *schema {
	return compile(append(parts, places{"?/error": failure, "/error/type": faultType, "/error/code": faultCode})...)
}

// failures are contents of answers whose status says that they are errors. Some
// servers do not wrap them.
var failures = answer(places{"/type": faultType, "/code": faultCode})

// completion are chats and completions, whole or a chunk of one. Servers differ
// in how they call what is thought.
var completion = answer(places{
	"/id": answerID, "/model": answerModel,
	"?/choices/*": choice, "/choices/*/index": index, "/choices/*/finish_reason": finish,
	"?/choices/*/text":          content,
	"?/choices/*/delta/content": content, "?/choices/*/delta/refusal": content,
	"?/choices/*/delta/reasoning": content, "?/choices/*/delta/reasoning_content": content,
	"?/choices/*/delta/tool_calls/*/function/arguments": content,
	"?/choices/*/delta/tool_calls/*/custom/input":       content,
	"?/choices/*/delta/function_call/arguments":         content,
	"?/choices/*/delta/audio/data":                      content, "?/choices/*/delta/audio/transcript": content,
	"?/usage": usage, "/usage/prompt_tokens": input, "/usage/completion_tokens": output,
	"/usage/prompt_tokens_details/cached_tokens": cached, "/usage/prompt_tokens_details/cache_write_tokens": written,
	"/usage/completion_tokens_details/reasoning_tokens": reasoning,
})

// response are the fields of a response at some place.
func response(at string) places {
	return places{
		at + "/id":                        answerID,
		at + "/model":                     answerModel,
		at + "/status":                    status,
		at + "/background":                behind,
		at + "/incomplete_details/reason": reason,
		"?" + at + "/error":               failure,
		at + "/error/code":                faultCode,
		at + "/error/type":                faultType,
		"?" + at + "/usage":               usage,
		at + "/usage/input_tokens":        input,
		at + "/usage/output_tokens":       output,
		at + "/usage/input_tokens_details/cached_tokens":      cached,
		at + "/usage/input_tokens_details/cache_write_tokens": written,
		at + "/usage/output_tokens_details/reasoning_tokens":  reasoning,
	}
}

// A response, and an event of the stream of one.
var (
	responseWhole = compile(response(""))
	responseEvent = answer(response("/response"), places{"/type": event, "/code": eventCode, "?/delta": content})
)

// answers are what the contents of answers have, by operation; streams what each
// event of one has.
var (
	answers = map[string]*schema{
		Chat: completion, TextCompletion: completion,
		Responses: responseWhole, GetResponse: responseWhole, CancelResponse: responseWhole,
		Embeddings: answer(places{"/model": answerModel, "?/usage": usage, "/usage/prompt_tokens": input}),
	}
	streams = map[string]*schema{
		Chat: completion, TextCompletion: completion, Responses: responseEvent, GetResponse: responseEvent,
	}
)
