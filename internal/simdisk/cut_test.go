package simdisk_test

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/internal/simdisk"
	"github.com/maildriver/maildriver/spool"
)

func opened(t *testing.T, d *simdisk.Disk, path string) spool.Dir {
	t.Helper()
	require.NoError(t, d.MkdirAll(path))
	h, err := d.OpenDir(path)
	require.NoError(t, err)
	return h
}

func write(t *testing.T, d spool.Dir, name, text string, sync bool) {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	_, err = io.WriteString(f, text)
	require.NoError(t, err)
	if sync {
		require.NoError(t, f.Sync())
	}
	require.NoError(t, f.Close())
}

// outcomes runs one program with many seeds, cuts the power, and counts what is found.
func outcomes(t *testing.T, program func(d *simdisk.Disk), look func(d *simdisk.Disk) string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(300) {
		d := simdisk.New(seed)
		program(d)
		d.CutNow()
		d.Reboot()
		seen[look(d)]++
	}
	return seen
}

func content(path string) func(*simdisk.Disk) string {
	return func(d *simdisk.Disk) string {
		b, ok := d.ReadFile(path)
		if !ok {
			return "missing"
		}
		return string(b)
	}
}

func TestOnlyWhatWasSyncedIsCertain(t *testing.T) {
	both := outcomes(t, func(d *simdisk.Disk) {
		h := opened(t, d, "/a")
		write(t, h, "f", "text", true)
		require.NoError(t, h.Sync())
		assert.True(t, d.Durable("/a/f"))
	}, content("/a/f"))
	assert.Equal(t, map[string]int{"text": 300}, both)

	noDir := outcomes(t, func(d *simdisk.Disk) {
		write(t, opened(t, d, "/a"), "f", "text", true)
		assert.False(t, d.Durable("/a/f"))
	}, content("/a/f"))
	assert.Len(t, noDir, 2, "there or not: %v", noDir)
	assert.Positive(t, noDir["missing"])

	noFile := outcomes(t, func(d *simdisk.Disk) {
		h := opened(t, d, "/a")
		write(t, h, "f", "text", false)
		require.NoError(t, h.Sync())
		assert.False(t, d.Durable("/a/f"))
	}, content("/a/f"))
	for _, want := range []string{"", "text", "te", "\x00\x00\x00\x00"} {
		assert.Positive(t, noFile[want], "%q among %v", want, noFile)
	}
}

func TestRenameIsNeverInNone(t *testing.T) {
	look := func(d *simdisk.Disk) string {
		_, a := d.ReadFile("/a/f")
		_, b := d.ReadFile("/b/f")
		return map[bool]string{true: "a"}[a] + map[bool]string{true: "b"}[b]
	}
	var first, second spool.Dir
	program := func(d *simdisk.Disk) {
		first, second = opened(t, d, "/a"), opened(t, d, "/b")
		write(t, first, "f", "text", true)
		require.NoError(t, first.Sync())
		require.NoError(t, d.Rename(first, "f", second, "f"))
	}
	free := outcomes(t, program, look)
	assert.Zero(t, free[""], "%v", free)
	for _, want := range []string{"a", "b", "ab"} {
		assert.Positive(t, free[want], "%v", free)
	}
	newFirst := outcomes(t, func(d *simdisk.Disk) { program(d); require.NoError(t, second.Sync()) }, look)
	assert.Zero(t, newFirst["a"]+newFirst[""], "%v", newFirst)
	oldFirst := outcomes(t, func(d *simdisk.Disk) { program(d); require.NoError(t, first.Sync()) }, look)
	assert.Positive(t, oldFirst[""], "the wrong order loses the file: %v", oldFirst)
}

func TestReplaceShowsOldOrNew(t *testing.T) {
	seen := outcomes(t, func(d *simdisk.Disk) {
		h := opened(t, d, "/a")
		write(t, h, "f", "old", true)
		require.NoError(t, h.Sync())
		write(t, h, "f.part", "new", true)
		require.NoError(t, d.Replace(h, "f.part", "f"))
	}, content("/a/f"))
	assert.Len(t, seen, 2)
	assert.Positive(t, seen["old"])
	assert.Positive(t, seen["new"])
}

