package openai

import (
	"net/url"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// route is what a head says of a request. Its error is an *inspect.Error.
func route(head *l7.RequestHead) (inspect.Ask, error) {
	ask := inspect.NewAsk()
	path, query, _ := strings.Cut(head.Path, "?")
	rest, deployment := locate(path)
	ask.Operation, ask.Model = operation(head.Method, rest)
	switch asksModel := requests[ask.Operation] != nil; {
	case asksModel:
		ask.Model = deployment
	case deployment != "": // which has nothing else
		return inspect.NewAsk(), nil
	case ask.Operation != GetModel:
		return ask, nil
	}
	err := headModel(&ask, query)
	return ask, err
}

// headModel holds the model that a path names against that of the query, and
// keeps the one that there is.
func headModel(ask *inspect.Ask, query string) error {
	model, err := modelIn(query)
	switch {
	case err != nil:
		return err
	case ask.Model == "":
		ask.Model = model
	case model != "" && model != ask.Model:
		return inspect.Ambiguous("path and query name two models", nil)
	}
	if !inspect.Nameable(ask.Model) {
		ask.Model = ""
		return inspect.Unreadable("the path or the query has no name of a model", nil)
	}
	return nil
}

// locate gives the steps of a path behind /v1, /openai/v1 or
// /openai/deployments/{model}, without their escapes; none if it is under none of
// these, or has a step that some readers take out.
func locate(path string) (rest []string, deployment string) {
	steps := strings.Split(path, "/")
	for i, step := range steps {
		plain, err := url.PathUnescape(step)
		if err != nil || i > 0 && (plain == "" || plain == "." || plain == "..") {
			return nil, ""
		}
		steps[i] = plain
	}
	if steps[0] != "" || len(steps) < 2 {
		return nil, ""
	}
	steps = steps[1:]
	switch {
	case steps[0] == "v1":
		return steps[1:], ""
	case len(steps) > 1 && steps[0] == "openai" && steps[1] == "v1":
		return steps[2:], ""
	case len(steps) > 2 && steps[0] == "openai" && steps[1] == "deployments" && !strings.Contains(steps[2], "/"):
		return steps[3:], steps[2]
	default:
		return nil, ""
	}
}

// operation is what a method asks for at some steps, and the model that these
// name. A model's name may have slashes, escaped or not.
func operation(method string, steps []string) (name, model string) {
	if len(steps) == 0 {
		return "", ""
	}
	if method == "GET" && steps[0] == "models" {
		if len(steps) == 1 {
			return ListModels, ""
		}
		return GetModel, strings.Join(steps[1:], "/")
	}
	for _, step := range steps {
		if strings.Contains(step, "/") {
			return "", ""
		}
	}
	if steps[0] == "responses" && len(steps) > 1 {
		return ofResponse(method, steps[2:]), ""
	}
	if method != "POST" {
		return "", ""
	}
	switch strings.Join(steps, "/") {
	case "chat/completions":
		return Chat, ""
	case "responses":
		return Responses, ""
	case "completions":
		return TextCompletion, ""
	case "embeddings":
		return Embeddings, ""
	default:
		return "", ""
	}
}

// ofResponse is what a method asks for at some steps behind a response's id.
func ofResponse(method string, steps []string) string {
	switch {
	case method == "GET" && len(steps) == 0:
		return GetResponse
	case method == "DELETE" && len(steps) == 0:
		return DeleteResponse
	case method == "POST" && len(steps) == 1 && steps[0] == "cancel":
		return CancelResponse
	default:
		return ""
	}
}

// modelIn is the model that a query names; "" if it names none. There are readers
// that take a semicolon for what separates (W3C, HTML 4.01, B.2.2).
func modelIn(query string) (model string, err error) {
	met := false
	for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		if name, err = url.QueryUnescape(name); err != nil {
			return "", inspect.Unreadable("the query is not well formed", err)
		}
		if !strings.EqualFold(name, "model") {
			continue
		}
		if value, err = url.QueryUnescape(value); err != nil || value == "" {
			return "", inspect.Unreadable("the query names no model", err)
		}
		if name != "model" || strings.Contains(query, ";") || met && value != model {
			return "", inspect.Ambiguous("the query names a model in more than one way", nil)
		}
		model, met = value, true
	}
	return model, nil
}
