package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRecordLifeOfAMail(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	rec := mustRaw(t, s, svc, "uid1", 1)
	later := time.Now().Add(time.Hour)
	for _, step := range []struct {
		do               Change
		state            State
		attempts, errors int
		waits            bool
	}{
		{Entered(rec), StateEntered, 1, 0, false},
		{Refused("uid1", later), StateRefused, 0, 1, true},
		{Entered(rec), StateEntered, 1, 1, false},
		{Entered(rec), StateEntered, 2, 1, false}, // killed in between
		{Crashed("uid1", later), StateCrashed, 2, 1, true},
		{Crashed("uid1", later), StateCrashed, 3, 1, true}, // the parser, before any handler
		{Entered(rec), StateEntered, 4, 1, false},
		{Interrupted("uid1"), StateRefused, 3, 1, false},
		{Done("uid1", OutcomeFailed, DisposeFailed, "two\nlines"), StateDone, 3, 1, false},
	} {
		require.NoError(t, box.Append(step.do))
		check := func(b *Mailbox, when string) {
			got, ok := b.Lookup("uid1")
			require.True(t, ok)
			assert.Equal(t, step.state, got.State, when)
			assert.Equal(t, step.attempts, got.Attempts, "%s %s", step.state, when)
			assert.Equal(t, step.errors, got.Errors, "%s %s", step.state, when)
			assert.Equal(t, step.waits, !got.NotBefore.IsZero(), when)
			assert.Equal(t, rec.EventID, got.EventID, when)
			assert.Equal(t, rec.Raw, got.Raw, when)
			assert.Equal(t, rec.Files, got.Files, when)
		}
		check(box, "at once")
		check(reread(t, box), "read back")
	}
	got, _ := box.Lookup("uid1")
	assert.Equal(t, "two lines", got.Reason)
	assert.True(t, present(t, box, got))
	assert.False(t, present(t, box, Record{}))
}

// reread gives a mailbox that knows only what is in the files.
func reread(t *testing.T, box *Mailbox) *Mailbox {
	m := &Mailbox{
		s: box.s, id: box.id, base: box.base, dir: box.dir,
		changed: map[string]*Record{}, hidden: map[string]bool{}, hosts: map[string]bool{}, dropped: map[string]bool{},
	}
	var err error
	m.prev, err = m.load(m.previousName(), true)
	require.NoError(t, err)
	_, err = m.load(m.currentName(), true)
	require.NoError(t, err)
	m.done.finish()
	return m
}

func TestIdleMailboxLeavesNoFile(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	require.NoError(t, box.Prune(keepNone))
	require.NoError(t, box.Unlock())
	require.NoError(t, box.Unlock(), "idempotent")
	assert.Empty(t, tree(t, s.Dir(Root)))
	assert.ErrorIs(t, box.Append(Gone("x")), ErrUnlocked)
	assert.ErrorIs(t, box.Begin(s.NewService(1)), ErrUnlocked)
	assert.ErrorIs(t, box.Prune(nil), ErrUnlocked)
}

func TestPrunedSessionLeavesOnlyWhatIsTheHosts(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	a, b := mustRaw(t, s, svc, "a", 1), mustRaw(t, s, svc, "b", 2)
	stray := mustRaw(t, s, svc, "prefetched", 3)
	unfinished, err := s.CreateIncoming(svc, "POP3", 4)
	require.NoError(t, err)
	require.NoError(t, box.Append(Entered(a)))
	require.NoError(t, box.Append(Done("a", OutcomeDelivered, DisposeDelete, ""), Entered(b)))
	require.NoError(t, box.Append(Done("b", OutcomeDelivered, DisposeProcessed, "")))
	require.NoError(t, s.RemoveFile(Incoming, a.Raw)) // the disposal of b is left to Prune
	require.NoError(t, box.Prune(func(k string) bool { return k == "b" }))
	assert.Equal(t, []string{
		"Lock_" + testID.base() + ".lock", "Previous_" + testID.base() + ".ids",
		"incoming/" + a.Files[0], "incoming/" + b.Files[0], "processed/" + b.Raw,
	}, tree(t, s.Dir(Root)), "not %s", stray.Raw)
	_ = unfinished.Abort()
	_, ok := box.Lookup("a")
	assert.False(t, ok)
	got, ok := box.Lookup("b")
	assert.True(t, ok)
	assert.Equal(t, StateDone, got.State)

	_, err = s.CreateIncoming(svc, "POP3", 5)
	assert.ErrorIs(t, err, ErrNoSession)
	assert.ErrorIs(t, box.Begin(svc), ErrSessionUsed)

	before, err := os.Stat(s.Path(IDs, box.previousName()))
	require.NoError(t, err)
	require.NoError(t, box.Prune(func(string) bool { return true }))
	after, err := os.Stat(s.Path(IDs, box.previousName()))
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after), "nothing to change, nothing written")
	require.NoError(t, box.Prune(keepNone))
	require.NoError(t, box.Unlock())
	assert.Equal(t, []string{"incoming/" + a.Files[0], "incoming/" + b.Files[0], "processed/" + b.Raw}, tree(t, s.Dir(Root)))
}

