package artifact

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// head is that of a request: METHOD TARGET, and fields as names and values in turn.
func head(line string, nv ...string) *l7.RequestHead {
	method, target, _ := strings.Cut(line, " ")
	h := &l7.RequestHead{Method: method, Path: target}
	for i := 0; i < len(nv); i += 2 {
		h.Fields = append(h.Fields, l7.Field{Name: nv[i], Value: nv[i+1]})
	}
	return h
}

type table map[string]struct {
	head *l7.RequestHead
	want Ask
}

func (tests table) run(t *testing.T, protocol string) {
	t.Helper()
	for name, c := range tests {
		if d := cmp.Diff(c.want, Of(protocol, c.head)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

func TestRegistry(t *testing.T) {
	table{
		"ping":                    {head("GET /v2/"), Ask{Operation: Ping}},
		"pull of a manifest":      {head("GET /v2/llm/manifests/v1"), Ask{Operation: Pull, Name: "llm", Reference: "v1"}},
		"by digest":               {head("HEAD /v2/org/llm/manifests/" + digest), Ask{Operation: Stat, Name: "org/llm", Reference: digest}},
		"pull of a blob":          {head("GET /v2/org/llm/blobs/" + digest), Ask{Operation: Pull, Name: "org/llm", Reference: digest}},
		"delete of a blob":        {head("DELETE /v2/llm/blobs/" + digest), Ask{Operation: Delete, Name: "llm", Reference: digest}},
		"a session begins":        {head("POST /v2/llm/blobs/uploads/"), Ask{Operation: Push, Name: "llm"}},
		"a blob at once":          {head("POST /v2/llm/blobs/uploads/?digest=" + digest), Ask{Operation: Push, Name: "llm", Reference: digest}},
		"a chunk":                 {head("PATCH /v2/llm/blobs/uploads/u-1?_state=x"), Ask{Operation: Push, Name: "llm"}},
		"the last chunk":          {head("PUT /v2/llm/blobs/uploads/u-1?digest=sha256%3Aab"), Ask{Operation: Push, Name: "llm", Reference: "sha256:ab"}},
		"how far":                 {head("GET /v2/llm/blobs/uploads/u-1"), Ask{Operation: Stat, Name: "llm"}},
		"given up":                {head("DELETE /v2/llm/blobs/uploads/u-1"), Ask{Operation: Abort, Name: "llm"}},
		"mount":                   {head("POST /v2/llm/blobs/uploads/?mount=" + digest + "&from=org/secret"), Ask{Operation: Mount, Name: "llm", Reference: digest, Source: "org/secret"}},
		"mount from anywhere":     {head("POST /v2/llm/blobs/uploads/?mount=" + digest), Ask{Operation: Mount, Name: "llm", Reference: digest}},
		"two mounts":              {head("POST /v2/llm/blobs/uploads/?mount=" + digest + "&mount=" + digest), Ask{}},
		"two sources":             {head("POST /v2/llm/blobs/uploads/?mount=" + digest + "&from=a&from=b"), Ask{}},
		"a source in other case":  {head("POST /v2/llm/blobs/uploads/?mount=" + digest + "&From=a"), Ask{}},
		"a source without mount":  {head("POST /v2/llm/blobs/uploads/?from=a"), Ask{}},
		"an odd source":           {head("POST /v2/llm/blobs/uploads/?mount=" + digest + "&from=../a"), Ask{}},
		"mount, or a blob":        {head("POST /v2/llm/blobs/uploads/?mount=" + digest + "&digest=" + digest), Ask{}},
		"a semicolon":             {head("POST /v2/llm/blobs/uploads/?mount=" + digest + ";from=a"), Ask{}},
		"push of a manifest":      {head("PUT /v2/llm/manifests/v1", "content-type", "application/vnd.oci.image.manifest.v1+json"), Ask{Operation: Push, Name: "llm", Reference: "v1"}},
		"push of a model":         {head("PUT /v2/llm/manifests/v1", "content-type", "application/vnd.cncf.model.manifest.v1+json"), Ask{Operation: Push, Name: "llm", Reference: "v1"}},
		"tags":                    {head("GET /v2/org/llm/tags/list?n=9"), Ask{Operation: List, Name: "org/llm"}},
		"referrers":               {head("GET /v2/llm/referrers/" + digest), Ask{Operation: List, Name: "llm", Reference: digest}},
		"a name in two ways":      {head("GET /v2/a/manifests/b/manifests/c"), Ask{}},
		"a name in upper case":    {head("GET /v2/LLM/manifests/v1"), Ask{}},
		"a tag that is none":      {head("GET /v2/llm/manifests/.v1"), Ask{}},
		"an escaped slash":        {head("GET /v2/org%2Fllm/manifests/v1"), Ask{}},
		"an escaped escape":       {head("GET /v2/org%252Fllm/manifests/v1"), Ask{}},
		"dots":                    {head("GET /v2/org/../llm/manifests/v1"), Ask{}},
		"escaped dots":            {head("GET /v2/org/%2e%2e/manifests/v1"), Ask{}},
		"an empty segment":        {head("GET /v2/org//manifests/v1"), Ask{}},
		"another method":          {head("POST /v2/llm/manifests/v1"), Ask{}},
		"another path":            {head("GET /v3/llm/manifests/v1"), Ask{}},
		"no path":                 {head("OPTIONS *"), Ask{}},
		"no repository":           {head("GET /v2/manifests/v1"), Ask{}},
		"an upload of no session": {head("PATCH /v2/llm/blobs/uploads/"), Ask{}},
	}.run(t, "oci")
}

func TestBucket(t *testing.T) {
	table{
		"pull":                 {head("GET /b/dir/k"), Ask{Operation: Pull, Name: "b/dir/k"}},
		"pull of a version":    {head("GET /b/k?versionId=v1"), Ask{Operation: Pull, Name: "b/k", Reference: "v1"}},
		"presigned":            {head("GET /b/k?X-Amz-Signature=s&X-Amz-Date=d&x-id=GetObject"), Ask{Operation: Pull, Name: "b/k"}},
		"stat":                 {head("HEAD /b/k"), Ask{Operation: Stat, Name: "b/k"}},
		"attributes":           {head("GET /b/k?attributes"), Ask{Operation: Stat, Name: "b/k"}},
		"push":                 {head("PUT /b/k"), Ask{Operation: Push, Name: "b/k"}},
		"an escaped key":       {head("PUT /b/a%20b"), Ask{Operation: Push, Name: "b/a b"}},
		"an upload begins":     {head("POST /b/k?uploads="), Ask{Operation: Push, Name: "b/k"}},
		"a part":               {head("PUT /b/k?partNumber=1&uploadId=u"), Ask{Operation: Push, Name: "b/k"}},
		"an upload completes":  {head("POST /b/k?uploadId=u"), Ask{Operation: Push, Name: "b/k"}},
		"given up":             {head("DELETE /b/k?uploadId=u"), Ask{Operation: Abort, Name: "b/k"}},
		"parts":                {head("GET /b/k?uploadId=u&max-parts=2"), Ask{Operation: Stat, Name: "b/k"}},
		"copy":                 {head("PUT /b/k", "x-amz-copy-source", "/other/a%20b?versionId=v"), Ask{Operation: Copy, Name: "b/k", Source: "other/a b"}},
		"copy of a part":       {head("PUT /b/k?partNumber=1&uploadId=u", "x-amz-copy-source", "other/k"), Ask{Operation: Copy, Name: "b/k", Source: "other/k"}},
		"copy by access point": {head("PUT /b/k", "x-amz-copy-source", "arn:aws:s3:eu-west-1:1:accesspoint/p/object/k"), Ask{Operation: Copy, Name: "b/k"}},
		"copy up the tree":     {head("PUT /b/k", "x-amz-copy-source", "other/../k"), Ask{Operation: Copy, Name: "b/k"}},
		"two sources":          {head("PUT /b/k", "x-amz-copy-source", "a/k", "x-amz-copy-source", "b/k"), Ask{}},
		"delete":               {head("DELETE /b/k?versionId=v"), Ask{Operation: Delete, Name: "b/k", Reference: "v"}},
		"delete of several":    {head("POST /b?delete"), Ask{Operation: Delete}},
		"list":                 {head("GET /b?list-type=2&prefix=dir%2F&max-keys=9"), Ask{Operation: List, Name: "b/dir/"}},
		"list of all":          {head("GET /b/"), Ask{Operation: List, Name: "b"}},
		"uploads":              {head("GET /b?uploads"), Ask{Operation: List, Name: "b"}},
		"buckets":              {head("GET /"), Ask{Operation: List}},
		"location":             {head("GET /b?location"), Ask{Operation: Stat, Name: "b"}},
		"a bucket's stat":      {head("HEAD /b"), Ask{Operation: Stat, Name: "b"}},
		"a new bucket":         {head("PUT /b"), Ask{}},
		"two uploads":          {head("PUT /b/k?partNumber=1&uploadId=u&uploadId=v"), Ask{}},
		"two spellings":        {head("PUT /b/k?partNumber=1&uploadId=u&uploadid=v"), Ask{}},
		"an escaped parameter": {head("PUT /b/k?partNumber=1&upload%49d=u"), Ask{Operation: Push, Name: "b/k"}},
		"a part of no upload":  {head("PUT /b/k?partNumber=1"), Ask{}},
		"access control":       {head("PUT /b/k?acl"), Ask{}},
		"a semicolon":          {head("GET /b/k?versionId=1;acl"), Ask{}},
		"a bad escape":         {head("GET /b/k?versionId=%"), Ask{}},
		"a plus":               {head("GET /b/a+b"), Ask{}},
		"an escaped plus":      {head("GET /b/a%2Bb"), Ask{Operation: Pull, Name: "b/a+b"}},
		"an escaped escape":    {head("GET /b/a%252Fb"), Ask{}},
		"dots":                 {head("GET /b/../c/k"), Ask{}},
		"a key with a newline": {head("GET /b/a%0Ab"), Ask{}},
		"a key that is long":   {head("GET /b/" + strings.Repeat("k", 300)), Ask{}},
	}.run(t, "s3")
}

func TestHub(t *testing.T) {
	table{
		"a file of a model":      {head("GET /org/llm/resolve/main/model.safetensors"), Ask{Operation: Pull, Name: "org/llm", Reference: "main", Kind: Model}},
		"its head":               {head("HEAD /org/llm/resolve/main/a/b.json?download=true"), Ask{Operation: Stat, Name: "org/llm", Reference: "main", Kind: Model}},
		"without organization":   {head("GET /gpt2/resolve/main/config.json"), Ask{Operation: Pull, Name: "gpt2", Reference: "main", Kind: Model}},
		"a file of a dataset":    {head("GET /datasets/org/d/resolve/v1/train.parquet"), Ask{Operation: Pull, Name: "org/d", Reference: "v1", Kind: Dataset}},
		"a raw file":             {head("GET /spaces/org/s/raw/main/app.py"), Ask{Operation: Pull, Name: "org/s", Reference: "main", Kind: Space}},
		"models":                 {head("GET /api/models?search=x"), Ask{Operation: List, Kind: Model}},
		"a model":                {head("GET /api/models/org/llm"), Ask{Operation: Stat, Name: "org/llm", Kind: Model}},
		"a revision":             {head("GET /api/models/org/llm/revision/main"), Ask{Operation: Stat, Name: "org/llm", Reference: "main", Kind: Model}},
		"a tree":                 {head("GET /api/datasets/org/d/tree/main/dir"), Ask{Operation: List, Name: "org/d", Reference: "main", Kind: Dataset}},
		"a commit":               {head("POST /api/datasets/org/d/commit/main"), Ask{Operation: Push, Name: "org/d", Reference: "main", Kind: Dataset}},
		"before an upload":       {head("POST /api/models/org/llm/preupload/main"), Ask{Operation: Push, Name: "org/llm", Reference: "main", Kind: Model}},
		"a token to read by":     {head("GET /api/models/org/llm/xet-read-token/main"), Ask{Operation: Pull, Name: "org/llm", Reference: "main", Kind: Model}},
		"a token to write by":    {head("GET /api/models/org/llm/xet-write-token/main"), Ask{Operation: Push, Name: "org/llm", Reference: "main", Kind: Model}},
		"a model or a place":     {head("GET /api/models/gpt2/refs"), Ask{}},
		"two revisions":          {head("GET /org/resolve/resolve/main/f"), Ask{}},
		"an escaped revision":    {head("GET /org/llm/resolve/refs%2Fpr%2F1/f"), Ask{}},
		"no file":                {head("GET /org/llm/resolve/main/"), Ask{}},
		"a kernel":               {head("GET /kernels/k/resolve/main/f"), Ask{}},
		"a bucket":               {head("GET /buckets/b/resolve/f/g"), Ask{}},
		"a token of no revision": {head("GET /api/models/org/llm/xet-read-token"), Ask{Operation: Pull, Name: "org/llm", Kind: Model}},
		"LFS files that go":      {head("POST /api/models/org/llm/lfs-files/batch"), Ask{}},
		"a prefix that is none":  {head("GET /models/org/llm/resolve/main/f"), Ask{}},
		"another method":         {head("PUT /org/llm/resolve/main/f"), Ask{}},
		"LFS, by the content":    {head("POST /org/llm.git/info/lfs/objects/batch"), Ask{}},
		"something else":         {head("GET /api/whoami-v2"), Ask{}},
	}.run(t, "hub")
}

// TestOthers: what keeps no artifacts costs nothing.
func TestOthers(t *testing.T) {
	h := head("GET /v2/llm/manifests/v1")
	if n := testing.AllocsPerRun(100, func() {
		if a := Of("http", h); a != (Ask{}) {
			t.Errorf("http asks for %v", a)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestDescribe: of what is not known, nothing is said.
func TestDescribe(t *testing.T) {
	var to policy.Attributes
	a := Ask{Operation: Delete, Source: "s"}
	a.Describe(&to)
	for at, want := range map[policy.Attribute]string{
		policy.ArtifactOperation: Delete, policy.ArtifactSource: "s", policy.ArtifactName: "", policy.ArtifactKind: "",
	} {
		if got, known := to.Get(at); got != want || known != (want != "") {
			t.Errorf("%s is %q, %t", at, got, known)
		}
	}
}

// FuzzOf: what is told is told of one object in plain words, and of no more when the
// same is asked again with a parameter of the same name.
func FuzzOf(f *testing.F) {
	f.Add("oci", "POST", "/v2/org/llm/blobs/uploads/?mount="+digest+"&from=a/b", "")
	f.Add("oci", "PUT", "/v2/org/llm/manifests/v1", "application/vnd.cncf.model.manifest.v1+json")
	f.Add("s3", "PUT", "/b/k?partNumber=1&uploadId=u", "other/k")
	f.Add("s3", "GET", "/b?list-type=2&prefix=a", "")
	f.Add("hub", "GET", "/datasets/org/d/resolve/main/f", "")
	f.Add("hub", "POST", "/api/models/org/m/commit/main", "")
	f.Fuzz(func(t *testing.T, protocol, method, target, field string) {
		h := head(method+" "+target, "content-type", field, "x-amz-copy-source", field)
		h.Method, h.Path = method, target
		a := Of(protocol, h)
		if a.Operation == "" {
			if a != (Ask{}) {
				t.Fatalf("of no operation, and yet %+v", a)
			}
			return
		}
		for segment := range strings.SplitSeq(a.Source, "/") {
			if segment == ".." || segment == "." {
				t.Fatalf("%s names %+v", target, a)
			}
		}
		if strings.Contains(target, "?") {
			for _, name := range []string{"from", "uploadId", "versionId"} {
				h.Path = target + "&" + name + "=1&" + name + "=2"
				if b := Of(protocol, h); b.Source != a.Source && b.Source != "" {
					t.Fatalf("%s names %+v", h.Path, b)
				}
			}
		}
	})
}
