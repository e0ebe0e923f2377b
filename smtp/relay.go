package smtp

import (
	"context"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A relay is one server that the driver sends through.
type relay struct {
	addr string
	net  *driver.Network
	lmtp bool
	pool *pool // nil: each transaction has a connection of its own
}

// send does one transaction, on a kept connection if there is one. It reports
// whether a server was reached. Where a kept connection turns out to have
// ended before the server saw anything of the message, it is replaced, once
// (F53).
func (r *relay) send(ctx context.Context, t *transaction) (reached bool, err error) {
	var g grant
	if r.pool != nil {
		if g, err = r.pool.get(ctx, t); err != nil {
			return false, failed("wait", err)
		}
	}
	s, sent := g.s, g.sent
	kept := s != nil
	if kept {
		s.set = t.set
		if !sent && time.Since(s.since) > probeAfter && !s.since.IsZero() && !r.alive(ctx, s) {
			_ = s.c.Close()
			s = nil
		}
	}
	for {
		if s == nil {
			kept, sent = false, false
			if s, err = open(ctx, r.addr, r.net, t.set, t.source.common, r.lmtp); err != nil {
				r.put(ctx, nil, nil)
				f := failed("dial", err)
				return f.op != "dial", f
			}
		}
		var next *waiter
		next, err = r.run(ctx, t, s, sent)
		if err != nil && kept && ctx.Err() == nil && t.stale(err) {
			t.source.common.Logger.Debug("a kept connection has ended, another is made", "driver", driverName, "addr", r.addr, "error", err.Error())
			_ = s.c.Close()
			s = nil
			continue
		}
		s.since = time.Time{}
		r.put(ctx, s, next)
		return true, err
	}
}

// run does the transaction while the end of ctx ends the connection.
func (r *relay) run(ctx context.Context, t *transaction, s *session, sent bool) (next *waiter, err error) {
	stop := s.c.Watch(ctx)
	defer stop()
	if err := t.begin(ctx, s); err != nil {
		if sent {
			s.last = true // the server waits for a message that does not come
		}
		return nil, err
	}
	return t.run(ctx, sent, r.pool)
}

// alive asks a connection that was idle whether the server is still there.
func (r *relay) alive(ctx context.Context, s *session) bool {
	stop := s.c.Watch(ctx)
	defer stop()
	return s.reset() == nil
}

// put gives a connection back, and ends it if it is not kept.
func (r *relay) put(ctx context.Context, s *session, next *waiter) {
	if r.pool != nil {
		s = r.pool.put(s, next)
	}
	if s == nil {
		return
	}
	stop := s.c.Watch(ctx)
	defer stop()
	s.quit()
}

func (r *relay) close() {
	if r.pool != nil {
		r.pool.close()
	}
}