func TestPruneKeepsWhatIsNotDone(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	rec := mustRaw(t, s, svc, "open", 1)
	require.NoError(t, box.Append(Entered(rec)))
	require.NoError(t, box.Append(Refused("open", time.Time{}), Crashed("parser", time.Now()), Done("old", OutcomeDelivered, DisposeKeep, "")))
	require.NoError(t, box.Prune(keepNone))
	require.NoError(t, box.Unlock())
	box = mustLock(t, s)
	var keys []string
	for r := range box.Unfinished() {
		keys = append(keys, r.Key)
	}
	assert.ElementsMatch(t, []string{"open", "parser"}, keys)
	got, _ := box.Lookup("open")
	assert.Equal(t, rec.Raw, got.Raw)
	assert.True(t, present(t, box, got))
	require.NoError(t, box.Append(Gone("open"), Gone("parser")))
	_, ok := box.Lookup("open")
	assert.False(t, ok)
	require.NoError(t, box.Prune(keepNone))
	require.NoError(t, box.Unlock())
	assert.Empty(t, tree(t, s.Dir(Root)), "the files of a mail that is gone go with its record")
}

func TestLongAndOddKeys(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	keys := []string{"", "plain", "sp ace", "new\nline", "caf\xe9", strings.Repeat("k", 70), strings.Repeat("k", 71), strings.Repeat("AAMk", 500), "sha256:short", "%41", "a=b"}
	var set KeySet
	for i, k := range keys {
		require.NoError(t, box.Append(DoneRecord(Record{Key: k, Size: int64(i + 1), HeaderHash: "00ff00ff00ff00ff00ff"}, OutcomeDelivered, DisposeKeep, "")))
		set.Add(k)
	}
	assert.Equal(t, len(keys), set.Len())
	require.NoError(t, box.Prune(set.Has))
	require.NoError(t, box.Unlock())
	box = mustLock(t, s)
	assert.Len(t, box.done.list, len(keys))
	for i, k := range keys {
		got, ok := box.Lookup(k)
		require.True(t, ok, "%.20q", k)
		assert.Equal(t, k, got.Key)
		assert.Equal(t, int64(i+1), got.Size)
		assert.False(t, got.HashDiffers("00FF00FF00ff00ffabcd"))
		assert.True(t, got.HashDiffers("01FF00FF00ff00ff"))
		assert.Equal(t, StoredKey(k), StoredKey(StoredKey(k)))
		again, ok := box.Lookup(StoredKey(k))
		assert.True(t, ok && again.Size == got.Size, "a stored key is as good")
	}
	n := 0
	for r := range box.Records() {
		assert.True(t, set.Has(r.Key))
		n++
	}
	assert.Equal(t, len(keys), n)
	for range box.Records() {
		break // must not leak the file
	}
	_, ok := box.Lookup("never")
	assert.False(t, ok)
}

func TestF14ReusedUIDL(t *testing.T) {
	r := Record{Size: 100, HeaderHash: "0123456789abcdef"}
	for _, c := range []struct {
		size int64
		hash string
		want bool
	}{
		{100, "0123456789abcdef", false},
		{101, "0123456789abcdef", false},
		{100, "f", false},
		{101, "f123456789abcdef", true},
		{101, "", false},
		{0, "f123456789abcdef", false},
	} {
		assert.Equal(t, c.want, r.DifferentMail(c.size, c.hash), "F14: %d %s", c.size, c.hash)
	}
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	first := mustRaw(t, s, svc, "k", 1)
	require.NoError(t, box.Append(Entered(first)))
	require.NoError(t, box.Append(Done("k", OutcomeDelivered, DisposeDelete, "")))
	second := mustRaw(t, s, svc, "k", 2)
	require.NoError(t, box.Append(Entered(second)))
	got, _ := box.Lookup("k")
	assert.Equal(t, 1, got.Attempts, "a new mail begins anew")
	require.NoError(t, box.Unlock())
	box = mustLock(t, s)
	assert.FileExists(t, s.Path(Incoming, first.Files[0]), "the first mail's files are the host's")
	assert.True(t, present(t, box, second))
}

