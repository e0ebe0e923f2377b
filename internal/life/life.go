// Package life ends the calls of a driver when the driver is closed. It is the
// one implementation of the rule that Close is idempotent, ends a running call
// with driver.ErrClosed and returns when that call has.
package life

import (
	"context"
	"sync"
)

// A Life counts the running calls of one driver. The zero value is alive; any
// number of goroutines may use it.
type Life struct {
	mu     sync.Mutex
	closed bool
	calls  map[*call]struct{}
	wg     sync.WaitGroup
}

type call struct{ cancel context.CancelCauseFunc }

// Begin starts a call: its context ends with cause when Close is called. It
// reports false on a closed Life. end must be called when the call returns.
func (l *Life) Begin(ctx context.Context, cause error) (c context.Context, end func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ctx, func() {}, false
	}
	c, cancel := context.WithCancelCause(ctx)
	k := &call{func(error) { cancel(cause) }}
	if l.calls == nil {
		l.calls = make(map[*call]struct{})
	}
	l.calls[k] = struct{}{}
	l.wg.Add(1)
	var once sync.Once
	return c, func() {
		once.Do(func() {
			cancel(nil)
			l.mu.Lock()
			delete(l.calls, k)
			l.mu.Unlock()
			l.wg.Done()
		})
	}, true
}

// Close ends every running call and waits for them; it reports whether this
// was the first Close.
func (l *Life) Close() (first bool) {
	l.mu.Lock()
	first = !l.closed
	l.closed = true
	for k := range l.calls {
		k.cancel(nil)
	}
	l.mu.Unlock()
	l.wg.Wait()
	return first
}
