package l7

import "strings"

// StripIncoming removes from what came in every field that ends at this
// gateway: those of the connection (RFC 9110 7.6.1), and those in which a
// gateway tells a workload who calls and how, which nobody else may say:
// x-forwarded-*, x-real-ip and sallyport-*. "te: trailers" stays, for gRPC.
// Done twice it removes no more.
func StripIncoming(f *Fields) {
	trailers := false
	for i := range *f {
		trailers = trailers || (*f)[i].Name == "te" && hasToken((*f)[i].Value, "trailers")
	}
	StripConnection(f)
	f.DelFunc(gatewayOnly)
	if trailers {
		*f = append(*f, Field{"te", "trailers"})
	}
}

// StripConnection removes the fields of one connection, te among them, from a
// head or trailers of either direction.
func StripConnection(f *Fields) {
	var named []string
	for i := range *f {
		if (*f)[i].Name == "connection" {
			for token := range strings.SplitSeq((*f)[i].Value, ",") {
				named = append(named, strings.ToLower(strings.Trim(token, " \t")))
			}
		}
	}
	f.DelFunc(func(name string) bool { return HopByHop(name) || nominated(named, name) })
}

// HopByHop names the fields of one connection, whatever Connection says.
func HopByHop(name string) bool {
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "te",
		"proxy-authorization", "http2-settings":
		return true
	}
	return false
}

// nominated says that Connection names the field. It cannot name the length of
// the content away, which would change how the body is read behind us.
func nominated(named []string, name string) bool {
	for _, n := range named {
		if n == name && name != "content-length" {
			return true
		}
	}
	return false
}

// gatewayOnly takes an underscore for a dash: CGI and WSGI servers do so too.
func gatewayOnly(name string) bool {
	name = strings.ReplaceAll(name, "_", "-")
	return strings.HasPrefix(name, "x-forwarded-") || strings.HasPrefix(name, "sallyport-") || name == "x-real-ip"
}

func hasToken(list, token string) bool {
	for t := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(t, " \t"), token) {
			return true
		}
	}
	return false
}
