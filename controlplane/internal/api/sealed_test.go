package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/sealed"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	logv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/log/v1"
)

const sealedID = "01a207e6-e4d8-7d3e-9a54-000000000001"

// sealing is a mesh that keeps sealed contents, and logs.
func sealing(t *testing.T) (*mesh, *brokenLogs) {
	t.Helper()
	kept, err := sealed.Open(t.TempDir(), 4096)
	if err != nil {
		t.Fatal(err)
	}
	logs := &brokenLogs{whole: true, taken: map[string][]*logv1.Entry{}}
	return published(t, func(c *Config) { c.Sealed, c.Logs = kept, logs }), logs
}

func sealedPart(part controlv1.SealedPart_Part, content string) *controlv1.SealedPart {
	sum := sha256.Sum256([]byte(content))
	return &controlv1.SealedPart{
		Crossing: sealedID, Gateway: onprem1, Side: crossingv1.Side_EGRESS, Part: part, Intent: "plan", Reviewer: "dpo", Key: "age1",
		Created: timestamppb.New(time.Now().Truncate(time.Millisecond)), RetentionDays: 7, Bytes: uint64(len(content)), Sha256: hex.EncodeToString(sum[:]),
	}
}

// upload uploads messages as a caller.
func upload(t *testing.T, as grpc.ClientConnInterface, messages ...*controlv1.UploadSealedRequest) error {
	t.Helper()
	stream, err := controlv1.NewSealedServiceClient(as).UploadSealed(t.Context())
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := stream.Send(m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

func uploaded(t *testing.T, m *mesh, part *controlv1.SealedPart, content string) {
	t.Helper()
	half := len(content) / 2
	if err := upload(t, m.gateway(), &controlv1.UploadSealedRequest{Part: part},
		&controlv1.UploadSealedRequest{Data: []byte(content[:half])}, &controlv1.UploadSealedRequest{Data: []byte(content[half:])}); err != nil {
		t.Fatal(err)
	}
}

// open is what a caller is given, part by part.
func open(t *testing.T, as grpc.ClientConnInterface, req *controlv1.OpenSealedRequest) (parts []*controlv1.SealedPart, contents []string, err error) {
	t.Helper()
	stream, err := controlv1.NewSealedServiceClient(as).OpenSealed(t.Context(), req)
	if err != nil {
		return nil, nil, err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return parts, contents, nil
		}
		if err != nil {
			return parts, contents, err
		}
		if r.GetPart() != nil {
			parts, contents = append(parts, r.GetPart()), append(contents, "")
		}
		if len(r.GetData()) > 0 {
			contents[len(contents)-1] += string(r.GetData())
		}
	}
}

// given are the acts of giving that a log has.
func (b *brokenLogs) given(td string) (all []*logv1.Act) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.taken[td] {
		if e.GetAct().GetOpened() != nil {
			all = append(all, e.GetAct())
		}
	}
	return all
}

// TestSealedContents: what a gateway uploaded an operator is given, and the log of the
// gateway's environment has it.
func TestSealedContents(t *testing.T) {
	m, logs := sealing(t)
	request, answer := sealedPart(controlv1.SealedPart_REQUEST, "sealed request"), sealedPart(controlv1.SealedPart_ANSWER, "sealed answer")
	uploaded(t, m, request, "sealed request")
	uploaded(t, m, request, "sealed request") // again
	uploaded(t, m, answer, "sealed answer")
	listed, err := controlv1.NewSealedServiceClient(m.operator()).ListSealed(t.Context(), &controlv1.ListSealedRequest{Crossing: sealedID})
	if err != nil || len(listed.GetParts()) != 2 {
		t.Fatalf("ListSealed() = %v, %v", listed, err)
	}
	if n := len(logs.given("onprem.demo")); n != 0 {
		t.Errorf("to list is entered as to be given: %d entries", n)
	}
	parts, contents, err := open(t, m.operator(), &controlv1.OpenSealedRequest{Crossing: sealedID, Part: controlv1.SealedPart_REQUEST})
	if err != nil || len(parts) != 1 || !proto.Equal(parts[0], request) || contents[0] != "sealed request" {
		t.Errorf("OpenSealed() = %v, %q, %v", parts, contents, err)
	}
	want := &logv1.Opened{Crossing: sealedID, Gateway: onprem1, Part: "request", Intent: "plan", Reviewer: "dpo", Sha256: request.GetSha256()}
	acts := logs.given("onprem.demo")
	if len(acts) == 1 && time.Since(acts[0].GetOpened().GetGiven().AsTime()) < time.Minute {
		want.Given = acts[0].GetOpened().GetGiven()
	}
	if len(acts) != 1 || !proto.Equal(acts[0].GetOpened(), want) || !strings.HasSuffix(acts[0].GetBy(), operatorPath) {
		t.Errorf("the log has %v", acts)
	}
	if _, contents, err := open(t, m.operator(), &controlv1.OpenSealedRequest{Crossing: sealedID}); err != nil || len(contents) != 2 {
		t.Errorf("both: %q, %v", contents, err)
	}
	if n := len(logs.given("onprem.demo")); n != 3 || len(logs.given("azure.demo")) != 0 {
		t.Errorf("the log has %d acts", n)
	}
}

