package jsonrpc

import (
	"strconv"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestAnswer(t *testing.T) {
	f := &Fault{InvalidRequest, `no "x"`, "c1", crossingv1.Reason_NO_INTENT, "team"}
	const fault = `"error":{"code":-32600,"message":"no \"x\"","data":{"crossing":"c1","reason":"NO_INTENT","owner":"team"}}}`
	for _, tt := range []struct {
		name string
		do   func() (*l7.ResponseHead, []byte)
		want string
	}{
		{"one", func() (*l7.ResponseHead, []byte) { return f.Answer(403, []byte("7")) }, `{"jsonrpc":"2.0","id":7,` + fault},
		{"of no id", func() (*l7.ResponseHead, []byte) { return f.Answer(403, nil) }, `{"jsonrpc":"2.0","id":null,` + fault},
		{"a batch", func() (*l7.ResponseHead, []byte) { return f.Batch(403, [][]byte{[]byte("7"), []byte(`"a"`)}) }, `[{"jsonrpc":"2.0","id":7,` + fault + `,{"jsonrpc":"2.0","id":"a",` + fault + `]`},
	} {
		head, body := tt.do()
		if string(body) != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, body, tt.want)
		}
		if err := head.Check(); err != nil || head.Status != 403 || head.Fields.Get(l7.CrossingName) != "c1" ||
			head.Fields.Get("content-length") != strconv.Itoa(len(body)) || head.Fields.Get("cache-control") != "no-store" {
			t.Errorf("%s: %+v, %v", tt.name, head, err)
		}
	}
	head, _ := (&Fault{}).Answer(400, nil)
	if head.Fields.Has(l7.CrossingName) {
		t.Error("a crossing that there is none of is named")
	}
}

func TestID(t *testing.T) {
	for _, tt := range []struct {
		kind       jsonscan.Kind
		text, want string
	}{
		{jsonscan.Number, "1e3", "1e3"},
		{jsonscan.String, "a\"\u2028<", `"a\"\u2028\u003c"`},
		{jsonscan.Null, "", ""},
		{jsonscan.Object, "", ""},
	} {
		if got := string(ID(tt.kind, []byte(tt.text))); got != tt.want {
			t.Errorf("%v %q: %s, want %s", tt.kind, tt.text, got, tt.want)
		}
	}
}
