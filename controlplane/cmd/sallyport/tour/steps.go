package tour

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	question = "Which documents mention the outage?"
	chatURL  = "https://llm.azure.mesh:8000/v1/chat/completions"
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

func chatBody(stream bool) string {
	return fmt.Sprintf(`{"model":"gpt-oss-20b","stream":%t,"messages":[{"role":"user","content":%q}]}`, stream, question)
}

func (t *Tour) ask(ctx context.Context) (*outcome, error) {
	began := time.Now()
	resp, err := t.call(ctx, http.MethodPost, chatURL, chatBody(false))
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
	resp, err := t.call(ctx, http.MethodPost, chatURL, chatBody(true))
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

func (t *Tour) denied(ctx context.Context) (*outcome, error) {
	resp, err := t.call(ctx, http.MethodGet, "https://registry.aws.mesh:5000/v2/", "")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var problem struct {
		Crossing, Owner string
	}
	if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil {
		return nil, fmt.Errorf("read the problem: %w", err)
	}
	if resp.StatusCode != http.StatusForbidden || problem.Owner == "" {
		return nil, fmt.Errorf("status %d and owner %q, want 403 and the transition's owner", resp.StatusCode, problem.Owner)
	}
	return &outcome{crossing: problem.Crossing}, nil
}
