package provider

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// gap is what lies between two events of a slow stream.
	gap = 15 * time.Millisecond
	// fateful is what lies between the last event and a broken connection: where a
	// tunnel is between, a reset may overtake what was sent just before it.
	fateful = 300 * time.Millisecond
)

// Provider answers as providers do. It is safe for concurrent use.
type Provider struct {
	mu    sync.Mutex
	calls []Call
}

// New makes a provider that nobody has called yet.
func New() *Provider { return new(Provider) }

// Call is a request as it reached the provider.
type Call struct {
	Method, Target string // as in the request line
	Header         http.Header
	Body           string
}

// Retry says how often the SDK had tried before; -1 if it did not say.
func (c *Call) Retry() int {
	n, err := strconv.Atoi(c.Header.Get("X-Stainless-Retry-Count"))
	if err != nil {
		return -1
	}
	return n
}

// Calls are those that came since the last time that somebody asked, in their order.
func (p *Provider) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := p.calls
	p.calls = nil
	return calls
}

// asked is what a script is chosen by.
type asked struct {
	Model         string
	Stream        bool
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	EncodingFormat string `json:"encoding_format"`
	Background     bool
}

func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // nobody is there to hear of it
	}
	call := Call{r.Method, r.RequestURI, r.Header.Clone(), string(body)}
	p.mu.Lock()
	p.calls = append(p.calls, call)
	p.mu.Unlock()
	var ask asked
	if len(body) > 0 && json.Unmarshal(body, &ask) != nil {
		ask.Model = BadRequest
	}
	op, anthropic := operation(r), r.Header.Get("Anthropic-Version") != ""
	w.Header().Set("X-Request-Id", "req_scripted") // OpenAI's name of it
	w.Header().Set("Request-Id", "req_scripted")   // Anthropic's
	if f, ok := faultOf(ask.Model); ok && (!f.once || call.Retry() <= 0) {
		f.answer(w, anthropic)
		return
	}
	text, ok := op.text(&ask)
	if !ok {
		fault{status: http.StatusNotFound, code: "not_found_error", message: "no such thing"}.answer(w, anthropic)
		return
	}
	if !ask.Stream {
		w.Header().Set("Content-Type", "application/json")
		if op == results {
			w.Header().Set("Content-Type", "application/x-jsonl")
		}
		whole(w, r, &ask, text)
		return
	}
	stream(w, r, &ask, text)
}

// whole sends an answer in one piece.
func whole(w http.ResponseWriter, r *http.Request, ask *asked, text []byte) {
	out, end := encoded(w, r, ask)
	out.Write(text) //nolint:errcheck // the caller may be gone
	end()
}

// stream sends each event as soon as it is there.
func stream(w http.ResponseWriter, r *http.Request, ask *asked, text []byte) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	out, end := encoded(w, r, ask)
	for event := range Events(text) {
		if ask.Model == Held && last(event) {
			http.NewResponseController(w).Flush() //nolint:errcheck // the caller may be gone
			<-r.Context().Done()
			return
		}
		if (ask.Model == Cut || ask.Model == CutAtOnce) && last(event) {
			if ask.Model == Cut {
				pause(r, fateful)
			}
			panic(http.ErrAbortHandler)
		}
		if ask.Model == Slow {
			pause(r, gap)
		}
		out.Write(event)                      //nolint:errcheck // the caller may be gone
		http.NewResponseController(w).Flush() //nolint:errcheck // the caller may be gone
	}
	end()
}

// pause waits, unless the caller goes.
func pause(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// last says that an event tells of the end of an answer.
func last(event []byte) bool {
	for _, mark := range []string{`"finish_reason":"`, `"message_delta"`, `"response.output_text.done"`} {
		if bytes.Contains(event, []byte(mark)) {
			return true
		}
	}
	return false
}

// Events cuts a stream behind each empty line, and gives every byte of it.
func Events(text []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			n := len(text)
			for _, empty := range []string{"\n\n", "\r\n\r\n"} {
				if i := bytes.Index(text, []byte(empty)); i >= 0 {
					n = min(n, i+len(empty))
				}
			}
			if !yield(text[:n:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// encoded is where content goes: through gzip if the script says so and the caller
// accepts it. Each write is one that a caller can read.
func encoded(w http.ResponseWriter, r *http.Request, ask *asked) (io.Writer, func()) {
	takes := strings.FieldsFunc(strings.Join(r.Header.Values("Accept-Encoding"), ","), func(c rune) bool { return c == ',' || c == ' ' })
	if ask.Model != Zipped || !slices.Contains(takes, "gzip") {
		return w, func() {}
	}
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	return flushed{z}, func() { z.Close() } //nolint:errcheck // the caller may be gone
}

// flushed is gzip that holds nothing back.
type flushed struct{ *gzip.Writer }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}
