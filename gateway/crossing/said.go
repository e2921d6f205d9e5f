package crossing

import (
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// maxWord bounds a name that an AI service is asked for or says, in bytes.
	maxWord = 256
	// maxOffered and maxMessages bound what a request may list.
	maxOffered  = 32
	maxMessages = 64
	// maxTensors bounds what a model is given or gives, maxDimensions the shape of each.
	maxTensors    = 32
	maxDimensions = 16
)

// Word is a name that an AI service is asked for or says, such as a model's, as a
// record has it: what cannot be shown escaped, and cut.
func Word(s string) string { return cut(printable(cut(s, maxWord)), maxWord) }

// tells says that an operation has anything of an AI service.
func tells(o *crossingv1.Operation) bool {
	return o != nil && (asks(o) || answers(o) || len(o.Offered) > 0 || len(o.Inputs) > 0)
}

// asks says that an operation has anything of an AI service that both gateways must
// say alike.
func asks(o *crossingv1.Operation) bool {
	return o != nil && (o.Request != "" || o.ModelRequested != "" || o.ModelVersion != "" || o.Tool != "" || o.Agent != "" || o.DataClass != "" ||
		o.DataClassSource != 0 || o.Labeler != "" || o.MaxTokens != nil || o.Session != "" || len(o.Messages) > 0 || o.Artifact != nil)
}

// answers says that an operation has what only an answer tells.
func answers(o *crossingv1.Operation) bool {
	return o.ModelServed != "" || o.FinishReason != "" || o.Tokens != nil || o.FirstToken != nil
}

// reported are the tokens that a provider reported, which both gateways read in the
// same answer; nil where it reported none.
func reported(s *crossingv1.Said) *crossingv1.Tokens {
	if s.GetTokens().GetSource() == crossingv1.Tokens_REPORTED {
		return s.GetTokens()
	}
	return nil
}

// numbers of tokens, each nil if nobody knows it.
func numbers(t *crossingv1.Tokens) [5]*uint32 {
	if t == nil {
		return [5]*uint32{}
	}
	return [...]*uint32{t.Input, t.Output, t.CacheRead, t.CacheWritten, t.Reasoning}
}

// appendAgreedAsk appends what both gateways must say alike of what an AI service is
// asked for.
func appendAgreedAsk(b []byte, o *crossingv1.Operation) []byte {
	b = appendAgreed(b, o.GetRequest())
	b = appendAgreed(b, o.GetModelRequested())
	b = appendAgreed(b, o.GetTool())
	b = appendAgreed(b, o.GetAgent())
	b = appendAgreed(b, o.GetDataClass())
	b = protowire.AppendVarint(b, uint64(o.GetDataClassSource()))
	b = appendAgreed(b, o.GetLabeler())
	b = appendAgreedNumber(b, o.MaxTokens)
	b = appendAgreed(b, o.GetSession())
	b = protowire.AppendVarint(b, uint64(len(o.GetMessages())))
	for _, m := range o.GetMessages() {
		b = appendAgreed(b, m.GetName())
		b = appendAgreed(b, m.GetTool())
		b = appendAgreed(b, m.GetModel())
		b = protowire.AppendVarint(b, uint64(m.GetDecision()))
	}
	if o.GetModelVersion() != "" {
		b = appendAgreed(b, o.GetModelVersion())
		b = protowire.AppendVarint(b, protowire.EncodeBool(o.GetArtifact() != nil))
	}
	if a := o.GetArtifact(); a != nil {
		for _, text := range artifactTexts(a) {
			b = appendAgreed(b, text)
		}
	}
	return b
}

// artifactTexts are all that is said of one.
func artifactTexts(a *crossingv1.Artifact) [4]string {
	return [...]string{a.GetName(), a.GetReference(), a.GetKind(), a.GetSource()}
}

// appendAgreedSaid appends the same of its answer.
func appendAgreedSaid(b []byte, s *crossingv1.Said) []byte {
	b = appendAgreed(b, s.GetId())
	b = appendAgreed(b, s.GetModelServed())
	b = appendAgreed(b, s.GetFinishReason())
	b = protowire.AppendVarint(b, protowire.EncodeBool(s.GetFailed()))
	b = appendAgreed(b, s.GetFault())
	t := reported(s)
	if t == nil {
		return append(b, 0)
	}
	b = append(b, 1)
	for _, n := range numbers(t) {
		b = appendAgreedNumber(b, n)
	}
	return b
}

// appendAgreedNumber appends whether there is a number, and the number.
func appendAgreedNumber(b []byte, n *uint32) []byte {
	if n == nil {
		return append(b, 0)
	}
	return protowire.AppendVarint(append(b, 1), uint64(*n))
}

// asked names where two openings differ in what an AI service is asked for.
func (d *differing) asked(e, i *crossingv1.Operation) {
	if !asks(e) && !asks(i) {
		return
	}
	e, i = there(e), there(i)
	d.add("operation.request", e.Request != i.Request)
	d.add("operation.modelRequested", e.ModelRequested != i.ModelRequested)
	d.add("operation.modelVersion", e.ModelVersion != i.ModelVersion)
	d.add("operation.tool", e.Tool != i.Tool)
	d.add("operation.agent", e.Agent != i.Agent)
	d.add("operation.dataClass", e.DataClass != i.DataClass)
	d.add("operation.dataClassSource", e.DataClassSource != i.DataClassSource)
	d.add("operation.labeler", e.Labeler != i.Labeler)
	d.add("operation.maxTokens", !sameNumber(e.MaxTokens, i.MaxTokens))
	d.add("operation.session", e.Session != i.Session)
	d.add("operation.artifact", (e.Artifact == nil) != (i.Artifact == nil) || artifactTexts(e.Artifact) != artifactTexts(i.Artifact))
	d.add("operation.messages", !slices.EqualFunc(e.Messages, i.Messages, sameMessage))
}

