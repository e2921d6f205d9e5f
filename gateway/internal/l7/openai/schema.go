package openai

import "github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"

// field is a place in a JSON text, as jsonscan.Compile has it, and what stands
// there.
type field struct {
	at string
	is place
}

// schema is what is looked for in a JSON text.
type schema struct {
	paths *jsonscan.Paths
	is    []place // by the index of the path
}

func compile(fields ...field) *schema {
	s := new(schema)
	var pointers []string
	for _, f := range fields {
		pointers = append(pointers, f.at)
		s.is = append(s.is, f.is)
	}
	s.paths = jsonscan.MustCompile(pointers...)
	return s
}

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
	Chat: compile(
		field{"", document}, field{"/model", model}, field{"/stream", stream},
		field{"/max_completion_tokens", limit}, field{"/max_tokens", limit}, field{"/n", choices},
		field{"?/tools/*", tool}, field{"/tools/*/function/name", toolName}, field{"/tools/*/custom/name", toolName},
		field{"?/functions/*", tool}, field{"/functions/*/name", toolName},
	),
	Responses: compile(
		field{"", document}, field{"/model", model}, field{"/stream", stream}, field{"/max_output_tokens", limit},
		field{"?/tools/*", tool}, field{"/tools/*/name", toolName}, field{"/tools/*/type", toolType},
	),
	TextCompletion: compile(
		field{"", document}, field{"/model", model}, field{"/stream", stream},
		field{"/max_tokens", limit}, field{"/n", choices}, field{"/best_of", choices}, field{"?/prompt/*", prompt},
	),
	Embeddings: compile(field{"", document}, field{"/model", model}),
}

// Of an answer.
const (
	answerID place = iota
	answerModel
	status  // of a response
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
func answer(fields ...field) *schema {
	return compile(append(fields, field{"?/error", failure}, field{"/error/type", faultType}, field{"/error/code", faultCode})...)
}

// failures are contents of answers whose status says that they are errors. Some
// servers do not wrap them.
var failures = answer(field{"/type", faultType}, field{"/code", faultCode})

// completion are chats and completions, whole or a chunk of one. Servers differ
// in how they call what is thought.
var completion = answer(
	field{"/id", answerID}, field{"/model", answerModel},
	field{"?/choices/*", choice}, field{"/choices/*/index", index}, field{"/choices/*/finish_reason", finish},
	field{"?/choices/*/text", content},
	field{"?/choices/*/delta/content", content}, field{"?/choices/*/delta/refusal", content},
	field{"?/choices/*/delta/reasoning", content}, field{"?/choices/*/delta/reasoning_content", content},
	field{"?/choices/*/delta/tool_calls/*/function/arguments", content},
	field{"?/choices/*/delta/tool_calls/*/custom/input", content},
	field{"?/choices/*/delta/function_call/arguments", content},
	field{"?/choices/*/delta/audio/data", content}, field{"?/choices/*/delta/audio/transcript", content},
	field{"?/usage", usage}, field{"/usage/prompt_tokens", input}, field{"/usage/completion_tokens", output},
	field{"/usage/prompt_tokens_details/cached_tokens", cached}, field{"/usage/prompt_tokens_details/cache_write_tokens", written},
	field{"/usage/completion_tokens_details/reasoning_tokens", reasoning},
)

// response are the fields of a response at some place.
func response(at string) []field {
	return []field{
		{at + "/id", answerID},
		{at + "/model", answerModel},
		{at + "/status", status},
		{at + "/incomplete_details/reason", reason},
		{"?" + at + "/error", failure},
		{at + "/error/code", faultCode},
		{at + "/error/type", faultType},
		{"?" + at + "/usage", usage},
		{at + "/usage/input_tokens", input},
		{at + "/usage/output_tokens", output},
		{at + "/usage/input_tokens_details/cached_tokens", cached},
		{at + "/usage/input_tokens_details/cache_write_tokens", written},
		{at + "/usage/output_tokens_details/reasoning_tokens", reasoning},
	}
}

// A response, and an event of the stream of one.
var (
	responseWhole = compile(response("")...)
	responseEvent = answer(append(response("/response"), field{"/type", event}, field{"/code", eventCode}, field{"?/delta", content})...)
)

// answers are what the contents of answers have, by operation; streams what each
// event of one has.
var (
	answers = map[string]*schema{
		Chat: completion, TextCompletion: completion,
		Responses: responseWhole, GetResponse: responseWhole, CancelResponse: responseWhole,
		Embeddings: answer(field{"/model", answerModel}, field{"?/usage", usage}, field{"/usage/prompt_tokens", input}),
	}
	streams = map[string]*schema{
		Chat: completion, TextCompletion: completion, Responses: responseEvent, GetResponse: responseEvent,
	}
)
