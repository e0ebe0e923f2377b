package driver_test

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/simdisk"
	"github.com/maildriver/maildriver/spool"
)

// A guard is one of the things that keep the promise. Each is switched off in turn, by a disk that only claims to do
// its part or by a mailbox that lies, and the scenarios of TestF34PowerCutAtEveryOperation must notice. A guard that
// nobody misses is either useless or untested.
type guard struct {
	name     string
	scenario string
	off      func(w *simWorld)
	notices  string // part of what the oracle says
}

func dirOf(w *simWorld, kind spool.Kind) string { return w.spool.Dir(kind) }

// unsynced makes the sync of the files for which it is true do nothing.
func unsynced(is func(name string) bool) func(*simWorld) {
	return func(w *simWorld) {
		w.disk.Lie(func(c simdisk.Call) bool { return c.Op == simdisk.OpSync && is(c.Name) })
	}
}

func prefixed(p string) func(string) bool {
	return func(name string) bool { return strings.HasPrefix(name, p) }
}

func suffixed(p string) func(string) bool {
	return func(name string) bool { return strings.HasSuffix(name, p) }
}

func unsyncedDir(kind spool.Kind) func(*simWorld) {
	return func(w *simWorld) {
		dir := dirOf(w, kind)
		w.disk.Lie(func(c simdisk.Call) bool { return c.Op == simdisk.OpSyncDir && c.Dir == dir })
	}
}

// unwritten keeps the lines with that verb out of the delivery record.
func unwritten(verb string) func(*simWorld) {
	return func(w *simWorld) {
		w.disk.Rewrite(func(c simdisk.Call, p []byte) []byte {
			if !strings.HasPrefix(c.Name, "Current_") {
				return p
			}
			var out []byte
			for line := range bytes.Lines(p) {
				if !bytes.HasPrefix(line, []byte(verb+" ")) {
					out = append(out, line...)
				}
			}
			return out
		})
	}
}

var guards = []guard{
	{"raw files are synced", "attachments", unsynced(prefixed("POP3_")), "raw file handed over before it was durable"},
	{"attachments are synced", "attachments", unsynced(prefixed("ATT_")), "before it was durable"},
	{"original texts are synced", "attachments", unsynced(prefixed("OriginalMessageText_")), "before it was durable"},
	{"the incoming directory is synced", "attachments", unsyncedDir(spool.Incoming), "before it was durable"},
	{"the failed directory is synced", "rejected and unparsable", unsyncedDir(spool.Failed), "nothing else had it"},
	{"the processed directory is synced before the raw file's old name goes", "small batches", unsyncedDir(spool.Processed), "copies in processed"},
	{"reason files are synced", "rejected and unparsable", unsynced(suffixed(".reason.part")), "is empty"},
	{"appended records are synced", "attachments", unsynced(prefixed("Current_")), "unmarked"},
	{"Previous is synced before it replaces the old one", "left on the server", unsynced(prefixed("Previous_")), "unmarked"},
	{"the directory of the records is synced", "lost commits", unsyncedDir(spool.IDs), "unmarked"},
	{"entered is recorded before the handler is called", "attachments", unwritten("entered"), "unmarked"},
	{"done is recorded before the mail is removed", "attachments", unwritten("done"), "crashes"},
	{"a session's beginning is recorded before its first file", "attachments", unwritten("session"), "stray file"},
	{"files in no record are swept", "attachments", func(w *simWorld) {
		dir := dirOf(w, spool.Incoming)
		w.disk.Lie(func(c simdisk.Call) bool {
			return c.Op == simdisk.OpRemove && c.Dir == dir && strings.Contains(c.Name, "_1.") || c.Op == simdisk.OpRemove && c.Dir == dir && strings.HasSuffix(c.Name, ".part")
		})
	}, "stray file"},
	{"interrupted disposals are finished", "rejected and unparsable", func(w *simWorld) {
		// A Lock moves files before a session of its own begins.
		begun := false
		w.disk.Lie(func(c simdisk.Call) bool {
			switch {
			case c.Op == simdisk.OpLock && strings.HasPrefix(c.Name, "Lock_"):
				begun = false
			case c.Op == simdisk.OpCreate && strings.HasPrefix(c.Name, "Session_"):
				begun = true
			}
			return !begun && c.Op == simdisk.OpRename && strings.HasPrefix(c.Name, "POP3_")
		})
	}, "nothing else had it"},
	{"a repeat brings the same files", "attachments", func(w *simWorld) {
		w.disk.Lie(func(c simdisk.Call) bool { return c.Op == simdisk.OpLstat && strings.HasPrefix(c.Name, "POP3_") })
	}, "became"},
	{"records are pruned", "attachments", func(w *simWorld) {
		w.disk.Lie(func(c simdisk.Call) bool { return c.Op == simdisk.OpRemove && strings.HasSuffix(c.Name, ".ids") })
	}, "outlives"},
	{"records stay until the server confirmed", "lost commits", func(w *simWorld) {
		w.wrap = func(mb driver.Mailbox) driver.Mailbox { return trusting{mb} }
	}, "unmarked"},
	{"mails are removed after the hand-over, not with the fetch", "attachments", func(w *simWorld) {
		w.ledger.atOnce = true
		w.wrap = func(mb driver.Mailbox) driver.Mailbox { return hasty{mb} }
	}, "nothing else had it"},
	{"one poller holds the mailbox", "second poller", func(w *simWorld) {
		w.disk.Lie(func(c simdisk.Call) bool { return c.Op == simdisk.OpLock && strings.HasPrefix(c.Name, "Lock_") })
	}, "crashes"},
}