func TestLookupWhileAppending(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			box.Lookup(fmt.Sprint(i))
		}
	}()
	for i := range 50 {
		require.NoError(t, box.Append(Done(fmt.Sprint(i), OutcomeDelivered, DisposeKeep, "")))
	}
	<-done
}

func TestAppendRefusesWhatCannotBeWritten(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	require.NoError(t, box.Append())
	require.NoError(t, box.Append(Entered(Record{Key: "k", Raw: "POP3_1_1_1_1_1_1.tmp"})))
	for name, ch := range map[string]Change{
		"a path":          Entered(Record{Key: "k", Raw: "../x"}),
		"a path in files": Entered(Record{Key: "k", Files: []string{"a/b"}}),
		"negative":        Entered(Record{Key: "k", Size: -1}),
		"too long":        Entered(Record{Key: "k", EventID: strings.Repeat("x", maxLine)}),
	} {
		assert.Error(t, box.Append(Done("k", OutcomeDelivered, DisposeKeep, ""), ch), name)
		got, ok := box.Lookup("k")
		assert.True(t, ok && got.State == StateEntered, "%s: nothing of a refused call counts", name)
	}
	require.NoError(t, box.Append(Done("k", OutcomeDelivered, DisposeKeep, "")), "and the session goes on")
}

func TestRejectedRepeatGivesUpItsFiles(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	rec := mustRaw(t, s, svc, "k", 1)
	require.NoError(t, box.Append(Entered(rec)))
	require.NoError(t, box.Unlock())

	box = mustLock(t, s) // another session: nothing but the record leads to the files now
	got, ok := box.Lookup("k")
	require.True(t, ok)
	got.Files = nil
	require.NoError(t, box.Append(DoneRecord(got, OutcomeFailed, DisposeFailed, "poison")))
	closeLikeAKill(t, box)

	box = mustLock(t, s)
	require.NoError(t, box.Prune(keepNone))
	require.NoError(t, box.Unlock())
	assert.Equal(t, []string{"failed/" + rec.Raw, "failed/" + rec.Raw + ".reason"}, tree(t, s.Dir(Root)))
	b, err := os.ReadFile(filepath.Join(s.Dir(Failed), rec.Raw+".reason"))
	require.NoError(t, err)
	assert.Equal(t, "poison\n", string(b))
}

// closeLikeAKill frees what the kernel frees, and does nothing else.
func closeLikeAKill(t *testing.T, box *Mailbox) {
	t.Helper()
	box.mu.Lock()
	defer box.mu.Unlock()
	if box.current != nil {
		require.NoError(t, box.current.f.Close())
	}
	require.NoError(t, box.lock.Close())
	box.closed = true
}

func TestSessionOfAnotherContainer(t *testing.T) {
	// Two containers on one volume: the same process id, the same handles, the same second.
	root := tempRoot(t)
	now := WithNow(func() time.Time { return time.Unix(1000, 0) })
	s1, s2 := newSpool(t, root, now), newSpool(t, root, now)
	svc1, svc2 := s1.NewService(1), s2.NewService(1)
	svc2.handle = svc1.handle
	require.Equal(t, svc1.Prefix(), svc2.Prefix())
	box1 := mustLock(t, s1)
	other := testID
	other.Account = "other"
	box2, err := s2.Lock(other)
	require.NoError(t, err)
	require.NoError(t, box1.Begin(svc1))
	require.NoError(t, box2.Begin(svc2))
	assert.NotEqual(t, svc1.Prefix(), svc2.Prefix())
	rec1, rec2 := mustRaw(t, s1, svc1, "a", 1), mustRaw(t, s2, svc2, "b", 1)
	closeLikeAKill(t, box1)
	box1 = mustLock(t, s1)
	assert.NoFileExists(t, s1.Path(Incoming, rec1.Raw), "no record names it")
	assert.FileExists(t, s2.Path(Incoming, rec2.Raw), "the other's")

	// A session that has ended leaves files to its host: their prefix is not given out again.
	require.NoError(t, box2.Append(Entered(rec2)))
	require.NoError(t, box2.Append(Done("b", OutcomeDelivered, DisposeKeep, "")))
	require.NoError(t, box2.Prune(keepNone))
	require.NoError(t, box2.Unlock())
	svc3 := s1.NewService(1)
	svc3.handle, svc3.created = svc2.handle, svc2.created
	require.NoError(t, box1.Begin(svc3))
	assert.NotEqual(t, svc2.Prefix(), svc3.Prefix())
	closeLikeAKill(t, box1)
	mustLock(t, s1)
	assert.FileExists(t, s2.Path(Incoming, rec2.Raw))
	assert.FileExists(t, s2.Path(Incoming, rec2.Files[0]))
}
