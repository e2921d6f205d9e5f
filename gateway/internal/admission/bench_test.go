package admission

import (
	"crypto/sha256"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// BenchmarkContent holds content back that passes in pieces, as a gateway has them, beside
// what its digest alone costs.
func BenchmarkContent(b *testing.B) {
	piece := make([]byte, 32<<10)
	b.Run("digest", func(b *testing.B) {
		b.SetBytes(int64(len(piece)))
		for sum := sha256.New(); b.Loop(); {
			sum.Write(piece)
		}
	})
	b.Run("content", func(b *testing.B) {
		b.SetBytes(int64(len(piece)))
		b.ReportAllocs()
		c := control("s3", "listed").Answer(&l7.RequestHead{Method: "GET", Path: "/k"}, &l7.ResponseHead{Status: 200}, false)
		for b.Loop() {
			if _, err := c.Pass(piece); err != nil {
				b.Fatal(err)
			}
		}
	})
}
