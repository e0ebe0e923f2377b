package smtp

import (
	"sync"
	"time"
)

// maxPeriods is how many periods a first server that keeps failing is left
// alone at most.
const maxPeriods = 8

// health says which of two servers to try first. The first server is left as
// soon as it fails, stays unused for a period, and is then tried by one message
// while all others still go to the backup. If it fails again within a period of
// having come back, the next wait is twice as long: a server that flaps is not
// followed. Any number of goroutines may use it.
type health struct {
	period time.Duration

	mu      sync.Mutex
	down    bool
	until   time.Time // while down: when it may be tried
	probing bool
	wait    time.Duration // of the current or last time down
	back    time.Time     // when it came back
}

// begin says where a send starts. A probe must be ended with one of good, bad
// and none.
func (h *health) begin() (backup, probe bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.down:
		return false, false
	case h.probing || time.Now().Before(h.until):
		return true, false
	}
	h.probing = true
	return false, true
}

// good notes that the first server took part in a send. Those that began
// before it failed do not bring it back.
func (h *health) good(probe bool) (cameBack bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.down || !probe {
		return false
	}
	h.down, h.probing, h.back = false, false, time.Now()
	return true
}

// bad notes that the first server failed.
func (h *health) bad(probe bool) (until time.Time, left bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch {
	case h.down && !probe:
		return h.until, false
	case h.down: // the probe failed
	case !h.back.IsZero() && now.Sub(h.back) < h.period:
		h.wait = min(2*h.wait, maxPeriods*h.period)
	default:
		h.wait = h.period
	}
	left = !h.down
	h.down, h.until = true, now.Add(h.wait)
	if probe {
		h.probing = false
	}
	return h.until, left
}

// none notes that a probe told nothing, e.g. because its context ended.
func (h *health) none(probe bool) {
	if probe {
		h.mu.Lock()
		h.probing = false
		h.mu.Unlock()
	}
}
