package hostile

import (
	"bufio"
	"crypto/tls"
	wire "encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/localmesh"
	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	"github.com/sallyport-mesh/sallyport/e2e/rawh2"
	"github.com/sallyport-mesh/sallyport/gateway/mux"
)

const (
	kindData     = 3
	kindTrailers = 4

	another = "By=spiffe://azure.demo/sallyport/gateway/azure-1;Hash=00;URI=spiffe://aws.demo/ai/retriever"
)

// forgedFields are those in which only gateways speak, in every way in which
// somebody might take them for theirs.
var forgedFields = []string{
	"x-forwarded-client-cert", another, "x-forwarded-client-cert", another, "X-Forwarded-Client-Cert", another,
	"X-FORWARDED-CLIENT-CERT", another, "x-fOrWaRdEd-cLiEnT-cErT", another, "x_forwarded_client_cert", another, "X_Forwarded-Client_Cert", another,
	"x-forwarded-for", "10.0.0.1", "X_FORWARDED_FOR", "10.0.0.1", "x-real-ip", "10.0.0.1", "X_Real_IP", "10.0.0.1",
	"sallyport-crossing", "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88", "SALLYPORT-CROSSING", "1", "Sallyport_Crossing", "1",
	"sallyport-anything", "1", "sallyport-anything", "2", "sAlLyPoRt-AnYtHiNg", "3", "sallyport_anything", "4",
	"sallyport-proof", "eyJhbGciOiJub25lIn0.e30.", "SALLYPORT-PROOF", "1", "sallyport_proof", "1",
	"traceparent", "00-00000000000000000000000000000000-0000000000000000-00",
}

// lowered is the list as HTTP/2 and tunnels have it.
func lowered(pairs []string) []string {
	all := append([]string(nil), pairs...)
	for i := 0; i < len(all); i += 2 {
		all[i] = strings.ToLower(all[i])
	}
	return all
}

// wantGatewaysOwn holds that whoever was sent a request or an answer has of the
// gateways' fields what the gateway has set, and no more.
func wantGatewaysOwn(t *testing.T, got http.Header, want map[string]string) {
	t.Helper()
	for name, values := range got {
		plain := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if !strings.HasPrefix(plain, "x-forwarded") && !strings.HasPrefix(plain, "sallyport") && plain != "x-real-ip" {
			continue
		}
		if value, ok := want[plain]; !ok || len(values) != 1 || values[0] != value || plain != strings.ToLower(name) {
			t.Errorf("%s: %q, want %q", name, values, want[plain])
		}
	}
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.Get(name), value)
		}
	}
}

// seen is a request at its destination.
type seen struct{ head, trailers http.Header }

