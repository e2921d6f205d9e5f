package genai

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// crossing adds which crossing it is.
func (s *set) crossing(r *crossingv1.Record) {
	t := r.GetTransition()
	s.text(crossingID, r.GetId())
	if r.GetState() != crossingv1.Record_STATE_UNSPECIFIED {
		s.put(crossingState, r.GetState().String())
	}
	s.text(traceID, r.GetTrace())
	s.text(transitionFrom, t.GetFrom())
	s.text(transitionTo, t.GetTo())
	s.text(transitionOwner, t.GetOwner())
	s.text(source, r.GetSource())
	s.text(destination, r.GetDestination())
}

// ends adds what the gateways did: it was denied if one of them denied it. Its times are
// by the clock of the egress gateway, if that told of it.
func (s *set) ends(r *crossingv1.Record) {
	all := endsOf(r)
	if len(all) == 0 {
		return
	}
	decider, clock := all[0], all[0]
	for _, e := range all {
		if e.GetDecision() != crossingv1.Decision_ALLOW { // none counts as a denial
			decider = e
			break
		}
	}
	s.put(decision, cmp.Or(decider.GetDecision(), crossingv1.Decision_DENY).String())
	s.text(reason, reasonOf(all))
	s.text(intent, decider.GetIntent())
	if n := decider.GetPolicy().GetSerial(); n > 0 && n < 1<<63 {
		s.put(policySerial, int64(n))
	}
	if clock.GetOpen().IsValid() {
		s.put(crossingOpened, clock.GetOpen().AsTime().Format(time.RFC3339Nano))
	}
	s.seconds(crossingDuration, clock.GetDuration())
	if i := slices.IndexFunc(all, func(e *crossingv1.End) bool { return e.GetAnswerClass() != "" }); i >= 0 {
		s.text(answerClass, all[i].GetAnswerClass())
	}
}

// endsOf are the halves that are there.
func endsOf(r *crossingv1.Record) (all []*crossingv1.End) {
	for _, e := range []*crossingv1.End{r.GetEgress(), r.GetIngress()} {
		if e != nil {
			all = append(all, e)
		}
	}
	return all
}

// reasonOf a gateway for denying the crossing, or for ending it; "" if none did.
func reasonOf(all []*crossingv1.End) string {
	for _, e := range all {
		if e.GetReason() != crossingv1.Reason_REASON_UNSPECIFIED {
			return e.GetReason().String()
		}
	}
	return ""
}

// asked adds what the service was asked for.
func (s *set) asked(op *crossingv1.Operation) {
	s.text(protocol, op.GetProtocol())
	s.text(service, op.GetService())
	s.text(operation, op.GetName())
	s.text(operationName, operationOf(op))
	s.text(provider, providerOf(op))
	s.text(requestModel, op.GetModelRequested())
	if op != nil {
		s.number(requestMaxTokens, op.MaxTokens)
	}
	if providerOf(op) != "" && op.GetStreamed() { // an MCP server streams what it likes to
		s.put(requestStream, true)
	}
	if n := len(op.GetMessages()); n > 0 {
		s.put(batchSize, int64(n))
	}
	s.text(dataClass, op.GetDataClass())
	if from := op.GetDataClassSource(); from != crossingv1.Operation_DATA_CLASS_SOURCE_UNSPECIFIED {
		s.put(dataClassSource, from.String())
	}
	s.server(op.GetAuthority())
}

// server adds the host and the port that were asked for.
func (s *set) server(authority string) {
	i := strings.LastIndexByte(authority, ':')
	if i <= 0 {
		return
	}
	port, err := strconv.ParseUint(authority[i+1:], 10, 16)
	if err != nil {
		return // it is quoted, and no authority
	}
	s.put(serverAddress, strings.TrimSuffix(strings.TrimPrefix(authority[:i], "["), "]"))
	s.put(serverPort, int64(port))
}

