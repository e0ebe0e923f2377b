package driver_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A scenario is a mailbox, and a run of the pipeline over it in which everything has its turn.
type scenario struct {
	name  string
	kinds []string
	setup func(*simWorld)
}

var scenarios = []scenario{
	{"one mail", []string{"plain"}, nil},
	{"attachments", []string{"att", "plain", "att"}, nil},
	{"raw files are deleted", []string{"att", "plain"}, func(w *simWorld) { w.set.DeleteProcessed = true }},
	{"refused and panicking", []string{"refuse", "att", "panic-att", "plain"}, nil},
	{"three refusals in a row end the session", []string{"refuse", "refuse", "refuse", "att", "plain"}, nil},
	{"rejected and unparsable", []string{"reject", "broken", "att-reject", "plain"}, nil},
	{"loopback", []string{"loop", "loop-att", "plain", "loop"}, loopbackOn},
	{"left on the server", []string{"att", "reject", "plain"}, func(w *simWorld) { w.set.LeaveOnServer = true }},
	{"stop", []string{"stop", "plain"}, nil},
	{"small batches", []string{"att", "plain", "att", "plain"}, func(w *simWorld) { w.set.BatchSize = 2 }},
	{"removed at once, not at commit", []string{"att", "reject", "plain"}, func(w *simWorld) { w.ledger.atOnce = true }},
	{"lost commits", []string{"att", "plain"}, func(w *simWorld) {
		w.ledger.loses = func(n int) (bool, bool) { return n < 3, n != 1 }
	}},
}

func (s scenario) world(seed uint64) *simWorld {
	w := newSimWorld(seed, s.kinds...)
	if s.setup != nil {
		s.setup(w)
	}
	return w
}

// length counts the operations and changes of a run without faults.
func (s scenario) length(t testing.TB) (ops, changes int) {
	t.Helper()
	w := s.world(0)
	w.converge()
	require.Empty(t, w.violations, "without any fault")
	return w.disk.Ops(), w.disk.Changes()
}

func (w *simWorld) report(t testing.TB, what string) {
	t.Helper()
	if len(w.violations) > 0 {
		t.Fatalf("%s:\n  %s", what, strings.Join(w.violations, "\n  "))
	}
}

// exhaustive makes these tests try every combination, which takes minutes: MAILDRIVER_EXHAUSTIVE=1.
var exhaustive = os.Getenv("MAILDRIVER_EXHAUSTIVE") != ""

func quick() bool { return testing.Short() || raced }

// seedsPerPoint is how many times each power cut is tried: what survives it is a matter of chance.
func seedsPerPoint() uint64 {
	if exhaustive {
		return 16
	}
	return 1
}

func TestF34PowerCutAtEveryOperation(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			_, changes := s.length(t)
			for n := 1; n <= changes; n++ {
				for seed := range seedsPerPoint() {
					w := s.world(seed*1000 + uint64(n))
					w.disk.CutPowerAt(n)
					w.converge()
					w.report(t, fmt.Sprintf("power cut at change %d of %d, seed %d", n, changes, seed))
				}
			}
		})
	}
}

// A kill leaves names and bytes that are not on disk yet; the power cut after it finds out who relied on them.
func TestF34KillAtEveryOperationThenPowerCut(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			_, changes := s.length(t)
			for n := 1; n <= changes; n++ {
				for seed := range seedsPerPoint() {
					w := s.world(seed*1000 + uint64(n))
					w.disk.KillAt(n)
					_, _ = w.poll()
					if w.disk.Down() {
						w.crashed()
					}
					w.disk.CutPowerAt((n*13+int(seed)*7)%40 + 1)
					w.converge()
					w.report(t, fmt.Sprintf("kill at change %d of %d, seed %d", n, changes, seed))
				}
			}
		})
	}
}

func TestF35F36F38EveryOperationFails(t *testing.T) {
	for _, s := range scenarios {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
			for _, sticky := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%v/sticky=%v", s.name, errno, sticky), func(t *testing.T) {
					t.Parallel()
					ops, _ := s.length(t)
					// One by one where it matters most, elsewhere with gaps that differ from scenario to scenario.
					step := 1
					if !exhaustive && (errno != syscall.EIO || sticky || quick()) {
						step = 7
					}
					for n := 1 + int(errno)%step; n <= ops; n += step {
						w := s.world(uint64(n))
						w.disk.FailAt(n, errno, sticky)
						for range 2 {
							if _, err := w.poll(); err != nil {
								w.ends++ // a record that cannot be written is like a crash at that moment
							}
						}
						w.converge()
						w.report(t, fmt.Sprintf("%v at operation %d of %d", errno, n, ops))
					}
				})
			}
		}
	}
}

// TestF34PowerCutsInARow lets mailboxes live through one crash after the other, with new mail coming in between: ten
// thousand if asked for, as .ci/run does.
func TestF34PowerCutsInARow(t *testing.T) {
	cuts, worlds := 1_000, 4
	if exhaustive {
		cuts = 10_000
	}
	kinds := []string{"plain", "att", "plain", "refuse", "att", "reject", "panic", "loop", "broken", "plain"}
	var wg sync.WaitGroup
	for i := range worlds {
		wg.Go(func() {
			seed := uint64(i)*7919 + 1
			rng := rand.New(rand.NewPCG(seed, 2))
			for done := 0; done < cuts/worlds; {
				w := newSimWorld(rng.Uint64())
				loopbackOn(w)
				for round := range 25 {
					for range 1 + rng.IntN(3) {
						w.add(kinds[rng.IntN(len(kinds))])
					}
					w.disk.CutPowerAt(1 + rng.IntN(110))
					for range 4 { // until it hits
						if _, err := w.poll(); w.disk.Down() || err == nil {
							break
						}
					}
					if !w.disk.Down() {
						w.disk.CutNow()
					}
					w.crashed()
					done++
					if len(w.violations) > 0 {
						t.Errorf("seed %d, cut %d:\n  %s", seed, round, strings.Join(w.violations, "\n  "))
						return
					}
				}
				w.converge()
				if len(w.violations) > 0 {
					t.Errorf("seed %d, at the end:\n  %s", seed, strings.Join(w.violations, "\n  "))
					return
				}
				assert.LessOrEqual(t, w.repeats, w.ends)
			}
		})
	}
	wg.Wait()
}
