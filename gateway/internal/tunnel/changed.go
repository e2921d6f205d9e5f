package tunnel

// Changed is closed when tunnels came or went, or dialling one failed; ask again
// for the next time.
func (p *Pool) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}
