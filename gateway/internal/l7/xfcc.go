package l7

import (
	"errors"
	"fmt"
	"strings"
)

// XFCCName is the field in which a workload sees who called it, in Envoy's form.
const XFCCName = "x-forwarded-client-cert"

// AppendXFCC appends the value of x-forwarded-client-cert: exactly one element,
// written by the gateway named by, about the caller uri. svid is "sha256:" and the
// hex digest of the caller's certificate or token; "" leaves Hash out.
//
//	By=spiffe://azure.demo/sallyport/gateway/azure-1;Hash=9d1c…;URI=spiffe://onprem.demo/orchestrator
func AppendXFCC(b []byte, by, uri, svid string) []byte {
	b = appendXFCC(append(b, "By="...), by)
	if hash := strings.TrimPrefix(svid, "sha256:"); hash != "" {
		b = appendXFCC(append(b, ";Hash="...), hash)
	}
	return appendXFCC(append(b, ";URI="...), uri)
}

// appendXFCC quotes a value with a delimiter in it: Envoy quotes on , ; = and
// escapes the quote alone.
func appendXFCC(b []byte, s string) []byte {
	if !strings.ContainsAny(s, `,;="`) {
		return append(b, s...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(s, `"`, `\"`)...)
	return append(b, '"')
}

// XFCCElement is one hop of a x-forwarded-client-cert field, by lower-case
// key. A key may be repeated.
type XFCCElement map[string][]string

// ParseXFCC reads a x-forwarded-client-cert field: elements divided by commas,
// pairs by semicolons, values quoted where they hold either.
func ParseXFCC(s string) ([]XFCCElement, error) {
	elements := []XFCCElement{{}}
	for s != "" {
		key, rest, found := strings.Cut(s, "=")
		if !found || key == "" || strings.ContainsAny(key, `,;"`) {
			return nil, fmt.Errorf("xfcc: %.40q is not a pair", s)
		}
		value, rest, err := cutXFCC(rest)
		if err != nil {
			return nil, err
		}
		last := elements[len(elements)-1]
		last[strings.ToLower(key)] = append(last[strings.ToLower(key)], value)
		if rest == "," || rest == ";" {
			return nil, fmt.Errorf("xfcc: nothing after %q", rest)
		}
		if strings.HasPrefix(rest, ",") {
			elements = append(elements, XFCCElement{})
		}
		if rest != "" {
			rest = rest[1:]
		}
		s = rest
	}
	return elements, nil
}

// cutXFCC takes a value off s; rest begins with the delimiter after it.
func cutXFCC(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, `,;`)
		if end < 0 {
			end = len(s)
		}
		if strings.ContainsAny(s[:end], `"`) {
			return "", "", errors.New("xfcc: quote inside a value")
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '"':
			b.WriteByte('"')
			i++
		case s[i] == '"':
			if rest = s[i+1:]; rest != "" && rest[0] != ',' && rest[0] != ';' {
				return "", "", errors.New("xfcc: text after a closing quote")
			}
			return b.String(), rest, nil
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", errors.New("xfcc: unclosed quote")
}
