package message

import "github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"

// What a log has as its entries, and what is shown of it (proto/sallyport/log/v1/log.proto).
var (
	hold   = wire.New("Hold", wire.Text(1, "name"), wire.Text(2, "owner"), wire.Many(wire.Text(3, "identities")))
	opened = wire.New("Opened", wire.Text(1, "crossing"), wire.Text(2, "gateway"), wire.Text(3, "part"), wire.Text(4, "intent"),
		wire.Text(5, "reviewer"), wire.Text(6, "sha256"), wire.Sub(7, "given", wire.Time))
	act = wire.New("Act",
		wire.Text(1, "by"), wire.Bytes(2, "policy"), wire.Bytes(3, "act"), wire.Sub(4, "hold", hold), wire.Sub(5, "released", hold),
		wire.Sub(6, "opened", opened))
	read  = wire.New("Read", wire.Text(1, "by"), wire.Text(2, "what"))
	Entry = wire.New("Entry",
		wire.Sub(1, "at", wire.Time), wire.Bytes(2, "frame"), wire.Sub(3, "act", act), wire.Bytes(4, "bundle"), wire.Sub(5, "read", read))
	earlier  = wire.New("Earlier", wire.Uint64(1, "index"), wire.Bytes(2, "path"), wire.Bytes(3, "entry"))
	member   = wire.New("Member", wire.Bytes(1, "frame"), wire.Uint32(2, "statement"), wire.Bytes(3, "path"))
	Evidence = wire.New("Evidence",
		wire.Bytes(1, "entry"), wire.Many(wire.Sub(2, "earlier", earlier)), wire.Many(wire.Sub(3, "members", member)))
)

// Kept are the fields of an Entry of which it has exactly one.
var Kept = []string{"frame", "act", "bundle", "read"}

// What a trust domain's authority says its roots are (certs/federation/FORMAT.md).
var (
	bundleSignature = wire.New("BundleSignature", wire.Many(wire.Bytes(1, "chain")), wire.Int64(2, "signedAt"), wire.Bytes(3, "signature"))
	SignedBundle    = wire.New("SignedBundle",
		wire.Text(1, "trustDomain"), wire.Bytes(2, "document"), wire.Many(wire.Sub(3, "signatures", bundleSignature)))
)
