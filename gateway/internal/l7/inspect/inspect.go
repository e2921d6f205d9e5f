// Package inspect says what a request asks of an AI service, and what its answer
// says, while they stream by. It holds what all protocols have in common; each
// has a package of its own that implements Protocol. None of them decides,
// records, or changes what passes; only an Answer of MCP leaves out what its
// caller may not see.
//
// One invariant: where an inspector tells of something, every reader of the same
// bytes finds the same there. Where two readers could differ, it fails.
package inspect

import (
	"io"
	"strings"
	"unicode/utf8"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// Bounds of what is told.
const (
	MaxText    = 256 // of one name or id, in bytes; what is longer is a fault where a policy may ask for it
	MaxAsks    = 64  // in one batch
	MaxOffered = 32  // names of tools that a request offers
)

// Truth is what is known of a question.
type Truth uint8

// What may be known.
const (
	Unknown Truth = iota
	No
	Yes
)

// Ask is one thing that is asked for: the only one of an HTTP request, one of
// each message of JSON-RPC. What is empty is not known, or not there.
type Ask struct {
	// Operation is a name of this release, such as chat or call_tool: see each
	// protocol. A method of MCP that has none is its own name, which has a slash.
	Operation    string
	Model        string // as asked for
	ModelVersion string // of Model, as asked for
	Tool         string // that is called; the name of a prompt; the URI of a resource
	Agent        string // an agent or assistant that is spoken to
	Streamed     Truth  // the answer is asked for as a stream
	MaxTokens    int64  // the most that the answer may have; -1 if that is not said
	Session      string // a digest of an MCP session's id
	Kind         string // of the artifact that the content is, in the words of package artifact
	// ID is that of a JSON-RPC request, as JSON; nil if it has none.
	ID []byte
	// Offered are names of tools that the model may choose; at most MaxOffered.
	Offered []string
	// Inputs are what is given to a model, in the order of the request; at most MaxTensors.
	Inputs []Tensor
}

// Nameable says that a text can be told as a name: it is no longer than MaxText, and
// has nothing that is no text.
func Nameable(s string) bool {
	return len(s) <= MaxText && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// NewAsk is an Ask of which nothing is known.
func NewAsk() Ask { return Ask{MaxTokens: -1} }

// Describe tells a policy what is known of it.
func (a *Ask) Describe(to *policy.Attributes) {
	for _, s := range [...]struct {
		at   policy.Attribute
		text string
	}{
		{policy.AIOperation, a.Operation},
		{policy.AIModel, a.Model},
		{policy.AIModelVersion, a.ModelVersion},
		{policy.AITool, a.Tool},
		{policy.AIAgent, a.Agent},
		{policy.ArtifactKind, a.Kind},
	} {
		if s.text != "" {
			to.SetString(s.at, s.text)
		}
	}
	if a.Streamed != Unknown {
		to.SetBool(policy.AIStreamed, a.Streamed == Yes)
	}
	if a.MaxTokens >= 0 {
		to.SetInt(policy.AIMaxTokens, a.MaxTokens)
	}
}

// Request reads the content of one request, in pieces of any size. It is not safe
// for concurrent use. Of the content it keeps nothing but what it tells.
type Request interface {
	// Write takes a piece of the content, decoded. Its error is final and says why
	// nobody can tell what the request asks for: an *Error.
	io.Writer
	// End says that the content is whole. Its error is as that of Write.
	End() error
	// Asks are what was found so far. Of a batch there is none before End. They may
	// only gain, never change: a contradiction is an error.
	Asks() []Ask
	// Settled says that nothing more will be told, so that what is not known is not
	// there. It is true after End.
	Settled() bool
}

// Answer reads the content of one answer, in pieces of any size. It is not safe
// for concurrent use.
type Answer interface {
	// Pass takes a piece of the content, decoded, and gives what goes on of it:
	// of most protocols p itself, always. out is good until the next call. An error
	// ends the answer: something in it may not pass, or it cannot be told whether it
	// may. Protocols that hide nothing have no errors: what they cannot read they say
	// nothing of.
	Pass(p []byte) (out []byte, err error)
	// End says that the content is whole, and gives what was still held.
	End() (out []byte, err error)
	// Said is what was found so far. It changes with each call of Pass.
	Said() *Said
}

// Said is what an answer says.
type Said struct {
	ID     string // of the answer, such as chatcmpl-...
	Model  string // that answered; of a batch's results each, joined by commas; "" if those are too many
	Finish string // why it ended, in the provider's words: of several choices, each, joined by commas
	Tokens Tokens
	// Pieces is how many pieces of content a stream has brought: the first is when
	// the first token came, and each later one tells of a gap. 0 of what is no stream.
	Pieces int64
	// Failed says that the answer is an error, whatever its status: an error event, or
	// a tool's error.
	Failed bool
	Fault  string // what it calls the error, such as overloaded_error; "" if nothing

	Listed  int64    // tools, prompts, resources and templates of them in lists
	Hidden  int64    // of them, those that the caller may not ask for and did not see
	Changed []string // of tools, those that are not as they were pinned, by name; at most MaxOffered
	Stopped int64    // messages to the caller that it may not get

	// Outputs are what a model gave, in the order of the answer; at most MaxTensors.
	Outputs []Tensor
}

// Tokens are what an answer cost. What is not known is -1: zero is a value.
type Tokens struct {
	// Input and Output are as the provider reports them; cached input is part of Input.
	Input, Output                      int64
	CacheRead, CacheWritten, Reasoning int64 // parts of them
	// Counted is how many tokens the answer has by what passed, at least: pieces of a
	// stream. It is no report.
	Counted int64
}

// NewSaid is a Said of an answer of which nothing is known.
func NewSaid() Said {
	return Said{Tokens: Tokens{Input: -1, Output: -1, CacheRead: -1, CacheWritten: -1, Reasoning: -1, Counted: -1}}
}

// Rules are what an Answer that leaves something out holds it against.
type Rules struct {
	// May says whether the caller may ask for that.
	May func(*Ask) bool
	// Pinned says whether a tool is as the policy knows it, by the SHA-256 of its
	// description in canonical JSON (RFC 8785), zero if it has no such form; true where
	// no policy knows it.
	Pinned func(tool string, digest [32]byte) bool
	// Seen is told of each tool of a list, also of those that are hidden then, as Pinned
	// is asked; it may be nil.
	Seen func(tool string, digest [32]byte)
}

// unread is an answer whose content nobody reads.
type unread struct{ said Said }

// Unread is an Answer of which no more is said, whatever its content.
func Unread(said Said) Answer { return &unread{said} }

func (u *unread) Pass(p []byte) ([]byte, error) { return p, nil }
func (u *unread) End() ([]byte, error)          { return nil, nil }
func (u *unread) Said() *Said                   { return &u.said }

// Editor is a Protocol of whose answers something may be left out.
type Editor interface {
	Protocol
	// MayShorten says that less of an answer may go on than came. It must not have a
	// content-length then, nor be in a content coding: whoever has rules asks the server
	// for none.
	MayShorten(head *l7.ResponseHead, rules *Rules) bool
}

// Protocol is what an AI service speaks.
type Protocol interface {
	// Request begins to read a request. It is nil if nothing in its content is of this
	// protocol: then head tells all that there is, which is in ask.
	Request(head *l7.RequestHead) (r Request, ask Ask)
	// Answer begins to read an answer to what was asked for; nil if there is nothing to
	// read in it. Rules are nil where nothing is to be left out.
	Answer(asks []Ask, head *l7.ResponseHead, rules *Rules) Answer
	// Refuse is what the caller's SDK expects to hear.
	Refuse(r *Refusal, asks []Ask, head *l7.RequestHead) (*l7.ResponseHead, []byte)
}
