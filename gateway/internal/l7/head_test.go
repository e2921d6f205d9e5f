package l7

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestCheckPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"/":                                true,
		"/v1/models/org%2Fname?q=100%":     true,
		"//two":                            true,
		"/a..b/.hidden/...":                true,
		"/v1?x=/../y":                      true,
		"":                                 false,
		"v1":                               false,
		"/v1/../admin":                     false,
		"/v1/./x":                          false,
		"/v1/..":                           false,
		"/v1/%2e%2E/admin":                 false,
		"/v1/.%2e/admin":                   false,
		"/v1%2f..%2fadmin":                 false,
		`/v1\..\admin`:                     false,
		"/v1/..;x=1/admin":                 false,
		"/a b":                             false,
		"/a#b":                             false,
		"/a%0d%0ab":                        false,
		"/a%00":                            false,
		"/a%zz":                            false,
		"/a%2":                             false,
		"/\x7f":                            false,
		"/caf\u00e9":                       false,
		"/a\r\nx":                          false,
		"/a\tb":                            false,
		"/deep/" + strings.Repeat("x/", 9): true,
	} {
		if err := CheckPath(path); (err == nil) != ok {
			t.Errorf("CheckPath(%q) = %v, want ok %v", path, err, ok)
		}
	}
}

func TestCheckAuthority(t *testing.T) {
	for authority, ok := range map[string]bool{
		"llm.azure.mesh":         true,
		"llm.azure.mesh:8000":    true,
		"10.0.0.1:80":            true,
		"[2001:db8::1]":          true,
		"[::1]:443":              true,
		"":                       false,
		":80":                    false,
		"h:":                     false,
		"h:0":                    false,
		"h:65536":                false,
		"h:+80":                  false,
		"h:80:80":                false,
		"u@h":                    false,
		"u:p@h:1":                false,
		"2001:db8::1":            false,
		"[h]":                    false,
		"[::1":                   false,
		"[::1]80":                false,
		"[fe80::1%25eth0]":       false,
		"a b":                    false,
		"a/b":                    false,
		"a%41":                   false,
		"a,b":                    false,
		strings.Repeat("h", 254): false,
		"h\x00":                  false,
		"h\u00f6st":              false,
	} {
		if err := CheckAuthority(authority); (err == nil) != ok {
			t.Errorf("CheckAuthority(%q) = %v, want ok %v", authority, err, ok)
		}
	}
}

func TestHeadBounds(t *testing.T) {
	many := make(Fields, MaxFields+1)
	for i := range many {
		many[i] = Field{"a", "b"}
	}
	for name, fields := range map[string]Fields{
		"too many": many,
		"too long": {{"a", strings.Repeat("x", MaxHeadBytes)}},
	} {
		h := RequestHead{Method: "GET", Authority: "h", Path: "/", Fields: fields}
		if err := h.Check(); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: Check() = %v, want ErrTooLarge", name, err)
		}
	}
}

func TestStripIncoming(t *testing.T) {
	f := Fields{
		{"accept", "*/*"},
		{"connection", "keep-alive, X-Mine, content-length"},
		{"x-mine", "1"},
		{"keep-alive", "5"},
		{"te", "trailers;q=1, trailers"},
		{"upgrade", "h2c"},
		{"proxy-authorization", "Bearer x"},
		{"proxy-connection", "close"},
		{"transfer-encoding", "chunked"},
		{"content-length", "3"},
		{"x-forwarded-client-cert", "By=me"},
		{"x_forwarded_client_cert", "By=me"},
		{"x-forwarded-for", "1.2.3.4"},
		{"sallyport-crossing", "forged"},
		{"Sallyport_Crossing"[:0] + "sallyport_crossing", "forged"},
		{"x-real-ip", "1.2.3.4"},
		{"authorization", "Bearer mine"},
		{"traceparent", "kept"},
	}
	want := Fields{
		{"accept", "*/*"},
		{"content-length", "3"},
		{"authorization", "Bearer mine"},
		{"traceparent", "kept"},
		{"te", "trailers"},
	}
	for range 2 {
		StripIncoming(&f)
		if diff := cmp.Diff(want, f); diff != "" {
			t.Fatalf("StripIncoming (-want +got):\n%s", diff)
		}
	}
}