// TestForgedFields sends fields that only gateways may, as a workload over HTTP/1.1
// and HTTP/2, and as a gateway that was stolen; and has a destination answer with
// such. Whoever receives them sees what its own gateway says, and nothing else.
func TestForgedFields(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, nil)
	arrived := make(chan seen, 1)
	m.ServeChat(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // the trailers come behind it
		arrived <- seen{r.Header.Clone(), r.Trailer.Clone()}
		for i := 0; i < len(forgedFields); i += 2 {
			w.Header()[forgedFields[i]] = []string{forgedFields[i+1]}
			w.Header()[http.TrailerPrefix+forgedFields[i]] = []string{forgedFields[i+1]}
		}
		io.WriteString(w, "{}")
	})
	source, err := m.Source(m.Context, "orchestrator")
	if err != nil {
		t.Fatal(err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	attach := func(t *testing.T, proto string) *tls.Conn {
		conn := meshtest.Intruder(1).Dial(t, m.Started(t, "onprem-1").GetAttach())
		return tls.Client(conn, certs.ClientTLS(source, certs.AuthorizeID(localmesh.GatewayID("onprem")), proto))
	}
	// wantAtDestination says what azure's gateway sets for the caller.
	wantAtDestination := func(t *testing.T, crossing, digest string) {
		got := <-arrived
		wantGatewaysOwn(t, got.head, map[string]string{
			"x-forwarded-client-cert": fmt.Sprintf("By=%s;Hash=%s;URI=%s", localmesh.GatewayID("azure"), strings.TrimPrefix(digest, "sha256:"), localmesh.ID("orchestrator")),
			"sallyport-crossing":      crossing,
		})
		wantGatewaysOwn(t, got.trailers, nil)
		if trace := got.head.Values("traceparent"); len(trace) != 1 || strings.HasPrefix(trace[0], "00-000000") {
			t.Errorf("traceparent: %q", trace)
		}
	}
	digest := certs.Fingerprint(svid.Certificates[0])
	t.Run("HTTP/1.1", func(t *testing.T) {
		conn := attach(t, "http/1.1")
		var fields strings.Builder
		for i := 0; i < len(forgedFields); i += 2 {
			fmt.Fprintf(&fields, "%s: %s\r\n", forgedFields[i], forgedFields[i+1])
		}
		if _, err := io.WriteString(conn, strings.ReplaceAll(postHead, authField, "")+"TE: trailers\r\nTransfer-Encoding: chunked\r\n"+
			fields.String()+"\r\n2\r\n{}\r\n0\r\n"+fields.String()+"\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body := meshtest.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", resp.StatusCode, body)
		}
		id := resp.Header.Get("sallyport-crossing")
		wantAtDestination(t, id, digest)
		wantAnswer(t, m, resp.Header, resp.Trailer, id)
	})
	t.Run("HTTP/2", func(t *testing.T) {
		c, err := rawh2.New(attach(t, "h2"))
		if err != nil {
			t.Fatal(err)
		}
		head := append([]string{":method", "POST", ":scheme", "https", ":authority", "llm.azure.mesh:8000", ":path", "/v1/chat/completions"}, lowered(forgedFields)...)
		for _, err := range []error{c.Headers(1, false, head...), c.Data(1, false, []byte("{}")), c.Headers(1, true, lowered(forgedFields)...)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		answers, end := c.Await(1)
		if answers[1] == nil || answers[1].Status != http.StatusOK {
			t.Fatalf("answer: %+v, %v", answers[1], end.Err)
		}
		id := answers[1].Header.Get("sallyport-crossing")
		wantAtDestination(t, id, digest)
		wantAnswer(t, m, asHeader(answers[1].Header), asHeader(answers[1].Trailer), id)
	})
	t.Run("HTTP/2, a name in capitals", func(t *testing.T) {
		c, err := rawh2.New(attach(t, "h2"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Headers(1, true, ":method", "POST", ":scheme", "https", ":authority", "llm.azure.mesh:8000", ":path", "/v1/chat/completions", "Sallyport-Crossing", "1"); err != nil {
			t.Fatal(err)
		}
		if answers, _ := c.Await(1); answers[1] != nil && answers[1].Status == http.StatusOK {
			t.Errorf("answer: %+v", answers[1])
		}
	})
	t.Run("a gateway that was stolen", func(t *testing.T) {
		h := goodHeader(m)
		h.Intent = "plan-with-the-llm"
		conn := meshtest.Admitted(t, m, 2)
		b, err := proto.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		data := headWithFields(http.MethodPost, "llm.azure.mesh:8000", "/v1/chat/completions", lowered(forgedFields))
		data = append(data, frameOf(kindData, []byte("{}"))...)
		data = append(data, frameOf(kindTrailers, appendFields(nil, lowered(forgedFields)))...)
		if _, err := conn.Write(mux.AppendData(mux.AppendOpen(nil, 1, b), 1, data, true)); err != nil {
			t.Fatal(err)
		}
		if kind, payload := answerOf(t, conn); kind != kindResponseHead || wire.BigEndian.Uint16(payload[1:]) != http.StatusOK {
			t.Fatalf("answered with kind %d, %x", kind, payload)
		}
		wantAtDestination(t, h.GetId(), h.GetSourceSvid())
	})
}

// wantAnswer holds that the caller is told of its own crossing, and of no other.
func wantAnswer(t *testing.T, m *meshtest.Mesh, head, trailers http.Header, id string) {
	t.Helper()
	for _, fields := range []http.Header{head, trailers} {
		for name, values := range fields {
			plain := strings.ReplaceAll(strings.ToLower(name), "_", "-")
			if strings.HasPrefix(plain, "sallyport") && (name != "Sallyport-Crossing" || len(values) != 1 || len(trailers.Values(name)) > 0) {
				t.Errorf("the caller is told %s: %q", name, values)
			}
		}
	}
	if r := m.Record(t, id); r.GetSource() != localmesh.ID("orchestrator").String() || !r.GetAgree() {
		t.Errorf("record: %v", r)
	}
}

func asHeader(fields rawh2.Fields) http.Header {
	h := http.Header{}
	for _, f := range fields {
		h.Add(f.Name, f.Value)
	}
	return h
}

// headWithFields is a request's head as gateways frame it, with content to come.
func headWithFields(method, authority, path string, fields []string) []byte {
	payload := []byte{0}
	for _, s := range [...]string{method, "", authority, path} {
		payload = append(wire.AppendUvarint(payload, uint64(len(s))), s...)
	}
	return frameOf(kindRequestHead, appendFields(payload, fields))
}

func appendFields(b []byte, pairs []string) []byte {
	b = wire.AppendUvarint(b, uint64(len(pairs)/2))
	for _, s := range pairs {
		b = append(wire.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

func frameOf(kind byte, payload []byte) []byte {
	return append([]byte{kind, byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload))}, payload...)
}
