package tcptunnel

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
)

const (
	// notSent is how much the kernel may hold that it has not sent: more would
	// only be a queue that interactive frames stand in.
	notSent = 128 << 10
	// notSentBulk is the same where nothing but bulk stands in it: enough for a
	// fast path while this end waits for its turn on the processor.
	notSentBulk = 1 << 20
	// congestion keeps its rate under loss that is not the path's fault. Where
	// the kernel has it not, or not for everybody, its default is used.
	congestion = "bbr"
	// enough segments to tell a share of them: one that is lost by chance must not
	// make a path a lossy one.
	enough = 200
	// recent is the weight of the newest share in the smoothed one.
	recent = 0.25
)

// tune sets what only a tunnel's socket wants. A kernel that does not know an
// option goes without it.
func tune(nc net.Conn, class tunnel.Class) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	unsent := notSent
	if class == tunnel.Bulk {
		unsent = notSentBulk
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion)
	})
}

// path asks the kernel what it knows of a connection.
type path struct {
	raw    syscall.RawConn // nil if it is none of the kernel's
	next   time.Time       // when to ask again
	sent   uint32          // segments with data, as counted before
	resent uint32
}

// of finds the TCP connection under a connection.
func (p *path) of(nc net.Conn) {
	for {
		if tcp, ok := nc.(*net.TCPConn); ok {
			p.raw, _ = tcp.SyscallConn()
			return
		}
		under, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		nc = under.NetConn()
	}
}

// due says whether it is time to ask.
func (p *path) due(now time.Time) bool {
	if p.raw == nil || now.Before(p.next) {
		return false
	}
	p.next = now.Add(lossInterval)
	return true
}

// loss is the share of segments that had to be sent again lately, smoothed.
func (p *path) loss(before float64) float64 {
	var info *unix.TCPInfo
	err := p.raw.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || info == nil {
		return before
	}
	return p.counted(info, before)
}

// counted is loss by what the kernel has counted since the last time.
func (p *path) counted(info *unix.TCPInfo, before float64) float64 {
	lost := lost(info)
	sent, resent := info.Data_segs_out-p.sent, lost-min(lost, p.resent)
	if sent < enough {
		return before
	}
	p.sent, p.resent = info.Data_segs_out, lost
	return smooth(before, sent, resent)
}

// lost is the segments that had to be sent again. Those that the peer says it had
// already (RFC 2883) had not: a peer that is short of CPU time answers late, and is
// sent the last ones twice (RFC 8985, section 7), on a path that loses nothing.
func lost(info *unix.TCPInfo) uint32 {
	return info.Total_retrans - min(info.Total_retrans, info.Dsack_dups)
}

func smooth(before float64, sent, resent uint32) float64 {
	share := min(1, float64(resent)/float64(sent))
	return (1-recent)*before + recent*share
}