func there(o *crossingv1.Operation) *crossingv1.Operation {
	if o == nil {
		return new(crossingv1.Operation)
	}
	return o
}

func sameNumber(a, b *uint32) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

// sameMessage leaves out the intent: each gateway may have another policy.
func sameMessage(e, i *crossingv1.Operation_Message) bool {
	return e.GetName() == i.GetName() && e.GetTool() == i.GetTool() && e.GetModel() == i.GetModel() && e.GetDecision() == i.GetDecision()
}

// said names where two ends, both of which had the whole answer, differ in what it
// said.
func (d *differing) said(e, i *crossingv1.Said) {
	if e == nil || i == nil {
		d.add("said", e != i)
		return
	}
	d.add("said.id", e.Id != i.Id)
	d.add("operation.modelServed", e.ModelServed != i.ModelServed)
	d.add("operation.finishReason", e.FinishReason != i.FinishReason)
	d.add("said.failed", e.Failed != i.Failed)
	d.add("said.fault", e.Fault != i.Fault)
	d.add("operation.tokens", !sameTokens(reported(e), reported(i)))
}

func sameTokens(e, i *crossingv1.Tokens) bool {
	a, b := numbers(e), numbers(i)
	return (e == nil) == (i == nil) && slices.EqualFunc(a[:], b[:], sameNumber)
}

// answer has an operation say what its answer said, as the egress gateway read it or,
// where that read nothing, the other one. How long the first token took is a matter of
// the caller's side alone.
func answer(o *crossingv1.Operation, egress, ingress *crossingv1.Close) {
	said := egress.GetSaid()
	if said == nil {
		said = ingress.GetSaid()
	}
	if o == nil || said == nil {
		return
	}
	o.ModelServed, o.FinishReason, o.Tokens = said.GetModelServed(), said.GetFinishReason(), proto.CloneOf(said.GetTokens())
	o.FirstToken = proto.CloneOf(egress.GetSaid().GetFirstToken())
}

// checkAsk holds what an opening says of what an AI service is asked for: nothing of
// an answer, and only what can be shown.
func checkAsk(o *crossingv1.Operation) error {
	switch {
	case !tells(o):
		return nil
	case answers(o):
		return errors.New("an answer before its end")
	case o.GetSession() != "" && !lowerHex(o.GetSession(), 16):
		return errors.New("operation.session is not 16 hex digits")
	case len(o.GetOffered()) > maxOffered || len(o.GetMessages()) > maxMessages:
		return errors.New("the operation lists too much")
	case !areTensors(o.GetInputs()):
		return errTensors
	case !areWords(o.GetModelRequested(), o.GetModelVersion(), o.GetTool(), o.GetAgent(), o.GetDataClass()) || !areWords(o.GetOffered()...):
		return errWord
	}
	if texts := artifactTexts(o.GetArtifact()); !areWords(texts[:]...) {
		return errWord
	}
	for _, m := range o.GetMessages() {
		if !areWords(m.GetName(), m.GetTool(), m.GetModel(), m.GetIntent()) {
			return errWord
		}
	}
	if o.GetLabeler() == "" {
		return nil
	}
	_, err := spiffeid.FromString(o.GetLabeler())
	return err
}

// checkKept holds what an end says of what was kept: digests, nothing of the content.
func checkKept(k *crossingv1.Kept) error {
	if !areWords(k.GetRequest(), k.GetAnswer()) {
		return errWord
	}
	return nil
}

// checkLabelled holds what an end says of the class of an answer: who signed that, too.
func checkLabelled(c *crossingv1.Close) error {
	switch class, labeler := c.GetAnswerClass(), c.GetAnswerLabeler(); {
	case (class == "") != (labeler == ""):
		return errors.New("a class of an answer that nobody signed, or a labeler of none")
	case !areWords(class):
		return errWord
	case labeler == "":
		return nil
	default:
		_, err := spiffeid.FromString(labeler)
		return err
	}
}

// checkSaid holds what an end says of an answer.
func checkSaid(s *crossingv1.Said) error {
	switch t := s.GetTokens(); {
	case s == nil:
		return nil
	case !areWords(s.GetId(), s.GetModelServed(), s.GetFinishReason(), s.GetFault()) || !areWords(s.GetToolsChanged()...):
		return errWord
	case !areTensors(s.GetOutputs()):
		return errTensors
	case !validDurations(s.GetFirstToken(), s.GetLongestGap()):
		return errors.New("the answer has an impossible duration")
	case t.GetSource() == crossingv1.Tokens_SOURCE_UNSPECIFIED && numbers(t) != [5]*uint32{}:
		return errors.New("tokens of which nobody says who counted them")
	}
	return nil
}

// areTensors says that no more is said of tensors than may be, and only what can be shown.
func areTensors(all []*crossingv1.Tensor) bool {
	return len(all) <= maxTensors && !slices.ContainsFunc(all, func(t *crossingv1.Tensor) bool {
		return len(t.GetShape()) > maxDimensions || !areWords(t.GetName(), t.GetDatatype())
	})
}

var errTensors = errors.New("the tensors are too many, of too many dimensions, or of a name that is not short text without control characters")

var errWord = errors.New("a name is not short text without control characters")

func areWords(words ...string) bool {
	for _, s := range words {
		if len(s) > maxWord || strings.IndexFunc(s, unicode.IsControl) >= 0 {
			return false
		}
	}
	return true
}
