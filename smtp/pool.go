package smtp

import (
	"context"
	"slices"
	"sync"
	"time"
)

// probeAfter is how long a connection may have been idle and still be used
// without asking whether the server is there: longer, and RSET is sent first.
const probeAfter = 2 * time.Second

// A pool keeps the connections to one server. Each is owned by one Send at a
// time. Sends that find all in use wait in a queue, in their order; the owner
// of a connection may take one of them along: it sends that one's envelope
// behind its own content and then hands the connection over.
type pool struct {
	max     int
	idle    time.Duration
	age     time.Duration // 0: any
	perConn int           // 0: any

	mu     sync.Mutex
	open   int        // connections, idle ones included, and permits to dial
	kept   []*session // idle, the last used at the end
	queue  []*waiter
	closed bool
	sweep  *time.Timer
	wg     sync.WaitGroup
}

// A waiter is a Send in the queue.
type waiter struct {
	t     *transaction // for the owner that takes it along
	ready chan grant   // gets one grant, unless gone
	state waiting
}

type waiting uint8

const (
	queued  waiting = iota
	taken           // its envelope goes out on a connection that is still in use
	granted         // ready has its grant
	gone            // it gave up
)

// A grant is a connection, or without one the permit to make one.
type grant struct {
	s    *session
	sent bool // the envelope went out
}

// get gives t a connection that is its own until put, or a permit to dial.
func (p *pool) get(ctx context.Context, t *transaction) (grant, error) {
	p.mu.Lock()
	if n := len(p.kept); n > 0 {
		s := p.kept[n-1]
		p.kept = p.kept[:n-1]
		p.mu.Unlock()
		return grant{s: s}, nil
	}
	if p.open < p.max {
		p.open++
		p.mu.Unlock()
		return grant{}, nil
	}
	w := &waiter{t: t, ready: make(chan grant, 1)}
	p.queue = append(p.queue, w)
	p.mu.Unlock()
	select {
	case g := <-w.ready:
		return g, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	was := w.state
	w.state = gone
	p.queue = slices.DeleteFunc(p.queue, func(q *waiter) bool { return q == w })
	p.mu.Unlock()
	if was == granted {
		g := <-w.ready
		if g.sent {
			g.s.drop() // replies are on their way that nobody waits for
		}
		if s := p.put(g.s, nil); s != nil {
			_ = s.c.Close()
		}
	}
	return grant{}, context.Cause(ctx)
}

// claim takes the first waiter along, if s may carry on after this message:
// flight is its envelope, to be sent behind the end of the content.
func (p *pool) claim(s *session) (next *waiter, flight []byte) {
	if p == nil || !s.pipelining() {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 || !p.reusable(s) {
		return nil, nil
	}
	w := p.queue[0]
	if flight = w.t.ahead(s); flight == nil {
		return nil, nil
	}
	p.queue = p.queue[1:]
	w.state = taken
	return w, flight
}

// reusable reports whether s may carry another message.
func (p *pool) reusable(s *session) bool {
	limit := s.ext.limits.mails
	if p.perConn > 0 && (limit == 0 || p.perConn < limit) {
		limit = p.perConn
	}
	return !p.closed && !s.last && s.c.Err() == nil &&
		(limit == 0 || s.mails < limit) && (p.age == 0 || time.Since(s.born) < p.age)
}

// put gives a connection back, nil where none was made. next is the waiter
// that its owner took along. A connection that is not kept is returned, for its
// owner to end.
func (p *pool) put(s *session, next *waiter) (ended *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sent := next != nil
	if sent && next.state == gone {
		next, sent = nil, false
		s.drop() // replies are on their way that nobody waits for
	}
	healthy := s != nil && p.reusable(s)
	if next == nil && len(p.queue) > 0 {
		next = p.queue[0]
		p.queue = p.queue[1:]
	}
	switch {
	case next != nil && healthy:
		next.give(grant{s, sent})
	case next != nil:
		next.give(grant{}) // the permit is passed on
	case healthy && p.idle > 0:
		s.since = time.Now()
		p.kept = append(p.kept, s)
		p.arm()
	default:
		p.open--
		return s
	}
	if healthy {
		return nil
	}
	return s
}

// give ends the wait of w. The lock is held.
func (w *waiter) give(g grant) {
	w.state = granted
	w.ready <- g
}

// arm sets the timer for the connection that is idle longest.
func (p *pool) arm() {
	if p.sweep == nil && len(p.kept) > 0 {
		p.wg.Add(1)
		p.sweep = time.AfterFunc(time.Until(p.kept[0].since.Add(p.idle)), p.expire)
	}
}

// expire closes what has been idle for too long.
func (p *pool) expire() {
	defer p.wg.Done()
	p.mu.Lock()
	p.sweep = nil
	var old []*session
	for len(p.kept) > 0 && time.Since(p.kept[0].since) >= p.idle {
		old = append(old, p.kept[0])
		p.kept = p.kept[1:]
		p.open--
	}
	p.arm()
	p.mu.Unlock()
	part(old)
}

// close ends the idle connections, and each other one when it is put back.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	old := p.kept
	p.kept = nil
	p.open -= len(old)
	if p.sweep != nil && p.sweep.Stop() {
		p.wg.Done()
	}
	p.mu.Unlock()
	part(old)
	p.wg.Wait()
}

// part says good-bye on all connections at once.
func part(list []*session) {
	var wg sync.WaitGroup
	for _, s := range list {
		wg.Go(s.quit)
	}
	wg.Wait()
}