func TestTraceparent(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for s, ok := range map[string]bool{
		"00-" + trace + "-" + span + "-01":                    true,
		"00-" + trace + "-" + span + "-ff":                    true,
		"cc-" + trace + "-" + span + "-01":                    true,
		"cc-" + trace + "-" + span + "-01-what-later-adds":    true,
		"cc-" + trace + "-" + span + "-01.x":                  false,
		"00-" + trace + "-" + span + "-01-x":                  false,
		"ff-" + trace + "-" + span + "-01":                    false,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":  false,
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01": false,
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":   false,
		"00-" + trace + "-" + span + "-0g":                    false,
		"00-" + trace + "-" + span + "-1":                     false,
		"00_" + trace + "_" + span + "_01":                    false,
		"":                                                    false,
	} {
		got, valid := ParseTraceparent(s)
		if valid != ok {
			t.Errorf("ParseTraceparent(%q) valid = %v, want %v", s, valid, ok)
		}
		if ok && (got.TraceID() != trace || got.SpanID() != span || !got.Sampled()) {
			t.Errorf("ParseTraceparent(%q) = %v", s, got)
		}
	}
	parent, _ := ParseTraceparent("00-" + trace + "-" + span + "-00")
	child := parent.Child()
	if child.TraceID() != trace || child.SpanID() == span || child.Sampled() {
		t.Errorf("child of %v = %v", parent, child)
	}
	fresh := NewTraceparent()
	if again, ok := ParseTraceparent(fresh.String()); !ok || again != fresh || !fresh.Sampled() || fresh == NewTraceparent() {
		t.Errorf("new %v is read as %v, %v", fresh, again, ok)
	}
}

func TestXFCC(t *testing.T) {
	const by, uri = "spiffe://azure.demo/sallyport/gateway/azure-1", "spiffe://onprem.demo/orchestrator"
	for _, c := range []struct{ by, svid, want string }{
		{by, "sha256:9d1c", "By=" + by + ";Hash=9d1c;URI=" + uri},
		{by, "", "By=" + by + ";URI=" + uri},
		{`a;b"c`, "", `By="a;b\"c";URI=` + uri},
	} {
		got := string(AppendXFCC([]byte("before "), c.by, uri, c.svid))
		if got != "before "+c.want {
			t.Errorf("XFCC = %q, want %q", got, c.want)
		}
		want := XFCCElement{"by": {c.by}, "uri": {uri}}
		if hash := strings.TrimPrefix(c.svid, "sha256:"); hash != "" {
			want["hash"] = []string{hash}
		}
		elements, err := ParseXFCC(c.want)
		if diff := cmp.Diff([]XFCCElement{want}, elements); err != nil || diff != "" {
			t.Errorf("ParseXFCC(%q): %v (-want +got):\n%s", got, err, diff)
		}
	}
}

func TestParseXFCC(t *testing.T) {
	for s, want := range map[string][]XFCCElement{
		`By=a;URI=b,By=c`:                       {{"by": {"a"}, "uri": {"b"}}, {"by": {"c"}}},
		`Subject="CN=x, O=\"y;z\"";URI=u;URI=v`: {{"subject": {`CN=x, O="y;z"`}, "uri": {"u", "v"}}},
		`DNS=`:                                  {{"dns": {""}}},
		`By`:                                    nil,
		`=a`:                                    nil,
		`By="a`:                                 nil,
		`By="a"b`:                               nil,
		`By=a;`:                                 nil,
		`By=a,`:                                 nil,
		`By=a"b`:                                nil,
		`"By"=a;URI=`:                           nil,
	} {
		got, err := ParseXFCC(s)
		if (err != nil) != (want == nil) {
			t.Errorf("ParseXFCC(%q) = %v", s, err)
		} else if diff := cmp.Diff(want, got); want != nil && diff != "" {
			t.Errorf("ParseXFCC(%q) (-want +got):\n%s", s, diff)
		}
	}
}