// trusting takes whatever QUIT says for a yes.
type trusting struct{ driver.Mailbox }

func (m trusting) Commit(ctx context.Context) error {
	_ = m.Mailbox.Commit(ctx)
	return nil
}

// hasty lets mails go as soon as they are read.
type hasty struct{ driver.Mailbox }

func (m hasty) Fetch(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	return m.Mailbox.Fetch(ctx, ids, func(id driver.ID, r io.Reader) error {
		if err := put(id, r); err != nil {
			return err
		}
		return m.Remove(ctx, []driver.ID{id})
	})
}

// secondPoller has another pipeline poll the mailbox from inside the first handler.
var secondPoller = scenario{"second poller", []string{"plain", "plain"}, func(w *simWorld) {
	w.inside = func() {
		w.inside = nil
		_, _ = w.poll()
	}
}}

func findScenario(t *testing.T, name string) scenario {
	t.Helper()
	for _, s := range append(scenarios, secondPoller) {
		if s.name == name {
			return s
		}
	}
	require.Fail(t, "no scenario", name)
	return scenario{}
}

// missed runs the scenario without the guard, with a power cut at every change, until the oracle notices.
func (g guard) missed(s scenario, changes int) string {
	for seed := range uint64(12) {
		for n := changes + 1; n >= 1; n-- { // the first run is without a cut
			w := s.world(seed*1000 + uint64(n))
			g.off(w)
			w.disk.CutPowerAt(n)
			w.converge()
			for _, v := range w.violations {
				if strings.Contains(v, g.notices) {
					return v
				}
			}
		}
	}
	return ""
}

func TestGuardsAreMissed(t *testing.T) {
	require.GreaterOrEqual(t, len(guards), 12)
	for _, g := range guards {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			s := findScenario(t, g.scenario)
			_, changes := s.length(t)
			v := g.missed(s, changes)
			require.NotEmpty(t, v, "nothing fails without this guard")
			t.Log(filepath.ToSlash(v))
		})
	}
}

// With the lock in place the second poller does no harm: the guard above is what makes the difference.
func TestF40SecondPollerWhileAHandlerRuns(t *testing.T) {
	w := secondPoller.world(1)
	w.converge()
	w.report(t, "second poller")
}