func TestFailedSyncIsFinal(t *testing.T) {
	seen := outcomes(t, func(d *simdisk.Disk) {
		h := opened(t, d, "/a")
		f, err := h.Create("f")
		require.NoError(t, err)
		_, err = io.WriteString(f, "lost")
		require.NoError(t, err)
		d.FailAt(1, syscall.EIO, false)
		require.ErrorIs(t, f.Sync(), syscall.EIO)
		require.Equal(t, 1, d.Heal())
		require.NoError(t, f.Sync(), "the kernel forgets")
		require.NoError(t, h.Sync())
		b, _ := d.ReadFile("/a/f")
		assert.Equal(t, "lost", string(b), "still in the cache")
		assert.False(t, d.Durable("/a/f"))
	}, content("/a/f"))
	assert.Zero(t, seen["lost"], "%v", seen)
}

func TestFaults(t *testing.T) {
	d := simdisk.New(1)
	h := opened(t, d, "/a")
	f, err := h.Create("f")
	require.NoError(t, err)
	d.FailAt(1, syscall.ENOSPC, false)
	_, err = h.Lstat("f") // no space is needed for this
	require.NoError(t, err)
	n, err := io.WriteString(f, "12345678")
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.Equal(t, 4, n)
	_, err = io.WriteString(f, "12345678")
	require.NoError(t, err, "one shot")

	d.FailAt(2, syscall.EMFILE, true)
	_, err = h.Lstat("f")
	require.NoError(t, err)
	for range 3 {
		_, err = h.Open("f")
		require.ErrorIs(t, err, syscall.EMFILE)
	}
	assert.Equal(t, 3, d.Heal())
	assert.Equal(t, 1, d.OpenFiles())
}

func TestCutEndsEverythingUntilTheReboot(t *testing.T) {
	for _, kill := range []bool{false, true} {
		d := simdisk.New(3)
		h := opened(t, d, "/a")
		f, err := h.OpenAppend("lock")
		require.NoError(t, err)
		ok, err := f.TryLock()
		require.True(t, ok && err == nil)
		if kill {
			d.KillAt(2)
		} else {
			d.CutPowerAt(2)
		}
		_, err = io.WriteString(f, strings.Repeat("x", 100))
		require.NoError(t, err)
		require.ErrorIs(t, f.Sync(), simdisk.ErrDown)
		assert.True(t, d.Down())
		_, err = h.Lstat("lock")
		require.ErrorIs(t, err, simdisk.ErrDown)
		_, err = d.OpenDir("/a")
		require.ErrorIs(t, err, simdisk.ErrDown)
		require.ErrorIs(t, d.Step("handler"), simdisk.ErrDown)
		d.Reboot()
		require.ErrorIs(t, f.Sync(), simdisk.ErrDown, "handles do not outlive it")
		require.Error(t, f.Close())
		h, err = d.OpenDir("/a")
		require.NoError(t, err)
		if kill {
			b, _ := d.ReadFile("/a/lock")
			assert.Len(t, b, 100, "a kill loses nothing that was written")
		}
		f, err = h.OpenAppend("lock")
		require.NoError(t, err)
		ok, err = f.TryLock()
		require.NoError(t, err)
		assert.True(t, ok, "the lock went with the process")
		require.NoError(t, f.Close())
	}
}

func TestLies(t *testing.T) {
	d := simdisk.New(5)
	h := opened(t, d, "/a")
	d.Lie(func(c simdisk.Call) bool { return c.Op == simdisk.OpSync && strings.HasPrefix(c.Name, "ATT_") })
	write(t, h, "ATT_1", "x", true)
	write(t, h, "other", "x", true)
	require.NoError(t, h.Sync())
	assert.False(t, d.Durable("/a/ATT_1"))
	assert.True(t, d.Durable("/a/other"))
	d.Lie(nil)
	d.Rewrite(func(_ simdisk.Call, p []byte) []byte { return p[:0] })
	write(t, h, "empty", "text", true)
	b, ok := d.ReadFile("/a/empty")
	assert.True(t, ok && len(b) == 0)
	d.Forget("/a/empty")
	assert.False(t, errors.Is(h.Remove("empty"), nil))
}
