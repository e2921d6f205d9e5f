package tour

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	question = "Which documents mention the outage?"
	chatURL  = "https://llm.azure.mesh:8000/v1/chat/completions"
	embedURL = "https://llm.azure.mesh:8000/v1/embeddings"
	toolsURL = "https://retriever.aws.mesh:8080/mcp"

	small, large = "gpt-oss-20b", "gpt-oss-120b"
)

// call makes one of the tour's calls, all in one trace.
func (t *Tour) call(ctx context.Context, method, url, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("traceparent", "00-"+t.trace+"-"+randomHex(8)+"-01")
	return t.client.Do(req)
}

func chatBody(model string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":%q}]}`, model, stream, question)
}

func (t *Tour) ask(ctx context.Context) (*outcome, error) {
	began := time.Now()
	resp, err := t.call(ctx, http.MethodPost, chatURL, chatBody(small, false))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d, want 200: %s", resp.StatusCode, body)
	}
	var answer struct {
		Usage struct {
			In  int `json:"prompt_tokens"`
			Out int `json:"completion_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return &outcome{
		crossing: resp.Header.Get("sallyport-crossing"),
		allowed:  true,
		detail:   `"` + question + `"`,
		measured: fmt.Sprintf("%d in %d ms, %d tokens in, %d out", resp.StatusCode,
			time.Since(began).Milliseconds(), answer.Usage.In, answer.Usage.Out),
	}, nil
}

func (t *Tour) stream(ctx context.Context) (*outcome, error) {
	resp, err := t.call(ctx, http.MethodPost, chatURL, chatBody(small, true))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d, want 200", resp.StatusCode)
	}
	var arrivals []time.Time
	lines := bufio.NewScanner(resp.Body)
	done := false
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			arrivals = append(arrivals, time.Now())
			done = data == "[DONE]"
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if !done || len(arrivals) < 10 {
		return nil, fmt.Errorf("%d events, whole: %t", len(arrivals), done)
	}
	// The llm paces its words. Had they been held back, they would have come
	// together at the end.
	if spread := arrivals[len(arrivals)-1].Sub(arrivals[0]); spread < time.Duration(len(arrivals))*time.Millisecond {
		return nil, fmt.Errorf("%d events came within %s: they were held back", len(arrivals), spread)
	}
	return &outcome{
		crossing: resp.Header.Get("sallyport-crossing"),
		allowed:  true,
		measured: fmt.Sprintf("%d events, none held back", len(arrivals)),
	}, nil
}

// leave stops listening in the middle of an answer, before its last event says what it
// cost.
func (t *Tour) leave(ctx context.Context) (*outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := t.call(ctx, http.MethodPost, chatURL, chatBody(small, true))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	const heard = 10
	for events := 0; events < heard && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data: ") {
			events++
		}
	}
	return &outcome{crossing: resp.Header.Get("sallyport-crossing"), allowed: true, holds: func(r *crossingv1.Record) (string, error) {
		tokens := r.GetOperation().GetTokens()
		if tokens.GetSource() != crossingv1.Tokens_COUNTED || tokens.GetOutput() < heard {
			return "", fmt.Errorf("its record has %v, want at least %d tokens counted", tokens, heard)
		}
		return "its tokens are counted all the same", nil
	}}, nil
}

// larger asks for a model that the policy does not allow.
func (t *Tour) larger(ctx context.Context) (*outcome, error) {
	resp, err := t.call(ctx, http.MethodPost, chatURL, chatBody(large, false))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error struct{ Message, Type string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("read the error: %w", err)
	}
	if resp.StatusCode != http.StatusForbidden || answer.Error.Type != "permission_error" || answer.Error.Message == "" {
		return nil, fmt.Errorf("status %d and %+v, want 403 and an error as OpenAI's SDKs read it", resp.StatusCode, answer.Error)
	}
	return &outcome{crossing: resp.Header.Get("sallyport-crossing")}, nil
}

// rpc asks the retriever for something, and gives the result or the error.
func (t *Tour) rpc(ctx context.Context, method, params string, result any) (crossing, refused string, err error) {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)
	resp, err := t.call(ctx, http.MethodPost, toolsURL, body)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  struct{ Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", "", fmt.Errorf("read the answer: %w", err)
	}
	if answer.Result != nil {
		err = json.Unmarshal(answer.Result, result)
	}
	return resp.Header.Get("sallyport-crossing"), answer.Error.Message, err
}

// tools lists what the retriever can do, as far as the policy lets the caller see it.
func (t *Tour) tools(ctx context.Context) (*outcome, error) {
	var list struct{ Tools []struct{ Name string } }
	crossing, refused, err := t.rpc(ctx, "tools/list", "{}", &list)
	if err != nil || refused != "" {
		return nil, fmt.Errorf("%s: %w", refused, err)
	}
	return &outcome{crossing: crossing, allowed: true, holds: func(r *crossingv1.Record) (string, error) {
		said := r.GetIngress().GetSaid()
		if hidden := said.GetToolsHidden(); hidden != 1 || int(said.GetToolsListed()) != len(list.Tools)+1 {
			return "", fmt.Errorf("%d tools came, and its record has %v", len(list.Tools), said)
		}
		return fmt.Sprintf("sees %d of %d", len(list.Tools), said.GetToolsListed()), nil
	}}, nil
}

// delete calls the one that it does not see.
func (t *Tour) delete(ctx context.Context) (*outcome, error) {
	crossing, refused, err := t.rpc(ctx, "tools/call", `{"name":"delete_document","arguments":{"number":"1"}}`, nil)
	if err != nil || refused == "" {
		return nil, fmt.Errorf("it was not refused as MCP's SDKs read it: %w", err)
	}
	return &outcome{crossing: crossing}, nil
}

// embed asks twice within a second, where one request is allowed, and once more when
// the gateway says.
func (t *Tour) embed(ctx context.Context) (*outcome, error) {
	if err := wait(ctx, time.Until(time.Now().Truncate(time.Second).Add(time.Second))); err != nil {
		return nil, err // a second begins
	}
	waited := time.Duration(0)
	for _, want := range [...]int{http.StatusOK, http.StatusTooManyRequests} {
		seconds, err := t.embedded(ctx, want)
		if err != nil {
			return nil, err
		}
		waited = time.Duration(seconds) * time.Second
	}
	if err := wait(ctx, waited); err != nil {
		return nil, err
	}
	resp, err := t.call(ctx, http.MethodPost, embedURL, embedBody)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d after %s, want 200", resp.StatusCode, waited)
	}
	return &outcome{
		crossing: resp.Header.Get("sallyport-crossing"), allowed: true,
		measured: fmt.Sprintf("429, and allowed again after %.0f s", waited.Seconds()),
	}, nil
}

const embedBody = `{"model":"` + small + `","input":"` + question + `"}`

// embedded asks once, and gives the seconds after which to ask again.
func (t *Tour) embedded(ctx context.Context, want int) (retryAfter int, err error) {
	resp, err := t.call(ctx, http.MethodPost, embedURL, embedBody)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if resp.StatusCode != want {
		return 0, fmt.Errorf("status %d, want %d", resp.StatusCode, want)
	}
	if want == http.StatusTooManyRequests {
		if retryAfter, err = strconv.Atoi(resp.Header.Get("retry-after")); err != nil || retryAfter < 1 {
			return 0, fmt.Errorf("retry-after is %q", resp.Header.Get("retry-after"))
		}
	}
	r, err := t.record(ctx, resp.Header.Get("sallyport-crossing"))
	if err != nil {
		return 0, err
	}
	t.records = append(t.records, r)
	return retryAfter, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Tour) denied(ctx context.Context) (*outcome, error) {
	resp, err := t.call(ctx, http.MethodGet, "https://registry.aws.mesh:5000/v2/", "")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var refused struct { // as a registry refuses
		Errors [1]struct {
			Detail struct{ Crossing, Owner string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&refused); err != nil {
		return nil, fmt.Errorf("read the refusal: %w", err)
	}
	detail := refused.Errors[0].Detail
	if resp.StatusCode != http.StatusForbidden || detail.Owner == "" {
		return nil, fmt.Errorf("status %d and owner %q, want 403 and the transition's owner", resp.StatusCode, detail.Owner)
	}
	return &outcome{crossing: detail.Crossing}, nil
}
