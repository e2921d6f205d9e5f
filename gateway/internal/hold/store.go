package hold

import "sync/atomic"

// Store is the room that a gateway has for contents that are held beyond what each may
// have: one for all of its crossings. A nil Store has any room. It may be used
// concurrently.
type Store struct{ left atomic.Int64 }

// NewStore has room for so many bytes.
func NewStore(bytes int64) *Store {
	s := new(Store)
	s.left.Store(bytes)
	return s
}

// take says whether there is room for n bytes more, and takes it if so.
func (s *Store) take(n int) bool {
	if s == nil || s.left.Add(-int64(n)) >= 0 {
		return true
	}
	s.give(n)
	return false
}

// give gives room back.
func (s *Store) give(n int) {
	if s != nil {
		s.left.Add(int64(n))
	}
}

// Left is how many bytes there is room for.
func (s *Store) Left() int64 { return s.left.Load() }
