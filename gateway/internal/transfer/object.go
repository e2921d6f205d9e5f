package transfer

import (
	"slices"
	"strconv"
	"strings"
)

// object is what a request's path and query name.
type object struct {
	path     string
	selected [len(selectors)]string
	upload   string // names an upload in several requests; its server may take it for a secret
	digest   string // ALGORITHM:HEX, of what a registry keeps by its content
	part     int
	oci      bool
	unclear  bool // the query has what is not understood
}

// selectors are the query parameters that are part of an object's name: they
// tell versions apart, or ask for content instead of what describes it, and are no
// secret. Nothing is repeated of any other.
var selectors = [...]string{"versionId", "versionid", "snapshot", "generation", "alt", "download"}

// presigned are the parameters by which a query is signed, by the parameter that
// shows that it is: names so short might mean something else elsewhere. They name no
// object, and are others with each attempt.
var presigned = map[string][]string{
	"Signature": {"Signature", "Expires", "AWSAccessKeyId", "GoogleAccessId", "Policy", "Key-Pair-Id"},
	"sig": { // a shared access signature of Azure
		"sv", "ss", "srt", "st", "se", "sr", "sp", "sip", "spr", "sig", "si", "sdd", "ses",
		"skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "rscc", "rscd", "rsce", "rscl", "rsct",
	},
}

func objectOf(protocol, target string) object {
	path, query, _ := strings.Cut(target, "?")
	o := object{path: path, oci: protocol == "oci"}
	if o.oci {
		o.digest, o.upload = registryPath(path)
	}
	// A semicolon parts parameters too, for some servers.
	o.unclear = strings.Contains(query, ";")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		o.unclear = o.unclear || pair != "" && !o.parameter(name, value) && !dressing(query, name)
	}
	o.unclear = o.unclear && o.upload == "" // an upload's name says it all
	return o
}

// parameter takes a parameter that says what is moved; false if it is another, or
// one that came before.
func (o *object) parameter(name, value string) bool {
	if i := slices.Index(selectors[:], name); i >= 0 {
		return set(&o.selected[i], value)
	}
	switch {
	case o.oci && name == "digest":
		value = strings.Replace(strings.Replace(value, "%3A", ":", 1), "%3a", ":", 1)
		return isDigest(value) && (o.digest == value || set(&o.digest, value))
	case name == "uploadId" || name == "upload_id": // S3's; Google's, by which whoever knows it may upload
		return set(&o.upload, value)
	case name == "partNumber":
		n, err := strconv.ParseUint(value, 10, 16)
		fresh := o.part == 0
		o.part = int(n)
		return err == nil && n > 0 && fresh
	}
	return false
}

// set keeps the first value that is not empty, and no other.
func set(to *string, value string) bool {
	if *to != "" || value == "" {
		return false
	}
	*to = value
	return true
}

// dressing says that a parameter signs the query, or says how the answer is to be
// dressed: it is not about which object.
func dressing(query, name string) bool {
	if prefixFold(name, "x-amz-") || prefixFold(name, "x-goog-") || strings.HasPrefix(name, "response-") || name == "x-id" {
		return true
	}
	for shows, names := range presigned {
		if slices.Contains(names, name) && strings.Contains("&"+query, "&"+shows+"=") {
			return true
		}
	}
	return false
}

func prefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// String is the object's name as it may be recorded.
func (o *object) String() string {
	name, sep := o.path, "?"
	for i, value := range o.selected {
		if value != "" {
			name += sep + selectors[i] + "=" + value
			sep = "&"
		}
	}
	return name
}

// registryPath takes apart /v2/NAME/blobs/DIGEST and /v2/NAME/manifests/DIGEST,
// and /v2/NAME/blobs/uploads/REFERENCE, whose last segment is the upload.
func registryPath(path string) (digest, upload string) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	i := strings.LastIndexByte(rest, '/')
	if !ok || i < 0 {
		return "", ""
	}
	kind, last := rest[:i], rest[i+1:]
	switch {
	case below(kind, "/blobs/uploads"):
		return "", last
	case (below(kind, "/blobs") || below(kind, "/manifests")) && isDigest(last):
		return last, ""
	}
	return "", ""
}

// below says that s is a repository's name and then the suffix.
func below(s, suffix string) bool { return len(s) > len(suffix) && strings.HasSuffix(s, suffix) }

// isDigest says that s is a digest in one of the two algorithms that the OCI
// image specification registers.
func isDigest(s string) bool {
	name, sum, _ := strings.Cut(s, ":")
	return name == "sha256" && isHex(sum, 64) || name == "sha512" && isHex(sum, 128)
}

// isHex says that s is n lower-case hex digits.
func isHex(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" }
