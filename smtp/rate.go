package smtp

import (
	"context"
	"time"
)

// A limiter bounds messages and recipients in any time of length per. Any
// number of goroutines may use it; they are served in the order in which they
// came.
type limiter struct {
	mails, recipients int // 0: no limit
	per               time.Duration

	turn chan struct{} // full while one is next, who alone touches past
	past []begun       // within the last per, oldest first
}

type begun struct {
	at time.Time
	to int
}

func newLimiter(mails, recipients int, per time.Duration) *limiter {
	return &limiter{mails: mails, recipients: recipients, per: per, turn: make(chan struct{}, 1)}
}

// wait returns when a message to so many recipients may begin, or ctx ends.
func (l *limiter) wait(ctx context.Context, to int) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.turn }()
	for {
		d := l.take(to)
		if d <= 0 {
			return nil
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// take counts the message in, or tells how long to wait until the oldest of
// those in its way is out of the window.
func (l *limiter) take(to int) time.Duration {
	now := time.Now()
	for len(l.past) > 0 && now.Sub(l.past[0].at) >= l.per {
		l.past = l.past[1:]
	}
	sum := 0
	for _, b := range l.past {
		sum += b.to
	}
	if l.mails > 0 && len(l.past) >= l.mails || l.recipients > 0 && len(l.past) > 0 && sum+to > l.recipients {
		return l.past[0].at.Add(l.per).Sub(now)
	}
	l.past = append(l.past, begun{now, to})
	return 0
}
