package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func move(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.Rename(from, to))
}

// killedSession leaves a Current with five appends, and its files.
func killedSession(t *testing.T) (root, current string, recs []Record) {
	root = tempRoot(t)
	s := newSpool(t, root)
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	for i := range 5 {
		recs = append(recs, mustRaw(t, s, svc, fmt.Sprintf("k%d", i), uint64(i+1)))
		require.NoError(t, box.Append(Entered(recs[i])))
	}
	closeLikeAKill(t, box)
	return root, s.Path(IDs, "Current_"+testID.base()+".ids"), recs
}

func TestF33DamagedRecords(t *testing.T) {
	for name, c := range map[string]struct {
		damage  func(b []byte) []byte
		known   int
		warned  bool
		swept   bool // files of lost records may be swept only after a write that was cut short
		version bool
	}{
		"intact":            {func(b []byte) []byte { return b }, 5, false, true, false},
		"empty":             {func([]byte) []byte { return nil }, 0, false, false, false},
		"torn last line":    {func(b []byte) []byte { return b[:len(b)-7] }, 4, true, true, false},
		"no newline at end": {func(b []byte) []byte { return b[:len(b)-1] }, 4, true, true, false},
		// Zeros at the end are room, or a write of which nothing reached the disk: nobody relied on that.
		"NULs at the end":              {func(b []byte) []byte { return append(b, make([]byte, 3*maxLine)...) }, 5, false, true, false},
		"NULs for the last":            {func(b []byte) []byte { clear(b[lastLine(b):]); return b }, 4, false, true, false},
		"NULs behind half of the last": {func(b []byte) []byte { clear(b[lastLine(b)+20:]); return b }, 4, true, true, false},
		"NULs before half of the last": {func(b []byte) []byte { clear(b[lastLine(b) : lastLine(b)+20]); return b }, 4, true, true, false},
		"NULs for one in the middle": {func(b []byte) []byte {
			i := bytes.Index(b, []byte("entered k2"))
			clear(b[i : i+bytes.IndexByte(b[i:], '\n')])
			return b
		}, 4, true, false, false},
		"bad checksum in the middle": {func(b []byte) []byte {
			i := bytes.Index(b, []byte("entered k2"))
			b[i+9] = '7'
			return b
		}, 4, true, false, false},
		"bad header": {func(b []byte) []byte {
			b[bytes.Index(b, []byte("p=POP3"))+2] = 'X'
			return b
		}, 5, true, false, false},
		"lost session line": {func(b []byte) []byte {
			i := bytes.Index(b, []byte("session"))
			j := bytes.Index(b[i:], []byte("\n"))
			return append(b[:i:i], b[i+j+1:]...)
		}, 0, true, false, false},
		"long garbage": {func(b []byte) []byte { return append(b, bytes.Repeat([]byte("x"), 3*maxLine)...) }, 5, true, true, false},
		"unknown version": {func(b []byte) []byte {
			return bytes.Replace(b, []byte("maildriver-ids 1 "), []byte("maildriver-ids 2 "), 1)
		}, 0, false, false, true},
		"a newer field": {func(b []byte) []byte {
			c := codec{seed: headerSeed(testID.header()), ctx: prefixIn(b)}
			return c.end(b, "entered k9 z=1")
		}, 0, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			root, current, recs := killedSession(t)
			b, err := os.ReadFile(current)
			require.NoError(t, err)
			require.Zero(t, b[len(b)-1], "room is kept behind the lines")
			b = bytes.TrimRight(b, "\x00")
			require.NoError(t, os.WriteFile(current, c.damage(b), 0o600))
			damaged, err := os.ReadFile(current)
			require.NoError(t, err)
			s := newSpool(t, root)
			box, err := s.Lock(testID)
			if c.version {
				var ve *VersionError
				require.True(t, errors.As(err, &ve), "F33: %v", err)
				after, err := os.ReadFile(current)
				require.NoError(t, err)
				assert.Equal(t, damaged, after, "F33: a newer file is not touched")
				return
			}
			require.NoError(t, err)
			known := 0
			for _, r := range recs {
				if got, ok := box.Lookup(r.Key); ok {
					known++
					assert.Equal(t, r.Raw, got.Raw)
					assert.True(t, present(t, box, got), "F33: %s", r.Key)
				}
			}
			assert.Equal(t, c.known, known, "F33")
			assert.Equal(t, c.warned, len(box.Warnings()) > 0, "F33: %v", box.Warnings())
			_, asideErr := os.Stat(current + ".corrupt-1")
			assert.Equal(t, c.warned, asideErr == nil, "F33: the bad part is kept aside")
			files := len(tree(t, root+"/incoming"))
			if c.swept {
				assert.Equal(t, 2*known, files, "F33")
			} else {
				assert.Equal(t, 10, files, "F33: nothing is swept when a record may be lost")
			}
			require.NoError(t, box.Unlock())
			box, err = newSpool(t, root).Lock(testID)
			require.NoError(t, err)
			assert.Empty(t, box.Warnings(), "F33: told once")
			_, ok := box.Lookup("k4")
			assert.Equal(t, known > 4 || strings.Contains(name, "middle"), ok)
			require.NoError(t, box.Unlock())
		})
	}
}

func prefixIn(b []byte) string {
	_, rest, _ := bytes.Cut(b, []byte("session "))
	p, _, _ := bytes.Cut(rest, []byte(" "))
	return string(p)
}