// TestNotEnteredNotGiven: without an entry no byte is given.
func TestNotEnteredNotGiven(t *testing.T) {
	m, logs := sealing(t)
	uploaded(t, m, sealedPart(controlv1.SealedPart_REQUEST, "sealed request"), "sealed request")
	logs.mu.Lock()
	logs.whole = false
	logs.mu.Unlock()
	parts, contents, err := open(t, m.operator(), &controlv1.OpenSealedRequest{Crossing: sealedID})
	wantCode(t, "a log that takes nothing", err, codes.Unavailable)
	if len(parts)+len(contents) > 0 || strings.Contains(err.Error(), errBroken.Error()) {
		t.Errorf("given %v, %q, %v", parts, contents, err)
	}
	dir := t.TempDir()
	kept, err := sealed.Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	m = published(t, func(c *Config) { c.Sealed = kept })
	uploaded(t, m, sealedPart(controlv1.SealedPart_REQUEST, "sealed request"), "sealed request")
	_, contents, err = open(t, m.operator(), &controlv1.OpenSealedRequest{Crossing: sealedID})
	wantCode(t, "without a log", err, codes.FailedPrecondition)
	if len(contents) > 0 {
		t.Errorf("given %q", contents)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, _, err = open(t, m.operator(), &controlv1.OpenSealedRequest{Crossing: sealedID})
	wantCode(t, "a part that is gone", err, codes.NotFound)
}

func TestRefusedUploads(t *testing.T) {
	m, _ := sealing(t)
	good, data := sealedPart(controlv1.SealedPart_REQUEST, "x"), &controlv1.UploadSealedRequest{Data: []byte("x")}
	first := &controlv1.UploadSealedRequest{Part: good}
	of := func(change func(*controlv1.SealedPart)) *controlv1.UploadSealedRequest {
		p := proto.CloneOf(good)
		change(p)
		return &controlv1.UploadSealedRequest{Part: p}
	}
	gateway := m.gateway()
	for name, c := range map[string]struct {
		as       grpc.ClientConnInterface
		messages []*controlv1.UploadSealedRequest
		want     codes.Code
	}{
		"nothing":         {gateway, nil, codes.InvalidArgument},
		"no part":         {gateway, []*controlv1.UploadSealedRequest{data}, codes.InvalidArgument},
		"another's":       {gateway, []*controlv1.UploadSealedRequest{of(func(p *controlv1.SealedPart) { p.Gateway = azure1 }), data}, codes.InvalidArgument},
		"a path":          {gateway, []*controlv1.UploadSealedRequest{of(func(p *controlv1.SealedPart) { p.Crossing = "../../../x" }), data}, codes.InvalidArgument},
		"other bytes":     {gateway, []*controlv1.UploadSealedRequest{first, {Data: []byte("y")}}, codes.InvalidArgument},
		"a part within":   {gateway, []*controlv1.UploadSealedRequest{first, first, data}, codes.InvalidArgument},
		"bytes too early": {gateway, []*controlv1.UploadSealedRequest{{Part: good, Data: []byte("x")}}, codes.InvalidArgument},
		"no room":         {gateway, []*controlv1.UploadSealedRequest{of(func(p *controlv1.SealedPart) { p.Bytes = 5000 }), data}, codes.ResourceExhausted},
		"of an operator":  {m.operator(), []*controlv1.UploadSealedRequest{first, data}, codes.PermissionDenied},
		"of a workload":   {m.as("onprem.demo", workloadPath), []*controlv1.UploadSealedRequest{first, data}, codes.PermissionDenied},
		"of a stranger":   {m.as("stranger.demo", gatewayPath1), []*controlv1.UploadSealedRequest{first, data}, codes.PermissionDenied},
	} {
		wantCode(t, name, upload(t, c.as, c.messages...), c.want)
	}
	uploaded(t, m, good, "x")
	other := sealedPart(controlv1.SealedPart_REQUEST, "y")
	other.Created = good.GetCreated()
	wantCode(t, "another of that name", upload(t, gateway, &controlv1.UploadSealedRequest{Part: other}, &controlv1.UploadSealedRequest{Data: []byte("y")}), codes.AlreadyExists)
	for _, as := range []grpc.ClientConnInterface{gateway, m.as("onprem.demo", workloadPath)} {
		_, err := controlv1.NewSealedServiceClient(as).ListSealed(t.Context(), &controlv1.ListSealedRequest{})
		wantCode(t, "ListSealed()", err, codes.PermissionDenied)
		_, _, err = open(t, as, &controlv1.OpenSealedRequest{Crossing: sealedID})
		wantCode(t, "OpenSealed()", err, codes.PermissionDenied)
	}
	for id, want := range map[string]codes.Code{"": codes.InvalidArgument, "*": codes.InvalidArgument, "01a207e6-e4d8-7d3e-9a54-000000000009": codes.NotFound} {
		_, _, err := open(t, m.operator(), &controlv1.OpenSealedRequest{Crossing: id})
		wantCode(t, "OpenSealed("+id+")", err, want)
	}
	none := published(t, nil)
	_, err := controlv1.NewSealedServiceClient(none.operator()).ListSealed(t.Context(), &controlv1.ListSealedRequest{})
	wantCode(t, "where none is kept", err, codes.FailedPrecondition)
	wantCode(t, "where none is kept", upload(t, none.gateway(), first, data), codes.FailedPrecondition)
}
