package spool

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Only Current has room: zeros in Previous are lost records, and nobody may take them for an empty mailbox.
func TestF33ZeroedPrevious(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	require.NoError(t, box.Append(Entered(mustRaw(t, s, svc, "k1", 1))))
	require.NoError(t, box.Append(Done("k1", OutcomeDelivered, DisposeDelete, "")))
	require.NoError(t, box.Prune(nil))
	require.NoError(t, box.Unlock())
	prev := s.Path(IDs, box.previousName())
	b, err := os.ReadFile(prev)
	require.NoError(t, err)
	for _, from := range []int{0, bytes.IndexByte(b, '\n') + 1} {
		c := bytes.Clone(b)
		clear(c[from:])
		require.NoError(t, os.WriteFile(prev, c, 0o600))
		box := mustLock(t, newSpool(t, s.Dir(Root)))
		assert.NotEmpty(t, box.Warnings(), "F33: zeros from %d", from)
		assert.True(t, box.damaged, "F33")
		require.NoError(t, box.Unlock())
		require.FileExists(t, prev+".corrupt-1", "F33")
		require.NoError(t, os.Remove(prev+".corrupt-1"))
	}
}

// The room must not make a file that the limit then refuses.
func TestRoomStaysBelowTheLimit(t *testing.T) {
	root := tempRoot(t)
	limit := WithIDsLimit(4 << 10)
	s := newSpool(t, root, limit)
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	require.NoError(t, box.Append(Entered(mustRaw(t, s, svc, "k1", 1))))
	closeLikeAKill(t, box)
	box = mustLock(t, newSpool(t, root, limit))
	_, ok := box.Lookup("k1")
	assert.True(t, ok)
	require.NoError(t, box.Unlock())
}

// Lines that fit into a page lie on one, whatever their lengths, and all of them are found again.
func TestLinesDoNotCrossPages(t *testing.T) {
	root := tempRoot(t)
	s := newSpool(t, root)
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	const n = 200
	var keys []string
	gaps := 0
	for i := range uint64(n) {
		key := string(rune('a'+i%26)) + string(bytes.Repeat([]byte("k"), int(i%61))) + string(rune('a'+i/26))
		before := box.current.end
		require.NoError(t, box.Append(Entered(mustRaw(t, s, svc, key, i+1))))
		b, err := os.ReadFile(s.Path(IDs, box.currentName()))
		require.NoError(t, err)
		from := before + int64(len(b[before:])-len(bytes.TrimLeft(b[before:], "\x00")))
		assert.Equal(t, from/pageSize, (box.current.end-1)/pageSize, "record %d", i)
		if from != before {
			gaps++
		}
		keys = append(keys, key)
	}
	assert.Positive(t, gaps)
	closeLikeAKill(t, box)
	box = mustLock(t, newSpool(t, root))
	assert.Empty(t, box.Warnings())
	for _, key := range keys {
		_, ok := box.Lookup(key)
		assert.True(t, ok, key)
	}
	require.NoError(t, box.Unlock())
}

// endFile is a File whose Write goes on at the end, as one opened for appending does.
type endFile struct{ File }

func (f endFile) Write(p []byte) (int, error) {
	n, err := f.Size()
	if err != nil {
		return 0, err
	}
	return f.WriteAt(p, n)
}

type endFS struct{ FS }

func (f endFS) OpenDir(p string) (Dir, error) { d, err := f.FS.OpenDir(p); return endDir{d}, err }

func (f endFS) Rename(a Dir, n string, b Dir, m string) error {
	return f.FS.Rename(a.(endDir).Dir, n, b.(endDir).Dir, m)
}

func (f endFS) Replace(a Dir, n, m string) error { return f.FS.Replace(a.(endDir).Dir, n, m) }

type endDir struct{ Dir }

func (d endDir) Create(n string) (File, error) {
	f, err := d.Dir.Create(n)
	if err != nil {
		return nil, err
	}
	return endFile{f}, nil
}

func (d endDir) Same(n string, f File) (bool, error) {
	if e, ok := f.(endFile); ok {
		f = e.File
	}
	return d.Dir.Same(n, f)
}

func TestRecordsDoNotDependOnWhereWriteGoesOn(t *testing.T) {
	root := tempRoot(t)
	s := newSpool(t, root, WithFS(endFS{OS()}))
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	require.NoError(t, box.Append(Entered(mustRaw(t, s, svc, "k1", 1))))
	closeLikeAKill(t, box)
	box = mustLock(t, newSpool(t, root, WithFS(endFS{OS()})))
	_, ok := box.Lookup("k1")
	assert.True(t, ok, "an entered mail that is forgotten comes again unmarked")
	require.NoError(t, box.Unlock())
}
