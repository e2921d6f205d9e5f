package anthropic

import "github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"

// place is what stands somewhere in a JSON text.
type place uint8

// Of a request.
const (
	document place = iota
	list           // of a batch's requests
	item           // one of them
	params         // what it asks for
	model
	stream
	limit    // of tokens
	backups  // models to fall back to
	backup   // one of them
	tool     // that is offered
	toolName // its name
	otherOne // the model of either
	otherMax // its limit of tokens
)

// Of an answer.
const (
	kind place = iota
	answerID
	answerModel
	finish
	fault
	delta // its kind
	input
	cacheRead
	cacheWritten
	output
	reasoning

	ofStart place = 1 << 7 // a count that a stream begins with
)

// schema is what is looked for in a JSON text: places, by their pointers.
type (
	schema = jsonscan.Schema[place]
	places = map[string]place
)

// compile makes a schema of its parts.
func compile(parts ...places) *schema { return jsonscan.MustSchema(parts...) }

// messageAt is what a request for a message has at some place (Messages API, Create a
// Message; of the beta, fallbacks, the advisor tool, and tools that messages add).
func messageAt(at string) places {
	const added = "/messages/*/content/*/tool/definition"
	return places{
		at + "/model":                  model,
		at + "/stream":                 stream,
		at + "/max_tokens":             limit,
		at + "/fallbacks":              backups,
		"?" + at + "/fallbacks/*":      backup,
		at + "/fallbacks/*/model":      otherOne,
		at + "/fallbacks/*/max_tokens": otherMax,
		"?" + at + "/tools/*":          tool,
		at + "/tools/*/name":           toolName,
		at + "/tools/*/model":          otherOne,
		at + "/tools/*/max_tokens":     otherMax,
		"?" + at + added:               tool,
		at + added + "/name":           toolName,
		at + added + "/model":          otherOne,
		at + added + "/max_tokens":     otherMax,
	}
}

// requests are what the contents of requests have.
var requests = map[string]*schema{
	Chat:        compile(messageAt(""), places{"": document}),
	CountTokens: compile(places{"": document, "/model": model, "/tools/*/name": toolName}),
	CreateBatch: compile(messageAt("/requests/*/params"),
		places{"": document, "/requests": list, "?/requests/*": item, "?/requests/*/params": params}),
}

// usage is what an object that has a usage says in it.
func usage(at string, of place) places {
	return places{
		at + "/usage/input_tokens":                          input | of,
		at + "/usage/cache_read_input_tokens":               cacheRead | of,
		at + "/usage/cache_creation_input_tokens":           cacheWritten | of,
		at + "/usage/output_tokens":                         output | of,
		at + "/usage/output_tokens_details/thinking_tokens": reasoning | of,
	}
}

// wholes is what an answer has that is one JSON text: a message, a count of tokens,
// a batch, or an error.
var wholes = compile(usage("", 0), places{
	"/type": kind, "/id": answerID, "/model": answerModel, "/stop_reason": finish,
	"/error/type": fault, "/input_tokens": input,
})

// resultLines is what a line of a batch's results has.
var resultLines = compile(usage("/result/message", 0), places{
	"/result/type": kind, "/result/message/model": answerModel,
})

// events is what an event of a stream has (Messages API, Streaming Messages). A
// block of content may say that another model goes on.
var events = compile(usage("", 0), usage("/message", ofStart), places{
	"/type": kind, "/message/id": answerID, "/message/model": answerModel,
	"/content_block/to/model": answerModel, "/delta/type": delta, "/delta/stop_reason": finish,
	"/error/type": fault,
})