func TestF33SizeCap(t *testing.T) {
	root, current, _ := killedSession(t)
	require.NoError(t, os.Truncate(current, 1<<30)) // sparse
	_, err := newSpool(t, root).Lock(testID)
	var se *SizeError
	require.True(t, errors.As(err, &se), "F33: %v", err)
	assert.Equal(t, int64(1<<30), se.Size)
	assert.Equal(t, int64(DefaultIDsLimit), se.Limit)
	_, err = newSpool(t, root, WithIDsLimit(1<<10)).Lock(testID)
	require.True(t, errors.As(err, &se))
}

func TestCorruptPreviousKeepsTheRest(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	for i := range 100 {
		require.NoError(t, box.Append(Done(fmt.Sprintf("k%02d", i), OutcomeDelivered, DisposeKeep, "")))
	}
	require.NoError(t, box.Prune(nil))
	require.NoError(t, box.Unlock())
	path := s.Path(IDs, "Previous_"+testID.base()+".ids")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)/2] ^= 0x20
	require.NoError(t, os.WriteFile(path, b, 0o600))
	box = mustLock(t, s)
	known := 0
	for i := range 100 {
		if _, ok := box.Lookup(fmt.Sprintf("k%02d", i)); ok {
			known++
		}
	}
	assert.Equal(t, 99, known, "F33: one bad line costs one mail, not all behind it")
	require.Len(t, box.Warnings(), 1)
	assert.Contains(t, box.Warnings()[0], "corrupt-1")
}

func TestFinishesInterruptedDisposals(t *testing.T) {
	root := tempRoot(t)
	s := newSpool(t, root)
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	how := []Disposal{DisposeDelete, DisposeProcessed, DisposeFailed, DisposeLoopback, DisposeKeep}
	raws := map[Disposal]string{}
	for i, d := range how {
		rec := mustRaw(t, s, svc, d.String(), uint64(i+1))
		raws[d] = rec.Raw
		require.NoError(t, s.RemoveFile(Incoming, rec.Files[0]))
		rec.Files = nil
		require.NoError(t, box.Append(DoneRecord(rec, OutcomeFailed, d, "because")))
	}
	closeLikeAKill(t, box)
	dry, err := newSpool(t, root).Sweep(true)
	require.NoError(t, err)
	assert.Len(t, dry, 4, "%v", dry)
	box = mustLock(t, s)
	assert.Empty(t, box.Warnings())
	require.NoError(t, box.Prune(keepNone))
	require.NoError(t, box.Unlock())
	assert.ElementsMatch(t, []string{
		"processed/" + raws[DisposeProcessed], "failed/" + raws[DisposeFailed], "failed/" + raws[DisposeFailed] + ".reason",
		"loopback/" + raws[DisposeLoopback], "incoming/" + raws[DisposeKeep],
	}, tree(t, root))
}

func lastLine(b []byte) int { return bytes.LastIndexByte(b[:len(b)-1], '\n') + 1 }

func TestLinesStayNear128Bytes(t *testing.T) {
	root, current, _ := killedSession(t)
	_ = root
	b, err := os.ReadFile(current)
	require.NoError(t, err)
	for _, l := range strings.Split(strings.TrimRight(string(b), "\x00"), "\n") {
		assert.LessOrEqual(t, len(l), 160, l)
	}
}

func FuzzIDs(f *testing.F) {
	c := codec{seed: headerSeed(testID.header())}
	head, _ := headerLine(testID)
	good := c.session(append([]byte(nil), head...), "1_2_3_4")
	rec := &Record{Key: "k1", EventID: "e 1", Raw: "POP3_1_2_3_4_5_6.tmp", Files: []string{"ATT_1_2_3_4_5_1_6.dat"}, Attempts: 1}
	good, err := c.record(good, StateEntered, rec, tagsEntered)
	require.NoError(f, err)
	good, err = c.record(good, StateDone, &Record{Key: "k1", Outcome: OutcomeFailed, Reason: "~ %"}, tagsEnd)
	require.NoError(f, err)
	f.Add(good, good)
	f.Add(good[:len(good)-3], []byte{})
	f.Add([]byte("maildriver-ids 2 x\n"), bytes.Repeat([]byte{0}, 100))
	f.Add(append(head, "entered k 00000000\n"...), good[5:])
	s := newSpool(f, fastRoot(f))
	require.NoError(f, s.Prepare())
	f.Fuzz(func(t *testing.T, previous, current []byte) {
		p, c := s.Path(IDs, "Previous_"+testID.base()+".ids"), s.Path(IDs, "Current_"+testID.base()+".ids")
		require.NoError(t, os.WriteFile(p, previous, 0o600))
		require.NoError(t, os.WriteFile(c, current, 0o600))
		box, err := s.Lock(testID)
		if err != nil {
			require.NoError(t, os.Remove(p))
			require.NoError(t, os.Remove(c))
			return
		}
		want := map[string]string{}
		for r := range box.Records() {
			want[r.Key] = fmt.Sprint(r.State, r.Attempts, r.Errors, r.Outcome)
			require.Equal(t, r.Key, StoredKey(r.Key))
		}
		require.NoError(t, box.Unlock())
		box, err = s.Lock(testID)
		require.NoError(t, err)
		got := map[string]string{}
		for r := range box.Records() {
			got[r.Key] = fmt.Sprint(r.State, r.Attempts, r.Errors, r.Outcome)
		}
		require.Equal(t, want, got, "what was read once is read again")
		require.NoError(t, box.Prune(keepNone))
		require.NoError(t, box.Unlock())
		for n := 1; n <= maxAside; n++ {
			_ = os.Remove(fmt.Sprintf("%s.corrupt-%d", p, n))
			if os.Remove(fmt.Sprintf("%s.corrupt-%d", c, n)) != nil && n > 2 {
				break
			}
		}
	})
}
