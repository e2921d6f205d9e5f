//go:build linux

package bench

// goal is a row of the table: what of ours is compared with whose, and where
// it should come out.
type goal struct {
	name  string // the kind's, if empty
	ours  string // a pair
	kind  string
	peer  string  // a pair; "" for a bound that is not a ratio
	least bool    // the limit is the least, not the most
	limit float64 // of the ratio, or of ours if there is no peer
}

func (g goal) label() string {
	name := g.name
	if name == "" {
		name = g.kind
	}
	if g.ours == "sallyport-durable" {
		name += ", durable"
	}
	return name
}

// traffic goals have a durable row beside each.
var traffic = []goal{
	{kind: keep, peer: "haproxy-tcp", limit: 0.7},
	{kind: keep, peer: "nginx-stream", limit: 0.8},
	{kind: conn, peer: "haproxy-tcp", limit: 0.15},
	{name: "bulk over TCP, 1 stream, s/GiB", kind: bulk1, peer: "haproxy-tcp", limit: 1.0},
	{name: "bulk over TCP, 1 stream, s/GiB", kind: bulk1, peer: "bare-tls", limit: 1.15},
	{name: "bulk over TCP, 4 streams, s/GiB", kind: bulk4, peer: "haproxy-tcp", limit: 1.0},
	{name: "bulk over TCP, 4 streams, s/GiB", kind: bulk4, peer: "bare-tls", limit: 1.15},
	{kind: added, peer: "bare-tls", limit: 1.5},
	{name: "policy + metrics + record, 64 conns, us/request", kind: keep, peer: "sallyport-bare", limit: 1.15},
	{name: "policy + metrics + record, new connection, us", kind: conn, peer: "sallyport-bare", limit: 1.15},
	{kind: http1, peer: "haproxy-h2", limit: 1.0},
	{kind: http1, peer: "caddy", limit: 0.25},
	{kind: h2Unary, peer: "haproxy-h2", limit: 1.2},
	{kind: h2Unary, peer: "caddy", limit: 0.2},
	{kind: grpcUnary, peer: "haproxy-h2", limit: 1.2},
	{kind: grpcUnary, peer: "caddy", limit: 0.2},
	{kind: grpcStream, peer: "haproxy-h2", limit: 1.0},
	{kind: sseAdded, limit: 1},
	{kind: sseCPU, peer: "bare-proxy", limit: 0.6},
	{kind: allocsHTTP1, limit: 4},
	{kind: allocsGRPC, limit: 4},
	{kind: beside + "1 %", peer: "bare-h2", limit: 0.35},
	{kind: bulk16 + "1 %", peer: "plain-tcp", least: true, limit: 0.9},
}

// goals are all rows, in the order of the table.
func goals() []goal {
	all := []goal{
		{ours: "sallyport", kind: idle, limit: 16},
		{ours: "sallyport", kind: idle, peer: "haproxy-tcp", limit: 0.3},
		{ours: "sallyport", kind: fresh, limit: 40},
		{ours: "sallyport", kind: streams, limit: 200},
	}
	for _, g := range traffic {
		for _, g.ours = range []string{"sallyport", "sallyport-durable"} {
			all = append(all, g)
		}
	}
	quic := goal{ours: "sallyport-quic", kind: bulk1, peer: "bare-quic", limit: 1.1}
	quic.name = "bulk over QUIC, 1 stream, s/GiB"
	return append(all, quic)
}

// comparisons have no goal: byte streams against pairs that understand HTTP,
// further such pairs, and the path when it is better, for orientation. A smoke
// has those on loopback alone.
func comparisons(full bool) []goal {
	all := []goal{
		{ours: "sallyport", kind: http1, peer: "nginx-http"},
		{ours: "sallyport", kind: http1, peer: "bare-proxy"},
		{ours: "sallyport", kind: objects, peer: "haproxy-h2"},
		{ours: "sallyport", kind: objects, peer: "bare-proxy"},
		{ours: "sallyport", kind: digested},
	}
	for _, kind := range []string{conn, bulk1} {
		for _, peer := range []string{"haproxy-h2", "nginx-http", "caddy"} {
			all = append(all, goal{ours: "sallyport", kind: kind, peer: peer})
		}
	}
	if !full {
		return all
	}
	for _, loss := range []string{"0 %", "0.1 %"} {
		all = append(all, goal{ours: "sallyport", kind: beside + loss, peer: "bare-h2"},
			goal{ours: "sallyport", kind: bulk16 + loss, peer: "plain-tcp"})
	}
	return append(all, goal{ours: "sallyport", kind: beside + "1 %", peer: "bare-quic"},
		goal{ours: "sallyport", kind: bulk16 + "1 %", peer: "bare-quic"})
}
