package transfer

import (
	"strings"
	"testing"
)

func TestObjectName(t *testing.T) {
	const azure = "sv=2024-11-04&st=2026-01-01&se=2026-01-02&sr=b&sp=r&sig=SECRET"
	for target, want := range map[string]string{ // "" where the query is unclear
		"/b/k":                       "/b/k",
		"/b/k?":                      "/b/k",
		"/b/k?versionId=v1":          "/b/k?versionId=v1",
		"/b/k?versionId=":            "",
		"/b/k?versionId=1&versionId": "",
		"/b/k?x-id=GetObject&versionId=v1&partNumber=4":                                                     "/b/k?versionId=v1",
		"/b/k?X-Amz-Algorithm=A&X-Amz-Credential=SECRET&X-Amz-Signature=SECRET&x-amz-security-token=SECRET": "/b/k",
		"/b/k?AWSAccessKeyId=SECRET&Expires=1&Signature=SECRET":                                             "/b/k",
		"/b/k?Expires=1": "", // which is no signature
		"/b/k?Policy=P&Signature=SECRET&Key-Pair-Id=SECRET&response-content-type=x": "/b/k",
		"/b/k?X-Goog-Signature=SECRET&generation=17&alt=media":                      "/b/k?generation=17&alt=media",
		"/c/b?" + azure:                           "/c/b",
		"/c/b?snapshot=2026&" + azure:             "/c/b?snapshot=2026",
		"/c/b?sp=r&st=x":                          "",
		"/org/model/resolve/main/f?download=true": "/org/model/resolve/main/f?download=true",
		"/b/k?token=SECRET":                       "",
		"/b/k?%76ersionId=v1":                     "",
		"/b/k?x-id=1;versionId=2":                 "",
		"/b/k?acl":                                "",
		"/b/k?partNumber=0":                       "",
		"/b/k?partNumber=1&partNumber=1":          "",
		"/b/k?partNumber=+1":                      "",
		"/b/k?list-type=2&prefix=secret-name":     "",
		"/b/k?digest=sha256:" + sum:               "", // of a registry alone
	} {
		o := objectOf("s3", target)
		got := o.String()
		if strings.Contains(got, "SECRET") {
			t.Errorf("objectOf(%q) repeats a secret: %q", target, got)
		}
		if o.unclear {
			got = ""
		}
		if got != want {
			t.Errorf("objectOf(%q) = %q, want %q", target, got, want)
		}
	}
}

func TestRegistryPath(t *testing.T) {
	for path, want := range map[string][2]string{
		"/v2/m/blobs/sha256:" + sum:                  {"sha256:" + sum, ""},
		"/v2/a/b/blobs/sha512:" + sum + sum:          {"sha512:" + sum + sum, ""},
		"/v2/a/b/manifests/sha256:" + sum:            {"sha256:" + sum, ""},
		"/v2/a/b/manifests/latest":                   {},
		"/v2/m/blobs/uploads/u-1":                    {"", "u-1"},
		"/v2/m/blobs/uploads/":                       {},
		"/v2/blobs/uploads/u-1":                      {}, // no name
		"/v2/m/blobs/uploads/m2/blobs/uploads/u-1":   {"", "u-1"},
		"/v2/m/blobs/sha256:" + strings.ToUpper(sum): {},
		"/v2/m/blobs/sha256:" + sum[1:]:              {},
		"/v2/m/blobs/md5:" + sum:                     {},
		"/v2/":                                       {},
		"/v1/m/blobs/sha256:" + sum:                  {},
	} {
		if digest, upload := registryPath(path); digest != want[0] || upload != want[1] {
			t.Errorf("registryPath(%q) = %q, %q, want %q", path, digest, upload, want)
		}
	}
}

// No query makes one object out of two, or repeats what is not a selector.
func FuzzObject(f *testing.F) {
	for _, q := range []string{"versionId=1", "X-Amz-Signature=s&partNumber=1", "sig=a&sv=b&st=c", "digest=sha256:" + sum, "a;b=c"} {
		f.Add("oci", "/b/k?"+q)
		f.Add("s3", "/b/k?"+q)
	}
	f.Fuzz(func(t *testing.T, protocol, target string) {
		o := objectOf(protocol, target)
		name := o.String()
		if path, _, _ := strings.Cut(target, "?"); o.path != path || !strings.HasPrefix(name, path) {
			t.Fatalf("objectOf(%q).path = %q", target, o.path)
		}
		if o.unclear {
			return
		}
		again := objectOf(protocol, name)
		if again.unclear || again.String() != name {
			t.Errorf("%q is the object %q, which is %q again", target, name, again.String())
		}
	})
}
