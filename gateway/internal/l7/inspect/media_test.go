package inspect

import (
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

func TestMedia(t *testing.T) {
	for _, tt := range []struct {
		types []string
		kind  Media
		ok    bool
	}{
		{[]string{"application/json"}, JSON, true},
		{[]string{"Application/JSON; Charset=\"UTF-8\""}, JSON, true},
		{[]string{"application/vnd.openai+json"}, JSON, true},
		{[]string{"application/json; x=y"}, JSON, true},
		{[]string{"text/event-stream; charset=utf-8"}, EventStream, true},
		{[]string{"text/plain"}, OtherMedia, true},
		{[]string{"text/x+json"}, OtherMedia, true},
		{[]string{"application/jsonl"}, OtherMedia, true},
		{nil, OtherMedia, false},
		{[]string{""}, OtherMedia, false},
		{[]string{"application/json, text/plain"}, OtherMedia, false},
		{[]string{"application/json; charset=utf-16"}, OtherMedia, false},
		{[]string{"application/json; charset=utf-8; charset=utf-16"}, OtherMedia, false},
		{[]string{"application/json; charset"}, OtherMedia, false},
		{[]string{"application/json", "application/json"}, OtherMedia, false},
		{[]string{"application/json", "text/plain"}, OtherMedia, false},
	} {
		fields := l7.Fields{{Name: "accept", Value: "application/json"}}
		for _, value := range tt.types {
			fields = append(fields, l7.Field{Name: "content-type", Value: value})
		}
		if kind, ok := MediaOf(fields); kind != tt.kind || ok != tt.ok {
			t.Errorf("%q is %v, %v, want %v, %v", tt.types, kind, ok, tt.kind, tt.ok)
		}
	}
}
