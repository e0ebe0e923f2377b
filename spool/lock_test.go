package spool

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestF40SecondOpenerInTheSameProcess(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	for _, other := range []*Spool{s, newSpool(t, s.Dir(Root))} {
		_, err := other.Lock(testID)
		require.ErrorIs(t, err, ErrBusy, "F40")
		var be *BusyError
		require.True(t, errors.As(err, &be))
		assert.ErrorContains(t, err, "support@example.com", "F40: the error names the mailbox")
	}
	id := testID
	id.Folder = "Other"
	second, err := s.Lock(id)
	require.NoError(t, err, "another mailbox is free")
	require.NoError(t, second.Unlock())
	require.NoError(t, box.Unlock())
	mustLock(t, s)
}

func TestF40TwoProcessesAndAKilledHolder(t *testing.T) {
	root := tempRoot(t)
	s := newSpool(t, root)
	require.NoError(t, s.Prepare())
	said, cmd, _ := startHolder(t, root)
	require.Equal(t, "held", said)
	_, err := s.Lock(testID)
	require.ErrorIs(t, err, ErrBusy, "F40")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	box, err := s.Lock(testID)
	require.NoError(t, err, "F40: the lock of a killed process is free at once")
	said, _, end := startHolder(t, root)
	assert.Contains(t, said, ErrBusy.Error(), "F40: and we exclude others")
	assert.Error(t, end())
	require.NoError(t, box.Unlock())
	said, _, end = startHolder(t, root)
	require.Equal(t, "held", said)
	require.NoError(t, end())
	assert.Empty(t, tree(t, root), "no lock file stays")
}

func TestLockIsExclusiveUnderContention(t *testing.T) {
	root := fastRoot(t)
	var inside, entered atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		s := newSpool(t, root)
		wg.Go(func() {
			for range 100 {
				box, err := s.Lock(testID)
				if errors.Is(err, ErrBusy) {
					continue
				}
				if !assert.NoError(t, err) {
					return
				}
				assert.Equal(t, int32(1), inside.Add(1), "two holders")
				entered.Add(1)
				inside.Add(-1)
				assert.NoError(t, box.Unlock())
			}
		})
	}
	wg.Wait()
	assert.NotZero(t, entered.Load())
	assert.Empty(t, tree(t, root))
}

func TestF38NoDescriptorLeaks(t *testing.T) {
	fds := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc")
		}
		return len(list)
	}
	s := newSpool(t, tempRoot(t))
	require.NoError(t, newSession().play(s))
	before := fds()
	for range 5 {
		require.NoError(t, newSession().play(s))
		_, err := s.Sweep(false)
		require.NoError(t, err)
	}
	assert.Equal(t, before, fds(), "F38")
}
