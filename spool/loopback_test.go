package spool

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLoopbackWindow(t *testing.T) {
	t0 := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	type step struct {
		id, sender, profile string
		after               time.Duration
		want                bool
	}
	for name, c := range map[string]struct {
		rule  LoopbackRule
		steps []step
	}{
		"fixed window ends at blockedUntil": {LoopbackRule{Interval: time.Minute}, []step{
			{"1", "A@x", "p", 0, false},
			{"2", "a@X", "p", 1, true},
			{"3", "a@x", "p", time.Minute - 1, true},
			{"4", "a@x", "p", time.Minute, false},
			{"5", "a@x", "p", time.Minute + 1, true},
		}},
		"a mail does not block itself": {LoopbackRule{Interval: time.Minute}, []step{
			{"1", "a@x", "p", 0, false},
			{"1", "a@x", "p", 1, false},
			{"2", "a@x", "p", 2, true},
			{"1", "a@x", "p", 3, false},
			{"3", "a@x", "p", time.Minute, false},
		}},
		"sliding": {LoopbackRule{Interval: time.Minute, Sliding: true}, []step{
			{"1", "a@x", "p", 0, false},
			{"2", "a@x", "p", 50 * time.Second, true},
			{"3", "a@x", "p", 100 * time.Second, true},
			{"4", "a@x", "p", 160 * time.Second, false},
		}},
		"threshold": {LoopbackRule{Interval: time.Minute, Threshold: 3}, []step{
			{"1", "a@x", "p", 0, false},
			{"2", "a@x", "p", 1, false},
			{"2", "a@x", "p", 1, false},
			{"3", "a@x", "p", 2, false},
			{"4", "a@x", "p", 3, true},
			{"5", "a@x", "p", time.Minute + 1, true},
			{"6", "a@x", "p", time.Minute + 2, false},
		}},
		"threshold not reached in time": {LoopbackRule{Interval: time.Minute, Threshold: 2}, []step{
			{"1", "a@x", "p", 0, false}, {"2", "a@x", "p", time.Minute, false}, {"3", "a@x", "p", time.Minute + 1, false}, {"4", "a@x", "p", time.Minute + 2, true},
		}},
		"senders and profiles apart": {LoopbackRule{Interval: time.Minute}, []step{
			{"1", "a@x", "p", 0, false}, {"2", "a@x", "q", 1, false}, {"3", "a+tag@x", "p", 1, false}, {"4", "b@x", "p", 1, false}, {"5", "a@x", "q", 2, true},
		}},
		"no sender, no block": {LoopbackRule{Interval: time.Minute}, []step{{"1", "", "p", 0, false}, {"2", " ", "p", 1, false}, {"3", "", "p", 2, false}}},
		"off":                 {LoopbackRule{}, []step{{"1", "a@x", "p", 0, false}, {"2", "a@x", "p", 1, false}}},
		"the clock was set back a year": {LoopbackRule{Interval: time.Minute}, []step{
			{"1", "a@x", "p", 0, false}, {"2", "a@x", "p", -365 * 24 * time.Hour, false}, {"3", "a@x", "p", -365*24*time.Hour + 1, true},
		}},
		"set back a little": {LoopbackRule{Interval: time.Minute}, []step{{"1", "a@x", "p", 0, false}, {"2", "a@x", "p", -time.Second, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newSpool(t, tempRoot(t)).Loopback()
			for i, s := range c.steps {
				got := l.Check(c.rule, s.profile, s.sender, s.id, at(s.after))
				assert.Equal(t, got, l.Check(c.rule, s.profile, s.sender, s.id, at(s.after)), "Check is pure")
				assert.Equal(t, s.want, got, "step %d: %+v", i, s)
				l.Commit(c.rule, s.profile, s.sender, s.id, at(s.after))
			}
		})
	}
}

func TestLoopbackSurvivesAndIsShared(t *testing.T) {
	root := tempRoot(t)
	rule := LoopbackRule{Interval: time.Hour}
	now := time.Now()
	a, b := newSpool(t, root), newSpool(t, root)
	require.NoError(t, a.Loopback().Flush(t.Context()), "nothing to write")
	assert.Empty(t, tree(t, root))
	a.Loopback().Commit(rule, "p", "a@x", "1", now)
	b.Loopback().Commit(rule, "p", "b@x", "2", now)
	require.NoError(t, a.Loopback().Flush(t.Context()))
	require.NoError(t, b.Loopback().Flush(t.Context()), "merges")
	assert.Equal(t, []string{"loopback.json"}, tree(t, root))
	c := newSpool(t, root)
	assert.False(t, c.Loopback().Check(rule, "p", "a@x", "9", now))
	require.NoError(t, c.Loopback().Load())
	for _, sender := range []string{"a@x", "b@x"} {
		assert.True(t, c.Loopback().Check(rule, "p", sender, "9", now), sender)
	}
	assert.False(t, c.Loopback().Check(rule, "p", "a@x", "1", now), "the mail that blocked passes again after a crash")
	c.Loopback().Purge(now.Add(time.Hour))
	assert.False(t, c.Loopback().Check(rule, "p", "a@x", "9", now))
	require.NoError(t, a.Loopback().Load())
	assert.True(t, a.Loopback().Check(rule, "p", "b@x", "9", now))
}

func TestLoopbackExpiredStateLeavesNoFile(t *testing.T) {
	now := time.Now()
	s := newSpool(t, tempRoot(t), WithNow(func() time.Time { return now }))
	s.Loopback().Commit(LoopbackRule{Interval: time.Minute}, "p", "a@x", "1", now)
	require.NoError(t, s.Loopback().Flush(t.Context()))
	now = now.Add(time.Minute)
	s.Loopback().Purge(now)
	require.NoError(t, s.Loopback().Flush(t.Context()))
	assert.Empty(t, tree(t, s.Dir(Root)))
}

func TestLoopbackCorruptFileIsKeptAside(t *testing.T) {
	for name, content := range map[string]string{"garbage": "\x00\x00", "cut": `{"version":1,"entries":[{"sen`, "newer": `{"version":2}`, "empty": ""} {
		t.Run(name, func(t *testing.T) {
			s := newSpool(t, tempRoot(t))
			require.NoError(t, s.Prepare())
			require.NoError(t, os.WriteFile(s.Path(Root, loopbackFile), []byte(content), 0o600))
			l := s.Loopback()
			require.NoError(t, l.Load())
			rule := LoopbackRule{Interval: time.Hour}
			assert.False(t, l.Check(rule, "p", "a@x", "1", time.Now()))
			l.Commit(rule, "p", "a@x", "1", time.Now())
			require.NoError(t, l.Flush(t.Context()))
			require.Len(t, l.Warnings(), 1)
			b, err := os.ReadFile(s.Path(Root, loopbackFile+".corrupt-1"))
			require.NoError(t, err)
			assert.Equal(t, content, string(b))
			again := newSpool(t, s.Dir(Root))
			require.NoError(t, again.Loopback().Load())
			assert.True(t, again.Loopback().Check(rule, "p", "a@x", "2", time.Now()))
		})
	}
}

func TestLoopbackFlushFailsAndIsTriedAgain(t *testing.T) {
	disk := newFaultFS()
	s := newSpool(t, tempRoot(t), WithFS(disk))
	s.Loopback().Commit(LoopbackRule{Interval: time.Hour}, "p", "a@x", "1", time.Now())
	disk.fail = func(op, _ string) error {
		if op == "write" {
			return errFault
		}
		return nil
	}
	require.ErrorIs(t, s.Loopback().Flush(t.Context()), errFault)
	disk.fail = nil
	assert.Empty(t, tree(t, s.Dir(Root)), "no partial file")
	require.NoError(t, s.Loopback().Flush(t.Context()))
	assert.Equal(t, []string{loopbackFile}, tree(t, s.Dir(Root)))
}

func TestLoopbackFlushGivesUpWithItsContext(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	d, err := s.dir(Root)
	require.NoError(t, err)
	f, err := d.OpenAppend(loopbackFile + ".lock")
	require.NoError(t, err)
	ok, err := f.TryLock()
	require.NoError(t, err)
	require.True(t, ok)
	s.Loopback().Commit(LoopbackRule{Interval: time.Hour}, "p", "a@x", "1", time.Now())
	require.ErrorIs(t, s.Loopback().Flush(cancelled(t)), errLoopbackBusy)
	require.NoError(t, f.Close())
	require.NoError(t, s.Loopback().Flush(t.Context()))
}

func TestLoopbackFloodStaysBounded(t *testing.T) {
	s := newSpool(t, tempRoot(t), WithLoopbackEntries(1000))
	rule := LoopbackRule{Interval: time.Hour}
	now := time.Now()
	for i := range 100_000 {
		s.Loopback().Commit(rule, "p", fmt.Sprintf("sender%d@x", i), "id", now.Add(time.Duration(i)))
	}
	assert.LessOrEqual(t, len(s.loop.entries), 1000)
	assert.Greater(t, len(s.loop.entries), 900)
	assert.True(t, s.Loopback().Check(rule, "p", "sender99999@x", "other", now.Add(time.Second)), "the newest stay")
	assert.False(t, s.Loopback().Check(rule, "p", "sender0@x", "other", now.Add(time.Second)), "the oldest go")
	s.Loopback().Commit(rule, strings.Repeat("p", 10_000), strings.Repeat("s", 10_000), strings.Repeat("i", 10_000), now)
	for k, e := range s.loop.entries {
		require.LessOrEqual(t, len(k.profile)+len(k.sender)+len(e.cause), 3*maxLoopbackText)
	}
}
