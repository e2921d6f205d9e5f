package artifact

import (
	"net/http"
	"strings"
)

// subresources are the parameters of a query that make another operation of a request,
// or name its object more closely (Amazon S3 API reference, "Actions"). A request with
// another one, such as acl, is none of those that are told here.
func subresources() []string {
	return []string{
		"uploads", "uploadId", "partNumber", "delete", "list-type", "versions", "location", "attributes", "versionId", "prefix",
	}
}

// bucket reads what is asked of an object store, in S3's path style: /BUCKET/KEY. A bucket
// in the name of the host makes that of another destination, which no policy has.
func bucket(r *request) Ask {
	q, ok := parameters(r.query, subresources(), dresses)
	if !ok {
		return Ask{}
	}
	name, key := r.segments[0], strings.Join(r.segments[1:], "/")
	has := func(parameter string) bool { _, there := q[parameter]; return there }
	switch {
	case name == "" && r.method == http.MethodGet && len(q) == 0:
		return Ask{Operation: List}
	case name == "":
		return Ask{}
	case key == "":
		return ofBucket(r, name, q, has)
	}
	a := ofObject(r, has)
	a.Name, a.Reference = name+"/"+key, q["versionId"]
	return a
}

// ofBucket reads what is asked of a bucket. Which objects a request deletes, its
// content tells.
func ofBucket(r *request, name string, q map[string]string, has func(string) bool) Ask {
	if has("uploadId") || has("partNumber") || has("versionId") || has("attributes") {
		return Ask{}
	}
	switch {
	case r.method == http.MethodPost && has("delete") && len(q) == 1:
		return Ask{Operation: Delete}
	case has("delete"):
		return Ask{}
	case r.method == http.MethodGet && has("location"):
		return Ask{Operation: Stat, Name: name}
	case r.method == http.MethodGet:
		if q["prefix"] != "" {
			name += "/" + q["prefix"]
		}
		return Ask{Operation: List, Name: name}
	case len(q) > 0:
		return Ask{}
	case r.method == http.MethodHead:
		return Ask{Operation: Stat, Name: name}
	case r.method == http.MethodDelete:
		return Ask{Operation: Delete, Name: name}
	}
	return Ask{}
}

func ofObject(r *request, has func(string) bool) Ask {
	upload, part := has("uploadId"), has("partNumber")
	if has("delete") || has("list-type") || has("versions") || has("location") || has("prefix") ||
		has("uploads") && (r.method != http.MethodPost || upload) || has("attributes") && (r.method != http.MethodGet || upload) {
		return Ask{}
	}
	switch r.method {
	case http.MethodGet:
		if upload || has("attributes") {
			return Ask{Operation: Stat}
		}
		return Ask{Operation: Pull}
	case http.MethodHead:
		return Ask{Operation: Stat}
	case http.MethodPut:
		if upload != part {
			return Ask{}
		}
		return put(r)
	case http.MethodPost:
		if has("uploads") == upload || part {
			return Ask{}
		}
		return Ask{Operation: Push}
	case http.MethodDelete:
		if upload {
			return Ask{Operation: Abort}
		}
		return Ask{Operation: Delete}
	}
	return Ask{}
}

// put is a PutObject, or an UploadPart, or either with the content of another object.
func put(r *request) Ask {
	const field = "x-amz-copy-source"
	if !r.fields.Has(field) {
		return Ask{Operation: Push}
	}
	value, ok := r.fields.Only(field)
	if !ok {
		return Ask{}
	}
	return Ask{Operation: Copy, Source: sourceOf(value)}
}

// sourceOf is the object that a copy is made of, BUCKET/KEY in URL encoding with a
// slash before it or none (Amazon S3 API reference, "CopyObject"). It is "" if it is
// named in another way.
func sourceOf(value string) string {
	path, _, _ := strings.Cut(value, "?") // its version
	segments, ok := segmentsOf("/" + strings.TrimPrefix(path, "/"))
	if !ok || len(segments) < 2 || segments[1] == "" || strings.Contains(segments[0], ":") {
		return ""
	}
	return strings.Join(segments, "/")
}

// dresses says that a parameter signs a request, or says how its answer is to be
// dressed, or where a list goes on.
func dresses(name string) bool {
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, "x-amz-") || strings.HasPrefix(lower, "response-") {
		return true
	}
	switch name {
	case "x-id", "AWSAccessKeyId", "Signature", "Expires", "delimiter", "marker", "max-keys", "continuation-token", "start-after",
		"encoding-type", "fetch-owner", "key-marker", "upload-id-marker", "version-id-marker", "max-uploads", "part-number-marker", "max-parts":
		return true
	}
	return false
}