// operationOf is what the conventions call an operation; "" if they do not. Of MCP they
// want it of calls of tools alone.
func operationOf(op *crossingv1.Operation) string {
	switch op.GetProtocol() + " " + op.GetName() {
	case "openai chat", "openai responses", "anthropic chat":
		return "chat"
	case "openai text_completion":
		return "text_completion"
	case "openai embeddings":
		return "embeddings"
	case "mcp call_tool":
		return "execute_tool"
	}
	return ""
}

// providerOf is whose API it is: the conventions want that, and know that it may be
// another's service.
func providerOf(op *crossingv1.Operation) string {
	switch op.GetProtocol() {
	case "openai", "anthropic":
		return op.GetProtocol()
	}
	return ""
}

// tool adds which tool, prompt, resource or agent it is, and MCP's own words.
func (s *set) tool(op *crossingv1.Operation) {
	s.text(agentName, op.GetAgent())
	if op.GetProtocol() != "mcp" {
		s.text(toolName, op.GetTool())
		return
	}
	s.text(mcpMethod, methodOf(op))
	s.text(mcpSession, op.GetSession())
	switch op.GetName() {
	case "call_tool":
		s.text(toolName, op.GetTool())
	case "get_prompt":
		s.text(promptName, op.GetTool())
	case "read_resource", "subscribe", "unsubscribe":
		s.text(mcpResource, op.GetTool())
	}
}

// answered adds what the answer said, as the record has it.
func (s *set) answered(op *crossingv1.Operation) {
	s.text(responseModel, op.GetModelServed())
	if op.GetFinishReason() != "" {
		s.put(finishReasons, []string{op.GetFinishReason()})
	}
	s.seconds(firstToken, op.GetFirstToken())
	switch t := op.GetTokens(); t.GetSource() {
	case crossingv1.Tokens_REPORTED:
		s.number(inputTokens, t.Input)
		s.number(outputTokens, t.Output)
		s.number(cacheReadTokens, t.CacheRead)
		s.number(cacheWrittenTokens, t.CacheWritten)
		s.number(reasoningTokens, t.Reasoning)
	case crossingv1.Tokens_COUNTED:
		s.number(countedTokens, t.Output)
	}
}

// said adds what the gateway that is nearest to the caller read in the answer.
func (s *set) said(r *crossingv1.Record) {
	said := saidIn(r)
	if said == nil {
		return
	}
	s.text(responseID, said.GetId())
	s.seconds(longestGap, said.GetLongestGap())
	if n := said.GetToolsListed(); n > 0 && n < 1<<63 {
		s.put(toolsListed, int64(n))
		s.put(toolsHidden, int64(min(said.GetToolsHidden(), n))) //nolint:gosec // n is none too large
	}
	if len(said.GetToolsChanged()) > 0 {
		s.put(toolsChanged, said.GetToolsChanged())
	}
}

// saidIn is what a gateway read of the answer, the egress gateway if it did; nil if none.
func saidIn(r *crossingv1.Record) *crossingv1.Said {
	for _, e := range endsOf(r) {
		if e.GetSaid() != nil {
			return e.GetSaid()
		}
	}
	return nil
}

// failure adds what error the caller got: that of a gateway, by its reason, or that which
// the answer is, by the service's own name for it.
func (s *set) failure(r *crossingv1.Record) {
	const other = "_OTHER" // as the conventions call one without a name
	kind := reasonOf(endsOf(r))
	if said := saidIn(r); kind == "" && said.GetFailed() {
		kind = cmp.Or(said.GetFault(), other)
	}
	if r.GetOperation().GetProtocol() == "mcp" { // where an error of JSON-RPC is its code
		kind = strings.TrimPrefix(kind, "error ")
	}
	s.text(errorType, kind)
}

// seconds adds a duration, unless nobody knows it.
func (s *set) seconds(f fact, d *durationpb.Duration) {
	if d.IsValid() {
		s.put(f, d.AsDuration().Seconds())
	}
}
