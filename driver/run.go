package driver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Defaults of a [Schedule].
const (
	// DefaultPollingInterval is counted from the end of one session to the
	// start of the next.
	DefaultPollingInterval = time.Minute
	// DefaultJitter spreads every wait by this share, up and down.
	DefaultJitter = 0.1
	// DefaultBackoffMin and DefaultBackoffMax bound the wait after an error,
	// which doubles with each error in a row.
	DefaultBackoffMin = 5 * time.Second
	DefaultBackoffMax = 10 * time.Minute
)

// A Schedule says when [Run] polls. It is set by options of the driver's
// constructor or of Run, not of a single Poll. A driver tells its own with a
// method Schedule() Schedule, which wrappers should forward.
type Schedule struct {
	Interval   time.Duration
	Jitter     float64 // share of each wait, 0 to 1
	BackoffMin time.Duration
	BackoffMax time.Duration
}

// NewSchedule returns the defaults.
func NewSchedule() Schedule {
	return Schedule{DefaultPollingInterval, DefaultJitter, DefaultBackoffMin, DefaultBackoffMax}
}

func scheduleOption(name string, set func(*Schedule) error) Option {
	return NewOption("driver."+name, set)
}

// WithPollingInterval sets the time between two sessions, counted from the end
// of the first; default [DefaultPollingInterval].
func WithPollingInterval(d time.Duration) Option {
	return scheduleOption("PollingInterval", func(s *Schedule) error { s.Interval = d; return atLeast(d, 1) })
}

// WithJitter spreads every wait of [Run] by up to share of it, 0 to 1; default
// [DefaultJitter]. It keeps many mailboxes from polling in step.
func WithJitter(share float64) Option {
	return scheduleOption("Jitter", func(s *Schedule) error {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("%v is not between 0 and 1", share)
		}
		s.Jitter = share
		return nil
	})
}

// WithBackoff sets the wait of [Run] after an error: first low, doubled with
// each error in a row, at most high.
func WithBackoff(low, high time.Duration) Option {
	return scheduleOption("Backoff", func(s *Schedule) error {
		s.BackoffMin, s.BackoffMax = low, high
		if err := atLeast(low, 1); err != nil {
			return err
		}
		return atLeast(high, low)
	})
}

type runSettings struct {
	report func(PollResult, error)
}

// WithReport calls f after each session of [Run], from Run's goroutine.
func WithReport(f func(PollResult, error)) Option {
	return NewOption("driver.Report", func(s *runSettings) error {
		if f == nil {
			return errors.New("the function is nil")
		}
		s.report = f
		return nil
	})
}

// Run polls d again and again until ctx ends, and returns the context's error
// then, or until the handler returns Stop, and returns nil. It polls at once while the server has more mail, else after the
// interval, or when the server tells of mail ([Waiter]), or when a refused
// mail is due. After an error that may pass it waits longer each time; an
// error that will not heal by itself ([KindConfig], [KindPolicy],
// [KindPermanent], [KindClosed]) is returned.
//
// Options of Run are those of [Schedule] and [WithReport]; the others are
// handed to each Poll.
func Run(ctx context.Context, d Driver, h Handler, opts ...Option) error {
	sched := NewSchedule()
	if s, ok := d.(interface{ Schedule() Schedule }); ok {
		sched = s.Schedule()
	}
	set := runSettings{report: func(PollResult, error) {}}
	own, rest := Split(opts, &sched, &set)
	if err := Apply(own, &sched, &set); err != nil {
		return err
	}
	if !CapabilitiesOf(d).Poll {
		return &Error{Op: "run", Kind: KindConfig, Err: errors.ErrUnsupported}
	}
	failures := 0
	for {
		res, err := d.Poll(ctx, h, rest...)
		set.report(res, err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait, push, spreadBy := sched.Interval, false, spread
		switch kind := KindOf(err); {
		case err == nil:
			failures = 0
			push = true
			if res.Stopped {
				return nil
			}
			if res.More {
				continue
			}
			if due := time.Until(res.RetryAt); !res.RetryAt.IsZero() && due < wait {
				wait = max(due, 0)
				spreadBy = upwards // before it is due there is nothing to do
			}
		case !kind.Retryable():
			return err
		default:
			failures++
			wait = backoff(sched.BackoffMin, sched.BackoffMax, failures)
			if kind == KindAuth {
				wait = sched.BackoffMax // a wrong password tried often locks the account
			}
		}
		if err := pause(ctx, d, spreadBy(wait, sched.Jitter), push); err != nil {
			return err
		}
	}
}

// backoff doubles low with each failure after the first, up to high.
func backoff(low, high time.Duration, failures int) time.Duration {
	d := low
	for i := 1; i < failures && d < high; i++ {
		d *= 2
	}
	return min(d, high)
}

// spread shortens or lengthens d by up to that share of it.
func spread(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1))) //nolint:gosec // no secret depends on it
}

// upwards lengthens d by up to that share of it.
func upwards(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*rand.Float64())) //nolint:gosec // as above
}

// pause waits for d, for ctx, or, with push, for the server's word.
func pause(ctx context.Context, d Driver, wait time.Duration, push bool) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var told chan error
	if w, ok := d.(Waiter); ok && push && CapabilitiesOf(d).Push {
		wctx, cancel := context.WithCancel(ctx)
		told = make(chan error, 1)
		go func() { told <- w.Wait(wctx) }()
		defer func() {
			cancel()
			if told != nil {
				<-told
			}
		}()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case err := <-told:
			told = nil
			if err == nil {
				return nil
			}
			// the interval still holds
		}
	}
}
