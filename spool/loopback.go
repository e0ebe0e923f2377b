package spool

import (
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// LoopbackState remembers whose mails were handed over, so that further mails of a sender are suspects for a while. There
// is one per Spool, for all profiles, and it is shared with other programs through loopback.json in the root. Check and
// Commit work on memory alone, Load and Flush read and write the file; losing it only opens the windows anew. Mails that
// must never be blocked, such as delivery status notifications, are not to be shown to it. Safe for concurrent use.
type LoopbackState struct{ s *Spool }

// Loopback gives the state of this Spool; it does no I/O and all results are one and the same state.
func (s *Spool) Loopback() *LoopbackState { return &LoopbackState{s} }

// LoopbackRule says when a sender is blocked.
type LoopbackRule struct {
	// Interval is how long a sender stays blocked; 0 or less blocks nobody and remembers nothing.
	Interval time.Duration
	// Threshold is the number of mails within Interval that block their sender; 0 means 1: one mail passes, those after it
	// are suspects.
	Threshold int
	// Sliding starts the interval anew with every mail of a blocked sender. By default the block ends an interval after
	// the mail that caused it, however many follow.
	Sliding bool
}

// DefaultLoopbackEntries is how many senders are remembered; beyond it those whose windows end first are forgotten.
const DefaultLoopbackEntries = 100_000

const maxLoopbackText = 1024 // bytes of a profile, address or id

// loopState is the memory. The zero value is empty.
type loopState struct {
	mu       sync.Mutex
	entries  map[loopKey]loopEntry
	limit    int
	dirty    bool
	seen     fs.FileInfo // the file as it was last read or written
	warnings []string
}

type loopKey struct{ profile, sender string }

type loopEntry struct {
	from, until time.Time // the window; at until the sender is free
	hits        int       // mails counted in the window
	blocked     bool
	cause       string // id of the mail that was counted last
}

// WithLoopbackEntries sets how many senders are remembered (1 to 1 million, default DefaultLoopbackEntries).
func WithLoopbackEntries(n int) Option {
	return func(s *Spool) error {
		if n < 1 || n > 1_000_000 {
			return optionLimit("WithLoopbackEntries", n, 1, 1_000_000)
		}
		s.loop.limit = n
		return nil
	}
}

func loopKeyOf(profile, sender string) (loopKey, bool) {
	k := loopKey{capText(profile), capText(strings.ToLower(strings.TrimSpace(sender)))}
	return k, k.sender != ""
}

func capText(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxLoopbackText)], "")
}

// open reports whether the window counts at t. If t is more than a window before its begin the clock was set back: then
// the window is over, since that only lets one mail more through, while waiting could take a year.
func (e loopEntry) open(t time.Time) bool {
	return t.Before(e.until) && !t.Before(e.from.Add(-e.until.Sub(e.from)))
}

// suspect is the decision, pure. A mail never blocks itself: after a crash the one that caused the block passes again.
func (e loopEntry) suspect(eventID string, t time.Time) bool {
	return e.blocked && e.open(t) && e.cause != capText(eventID)
}

// Check reports whether a mail from sender with this event id, arriving at t, is a loop suspect. It is pure. Letter case
// of the sender is ignored, an empty one is never blocked.
func (l *LoopbackState) Check(rule LoopbackRule, profile, sender, eventID string, t time.Time) bool {
	k, ok := loopKeyOf(profile, sender)
	if !ok || rule.Interval <= 0 {
		return false
	}
	st := &l.s.loop
	st.mu.Lock()
	defer st.mu.Unlock()
	e, ok := st.entries[k]
	return ok && e.suspect(eventID, t)
}

// Commit counts a mail once its outcome is recorded, a blocked one too. The same mail counts once.
func (l *LoopbackState) Commit(rule LoopbackRule, profile, sender, eventID string, t time.Time) {
	k, ok := loopKeyOf(profile, sender)
	if !ok || rule.Interval <= 0 {
		return
	}
	st := &l.s.loop
	st.mu.Lock()
	defer st.mu.Unlock()
	st.count(k, capText(eventID), t, rule)
}

func (st *loopState) count(k loopKey, id string, t time.Time, rule LoopbackRule) {
	e := st.entries[k]
	switch {
	case e.suspect(id, t):
		if !rule.Sliding {
			return
		}
		e.from, e.until = t, t.Add(rule.Interval)
	case e.open(t) && e.cause == id:
		return // a repeat after a crash
	default:
		if !e.open(t) {
			e = loopEntry{from: t, until: t.Add(rule.Interval)}
		}
		e.hits++
		e.cause = id
		if e.hits >= rule.Threshold {
			e.blocked, e.from, e.until = true, t, t.Add(rule.Interval)
		}
	}
	if st.entries == nil {
		st.entries = map[loopKey]loopEntry{}
	}
	st.entries[k] = e
	st.dirty = true
	st.bound(t)
}

// Purge forgets the windows that are over at t. Call it at each poll.
func (l *LoopbackState) Purge(t time.Time) {
	l.s.loop.mu.Lock()
	defer l.s.loop.mu.Unlock()
	l.s.loop.purge(t)
}

// purge forgets the windows that are over.
func (st *loopState) purge(t time.Time) {
	for k, e := range st.entries {
		if !e.open(t) {
			delete(st.entries, k)
			st.dirty = true
		}
	}
}

// bound keeps the number of entries under the limit. It drops a sixteenth more than it must, so that a flood of senders
// does not pay for sorting with every mail.
func (st *loopState) bound(t time.Time) {
	limit := st.limit
	if limit == 0 {
		limit = DefaultLoopbackEntries
	}
	if len(st.entries) <= limit {
		return
	}
	st.purge(t)
	over := len(st.entries) - limit
	if over <= 0 {
		return
	}
	ends := make([]time.Time, 0, len(st.entries))
	for _, e := range st.entries {
		ends = append(ends, e.until)
	}
	slices.SortFunc(ends, time.Time.Compare)
	drop := over + limit/16
	last := ends[drop-1]
	for k, e := range st.entries {
		if e.until.Before(last) {
			delete(st.entries, k)
			drop--
		}
	}
	for k, e := range st.entries { // of those that end together, as many as it takes
		if drop > 0 && e.until.Equal(last) {
			delete(st.entries, k)
			drop--
		}
	}
}

// Warnings tells, one line each, what was wrong with the state file.
func (l *LoopbackState) Warnings() []string {
	l.s.loop.mu.Lock()
	defer l.s.loop.mu.Unlock()
	return slices.Clone(l.s.loop.warnings)
}
