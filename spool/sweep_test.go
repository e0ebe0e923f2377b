package spool

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSweepRemovesOnlyRubbish(t *testing.T) {
	root := tempRoot(t)
	s := newSpool(t, root)
	// A killed session: one mail with a handler in it, one fetched ahead, one half fetched.
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	entered := mustRaw(t, s, svc, "entered", 1)
	require.NoError(t, box.Append(Entered(entered)))
	ahead := mustRaw(t, s, svc, "ahead", 2)
	half, err := s.CreateIncoming(svc, "POP3", 3)
	require.NoError(t, err)
	require.NoError(t, half.file.Close())
	closeLikeAKill(t, box)
	// A living session of another mailbox.
	id := testID
	id.Account = "living"
	living, err := s.Lock(id)
	require.NoError(t, err)
	t.Cleanup(func() { _ = living.Unlock() })
	svc2 := s.NewService(1)
	require.NoError(t, living.Begin(svc2))
	prefetched := mustRaw(t, s, svc2, "x", 1)
	// Files of nobody's session, a living and a dead outgoing mail, a claim without a session line.
	require.NoError(t, os.WriteFile(s.Path(Incoming, "POP3_1_1_1_1_1_1.tmp"), nil, 0o600))
	require.NoError(t, os.WriteFile(s.Path(Incoming, "the-hosts.txt"), nil, 0o600))
	sending, err := s.CreateSent(svc2, 1)
	require.NoError(t, err)
	dead, err := s.CreateSent(svc2, 2)
	require.NoError(t, err)
	require.NoError(t, dead.o.file.Close())
	require.NoError(t, os.WriteFile(s.Path(Sent, "SMTP_1_1_1_1_1_1.tmp"), nil, 0o600)) // saved
	require.NoError(t, os.WriteFile(s.Path(IDs, claimName("9_9_9_9")), []byte(testID.base()+"\n"), 0o600))
	require.NoError(t, os.WriteFile(s.Path(Failed, "POP3_1_1_1_1_1_1.tmp.reason.part"), nil, 0o600))
	require.NoError(t, os.WriteFile(s.Path(Processed, "Probe_77"), nil, 0o600))

	rubbish := []string{
		s.Path(Incoming, ahead.Raw), s.Path(Incoming, ahead.Files[0]), half.Path() + ".part", dead.Path() + ".part",
		s.Path(Failed, "POP3_1_1_1_1_1_1.tmp.reason.part"), s.Path(Processed, "Probe_77"),
	}
	before := tree(t, root)
	got, err := newSpool(t, root).Sweep(true)
	require.NoError(t, err)
	assert.ElementsMatch(t, rubbish, withoutLocks(got), "dry run tells")
	assert.ElementsMatch(t, before, append(tree(t, root), withLocks(before, tree(t, root))...), "dry run changes nothing")
	got, err = newSpool(t, root).Sweep(false)
	require.NoError(t, err)
	assert.ElementsMatch(t, rubbish, withoutLocks(got))
	for _, f := range rubbish {
		assert.NoFileExists(t, f)
	}
	for _, f := range []string{
		s.Path(Incoming, entered.Raw), s.Path(Incoming, entered.Files[0]), s.Path(Incoming, prefetched.Raw), s.Path(Incoming, "POP3_1_1_1_1_1_1.tmp"),
		s.Path(Incoming, "the-hosts.txt"), sending.Path() + ".part", s.Path(Sent, "SMTP_1_1_1_1_1_1.tmp"),
	} {
		assert.FileExists(t, f)
	}
	require.NoError(t, sending.Save())
	box = mustLock(t, s)
	rec, ok := box.Lookup("entered")
	require.True(t, ok)
	assert.True(t, present(t, box, rec), "a repeat offers the same files")
	assert.Equal(t, 1, rec.Attempts)
	require.NoError(t, box.Append(Done("entered", OutcomeDelivered, DisposeDelete, "")))
	require.NoError(t, box.Prune(keepNone))
	require.NoError(t, box.Unlock())
	got, err = s.Sweep(false)
	require.NoError(t, err)
	assert.Empty(t, got)
	assert.NoFileExists(t, s.Path(IDs, claimName("9_9_9_9")), "a claim without a session line is removed")
	require.NoError(t, s.RemoveFile(Incoming, entered.Files[0]), "the host's until now")
}

func isLock(path string) bool { return filepath.Ext(path) == ".lock" }

func withoutLocks(paths []string) []string {
	var list []string
	for _, p := range paths {
		if !isLock(p) {
			list = append(list, p)
		}
	}
	return list
}

// withLocks gives the locks left by killed holders, which taking the lock for a look clears away.
func withLocks(before, after []string) []string {
	var list []string
	have := map[string]bool{}
	for _, p := range after {
		have[p] = true
	}
	for _, p := range before {
		if isLock(p) && !have[p] {
			list = append(list, p)
		}
	}
	return list
}

func TestSweepOfAnEmptySpool(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	got, err := s.Sweep(false)
	require.NoError(t, err)
	assert.Empty(t, got)
}

func TestSweepGoesOnAfterADamagedMailbox(t *testing.T) {
	root, current, _ := killedSession(t)
	s := newSpool(t, root)
	require.NoError(t, os.WriteFile(s.Path(IDs, "Current_other.ids"), []byte("garbage"), 0o600))
	got, err := s.Sweep(false)
	require.ErrorContains(t, err, "Current_other.ids")
	assert.Empty(t, withoutLocks(got), "all are named")
	assert.NoFileExists(t, current, "merged")
}
