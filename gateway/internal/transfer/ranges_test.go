package transfer

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

func TestParseContentRange(t *testing.T) {
	for value, want := range map[string]contentRange{
		"bytes 0-499/1234":              {0, 499, 1234}, // RFC 9110 14.4
		"bytes 734-1233/1234":           {734, 1233, 1234},
		"bytes 42-1233/*":               {42, 1233, -1},
		"bytes */1234":                  {-1, -1, 1234},
		"BYTES 0-0/1":                   {0, 0, 1}, // unit names have no case (RFC 9110 14.1)
		"bytes 0-9223372036854775805/*": {0, math.MaxInt64 - 2, -1},
		"bytes 0-9223372036854775807/*": {},
		"bytes 0-499/499":               {},
		"bytes 5-4/10":                  {},
		"bytes */*":                     {},
		"bytes 0-4":                     {},
		"bytes=0-4/5":                   {},
		"bytes  0-4/5":                  {},
		"bytes 0-4/5 ":                  {},
		"bytes +0-4/5":                  {},
		"bytes -4/5":                    {},
		"items 0-4/5":                   {},
		"bytes 0-99999999999999999999999999999999/*": {},
		"": {},
	} {
		if got, ok := parseContentRange(value); ok != (want != contentRange{}) || ok && got != want {
			t.Errorf("parseContentRange(%q) = %v, %v, want %v", value, got, ok, want)
		}
	}
}

func TestParseRange(t *testing.T) {
	for value, want := range map[string]struct {
		r contentRange
		n int
	}{
		"bytes=0-499":            {contentRange{0, 499, -1}, 1}, // RFC 9110 14.1.2
		"bytes=-500":             {contentRange{-1, 500, -1}, 1},
		"bytes=9500-":            {contentRange{9500, -1, -1}, 1},
		"bytes=0-0,-1":           {contentRange{-1, 1, -1}, 2},
		"bytes= 0-999, 4500-":    {contentRange{4500, -1, -1}, 2},
		"bytes=500-600,601-999,": {contentRange{601, 999, -1}, 2},
		"Bytes=1-1":              {contentRange{1, 1, -1}, 1},
		"bytes=":                 {},
		"bytes=-":                {},
		"bytes=--1":              {},
		"bytes=2-1":              {},
		"bytes=0-1,x":            {},
		"bytes 0-1":              {},
		"items=0-1":              {},
		"":                       {},
	} {
		if r, n := parseRange(value); n != want.n || n > 0 && r != want.r {
			t.Errorf("parseRange(%q) = %v, %d, want %v", value, r, n, want)
		}
	}
}

const served = 1000 // bytes of the object that is served below

// serve asks net/http's server of content.
func serve(etag string, modified time.Time, nv ...string) *http.Response {
	w := httptest.NewRecorder()
	if etag != "" {
		w.Header()["Etag"] = []string{etag}
	}
	r := httptest.NewRequest(http.MethodGet, "/f", nil)
	for i := 0; i < len(nv); i += 2 {
		r.Header[nv[i]] = []string{nv[i+1]}
	}
	http.ServeContent(w, r, "f.bin", modified, strings.NewReader(strings.Repeat("x", served)))
	return w.Result()
}

// loose is what net/http takes in a range and RFC 9110 does not: signs and space in
// it, and any end of a range that begins beyond the object.
var loose = regexp.MustCompile(`[+ \t]|--|[0-9]{4,}-`)

// A range is read as net/http reads it, unless it is loose.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-499", "bytes=-500", "bytes=999-", "bytes=1000-", "bytes=0-0,-1", "bytes=,5-6", "bytes=0-1,1-900,5-999"} {
		f.Add(s)
	}
	for _, s := range []string{"bytes=-0,1000-0", "bytes=0--0", "bytes=0-+1", "bytes=0 - 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !l7.ValidValue(value) {
			return
		}
		r, n := parseRange(value)
		resp := serve("", time.Time{}, "Range", value)
		if n == 0 {
			if resp.StatusCode == http.StatusPartialContent && !loose.MatchString(value) {
				t.Fatalf("%q is malformed here, and served there as %q", value, resp.Header.Get("Content-Range"))
			}
			return
		}
		if !strings.HasPrefix(value, "bytes=") || n > 1 {
			return // net/http takes the unit in lower case alone, and may take several for one
		}
		want := contentRange{max(r.first, 0), min(ending(r.last), served-1), served}
		if r.first < 0 {
			want.first, want.last = max(served-r.last, 0), served-1
		}
		if r.first >= served || r.first < 0 && r.last == 0 {
			return // which net/http serves nothing or an empty range of
		}
		told := resp.Header.Get("Content-Range")
		if got, ok := parseContentRange(told); !ok || got != want {
			t.Fatalf("%q is %v here, and served there as %q (%d)", value, want, told, resp.StatusCode)
		}
	})
}

// ending is a last position, the last of all if it is open.
func ending(last int64) int64 {
	if last < 0 {
		return math.MaxInt64
	}
	return last
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-499/1234", "bytes 42-1233/*", "bytes */1234", "bytes 0-0/0", "Bytes 0-9/10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r, ok := parseContentRange(value)
		if !ok {
			return
		}
		size, span := "*", "*"
		if r.size >= 0 {
			size = fmt.Sprint(r.size)
		}
		if r.first >= 0 {
			span = fmt.Sprintf("%d-%d", r.first, r.last)
			if r.length() <= 0 || r.size >= 0 && r.last >= r.size {
				t.Fatalf("parseContentRange(%q) = %v", value, r)
			}
		}
		if again, ok := parseContentRange("bytes " + span + "/" + size); !ok || again != r {
			t.Fatalf("%q is %v, and written anew %v", value, r, again)
		}
	})
}

// A tag is strong here if net/http serves a range under it.
func FuzzStrongTag(f *testing.F) {
	for _, s := range []string{`"abc"`, `W/"abc"`, `""`, `"a b"`, `"a"b"`, `"`, "\"\xff\"", "\"\x7f\"", `abc`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		if !l7.ValidValue(tag) {
			return
		}
		resp := serve(tag, time.Time{}, "Range", "bytes=0-0", "If-Range", tag)
		want := tag != "" && resp.StatusCode == http.StatusPartialContent
		if got := strongTag(tag); got != want {
			t.Fatalf("strongTag(%q) = %v, and net/http says %v", tag, got, want)
		}
	})
}
