package ews

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Waits after a server said that it is busy.
const (
	busyMin  = 10 * time.Second // without a hint, doubled each time
	busyMax  = 5 * time.Minute  // without a hint
	busyHint = time.Hour        // the longest hint that is believed
	// busyBudget is how long one request waits in all. After it the call fails
	// as temporary; the next one waits for the rest.
	busyBudget = 2 * time.Minute
	// busyTries is how often one request may be told so.
	busyTries = 8
)

// A throttle keeps the requests of one account from a server that wants to be
// left alone. Any number of goroutines may use it.
type throttle struct {
	mu     sync.Mutex
	until  time.Time
	streak int
}

// wait returns when requests may be sent again. left gives how long that would
// take if it is longer than most; then it does not wait.
func (t *throttle) wait(ctx context.Context, most time.Duration) (left time.Duration, err error) {
	for {
		t.mu.Lock()
		left := time.Until(t.until)
		t.mu.Unlock()
		if left <= 0 {
			return 0, nil
		}
		if left > most {
			return left, nil
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, context.Cause(ctx)
		}
	}
}

// delay notes that the server is busy, and for how long, if it said so.
func (t *throttle) delay(hint, low time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := min(hint, busyHint)
	if d <= 0 {
		d = low
		for range min(t.streak, 10) {
			d *= 2
		}
		d = min(d, busyMax)
	}
	t.streak++
	d += time.Duration(float64(d) * 0.2 * rand.Float64()) //nolint:gosec // it spreads requests, no secret depends on it
	if until := time.Now().Add(d); until.After(t.until) {
		t.until = until
	}
	return d
}

// fine notes that the server is not busy.
func (t *throttle) fine() {
	t.mu.Lock()
	t.streak = 0
	t.mu.Unlock()
}

// retryAfter reads the header field (RFC 9110 section 10.2.3): seconds, or a
// date.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseInt(v, 10, 32); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
