package coding

import (
	"io"
	"runtime"
	"testing"
)

// How fast a content is decoded, in pieces as they come from a socket.
func BenchmarkDecode(b *testing.B) {
	for _, coding := range codings {
		content := encode(coding, text(1<<20))
		b.Run(coding, func(b *testing.B) {
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			for b.Loop() {
				d, _ := New(coding, io.Discard, 2<<20)
				for rest := content; len(rest) > 0; {
					n := min(len(rest), 16<<10)
					d.Write(rest[:n])
					rest = rest[n:]
				}
				if err := d.End(); err != nil {
					b.Fatal(err)
				}
				d.Close()
			}
		})
	}
}

// How long one flushed event of a stream takes.
func BenchmarkEvent(b *testing.B) {
	event := `event: content_block_delta` + "\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}` + "\n\n"
	for _, coding := range codings {
		b.Run(coding, func(b *testing.B) {
			pieces := flushed(coding, event, 1000)
			b.ReportAllocs()
			var d *Decoder
			for i := 0; b.Loop(); i++ {
				if i%len(pieces) == 0 {
					if d != nil {
						d.Close()
					}
					d, _ = New(coding, io.Discard, 1<<30)
				}
				if _, err := d.Write(pieces[i%len(pieces)]); err != nil {
					b.Fatal(err)
				}
			}
			d.Close()
		})
	}
}

// flushed is what each of n events that are flushed one by one is encoded as.
func flushed(coding, event string, n int) [][]byte {
	var one capture
	w := encoder(coding, &one)
	pieces := make([][]byte, n)
	for i := range pieces {
		io.WriteString(w, event)
		w.Flush()
		pieces[i], one = one, nil
	}
	return pieces
}

type capture []byte

func (c *capture) Write(p []byte) (int, error) { *c = append(*c, p...); return len(p), nil }

// TestMemory holds what the documentation says that a decoder has.
func TestMemory(t *testing.T) {
	for _, tt := range []struct {
		coding string
		length int
		most   int64
	}{
		{"gzip", 100, 70 << 10},
		{"gzip", 4 << 20, 70 << 10},
		{"deflate", 4 << 20, 70 << 10},
		{"br", 100, 150 << 10},
		{"br", 4 << 20, 5 << 20},
		{"zstd", 100, 200 << 10},
		{"zstd", 4 << 20, 3 << 20},
	} {
		content := encode(tt.coding, text(tt.length))
		cut := content[:len(content)-3]
		const n = 8
		var all [n]*Decoder
		before := heap()
		for i := range all {
			all[i], _ = New(tt.coding, io.Discard, 8<<20)
			for rest := cut; len(rest) > 0; {
				n := min(len(rest), 1000)
				all[i].Write(rest[:n])
				rest = rest[n:]
			}
		}
		each := (heap() - before) / n
		runtime.KeepAlive(content)
		runtime.KeepAlive(&all)
		t.Logf("%s of %d bytes: %d KiB", tt.coding, tt.length, each>>10)
		if each > tt.most {
			t.Errorf("%s of %d bytes holds %d, more than %d", tt.coding, tt.length, each, tt.most)
		}
		for _, d := range all {
			d.Close()
		}
	}
}

// heap is what is in use, of goroutines' stacks too.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