func TestProblem(t *testing.T) {
	const id = "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88"
	origin := &RequestHead{Method: "POST", Authority: "h", Path: "/"}
	proxied := &RequestHead{Method: "CONNECT", Authority: "h:1"}
	for _, tt := range []struct {
		name   string
		reason crossingv1.Reason
		head   *RequestHead
		status int
		ask    string
	}{
		{"no intent", crossingv1.Reason_NO_INTENT, origin, 403, ""},
		{"connect", crossingv1.Reason_NO_TRANSITION, proxied, 403, ""},
		{"no policy", crossingv1.Reason_NO_POLICY, origin, 403, ""},
		{"no identity", crossingv1.Reason_NO_IDENTITY, origin, 401, "www-authenticate"},
		{"no identity at a proxy", crossingv1.Reason_EXPIRED_IDENTITY, proxied, 407, "proxy-authenticate"},
		{"foreign", crossingv1.Reason_FOREIGN_IDENTITY, origin, 403, ""},
		{"malformed", crossingv1.Reason_MALFORMED, nil, 400, ""},
		{"too large", crossingv1.Reason_TOO_LARGE, nil, 431, ""},
		{"not recorded", crossingv1.Reason_NOT_RECORDED, origin, 503, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			head, body := Problem(id, tt.reason, "ml-platform", tt.head)
			var got problem
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("body %s: %v", body, err)
			}
			if tt.status == 407 && head.Fields[0].Value+", "+head.Fields[1].Value != `Bearer realm="sallyport", Basic realm="sallyport"` {
				t.Errorf("a proxy asks for %v", head.Fields[:2])
			}
			if head.Status != tt.status || got.Status != tt.status {
				t.Errorf("status %d, in the body %d, want %d", head.Status, got.Status, tt.status)
			}
			if got.Crossing != id || got.Instance != "urn:uuid:"+id || got.Owner != "ml-platform" || got.Reason != tt.reason.String() {
				t.Errorf("body = %s", body)
			}
			if head.Fields.Get(CrossingName) != id || head.Fields.Get("content-type") != "application/problem+json" {
				t.Errorf("fields = %v", head.Fields)
			}
			if tt.ask != "" && !head.Fields.Has(tt.ask) {
				t.Errorf("no %s in %v", tt.ask, head.Fields)
			}
			if err := head.Check(); err != nil {
				t.Errorf("head is not well formed: %v", err)
			}
		})
	}
}

func TestProblemForGRPC(t *testing.T) {
	call := &RequestHead{Method: "POST", Authority: "h", Path: "/s/m", Fields: Fields{{"content-type", "application/grpc+proto"}}}
	for reason, code := range map[crossingv1.Reason]string{
		crossingv1.Reason_NO_INTENT:    "7",
		crossingv1.Reason_NO_IDENTITY:  "16",
		crossingv1.Reason_UNREACHABLE:  "14",
		crossingv1.Reason_NOT_RECORDED: "14",
		crossingv1.Reason_MALFORMED:    "3",
		crossingv1.Reason_TOO_LARGE:    "8",
	} {
		head, body := Problem("ID", reason, "50 % \u00fcber", call)
		if head.Status != 200 || body != nil || head.Fields.Get("grpc-status") != code {
			t.Errorf("%v: %v, body %q, want grpc-status %s alone", reason, head, body, code)
		}
		message := head.Fields.Get("grpc-message")
		if !strings.Contains(message, "crossing ID, reason "+reason.String()+", owner 50 %25 %C3%BCber") {
			t.Errorf("grpc-message = %q", message)
		}
	}
}

func TestGatewaysOwn(t *testing.T) {
	for name, want := range map[string]bool{
		"sallyport-crossing": true, "sallyport_crossing": true, "sallyport-": true,
		"sallyport": false, "sallyports-x": false, "x-sallyport-crossing": false, "": false,
	} {
		if got := GatewaysOwn(name); got != want {
			t.Errorf("GatewaysOwn(%q) = %t, want %t", name, got, want)
		}
	}
}
