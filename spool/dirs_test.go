//go:build unix && !solaris

package spool

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewDoesNoIOAndNamesEveryBadOption(t *testing.T) {
	root := tempRoot(t)
	s, err := New(root)
	require.NoError(t, err)
	assert.NoDirExists(t, root)
	assert.Equal(t, filepath.Join(root, "incoming"), s.Dir(Incoming))
	assert.Equal(t, root, s.Dir(IDs))
	assert.Empty(t, s.Dir(numKinds))
	s, err = New(root, WithDir(Sent, "elsewhere/out"), WithDir(Failed, "/abs/failed"), WithIDsDir("ids"))
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(root, "elsewhere/out"), s.Dir(Sent))
	assert.Equal(t, filepath.Clean("/abs/failed"), s.Dir(Failed))
	assert.Equal(t, filepath.Join(root, "ids"), s.Dir(IDs))

	_, err = New("")
	assert.Error(t, err)
	_, err = New(root, WithDir(Root, "x"), WithDir(Sent, ""), WithIDsDir(""), WithFS(nil), WithNow(nil), WithIDsLimit(7), WithLoopbackEntries(0))
	for _, name := range []string{"root", "sent", "WithIDsDir", "WithFS", "WithNow", "WithIDsLimit: 7", "WithLoopbackEntries: 0"} {
		assert.ErrorContains(t, err, name)
	}
}

func TestF37UnusableDirectoriesAreRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want error
	}{
		"a file":    {func(t *testing.T, p string) { require.NoError(t, os.WriteFile(p, nil, 0o600)) }, ErrNotDirectory},
		"a symlink": {func(t *testing.T, p string) { require.NoError(t, os.Symlink(t.TempDir(), p)) }, ErrSymlink},
		"group-writable": {func(t *testing.T, p string) {
			require.NoError(t, os.Mkdir(p, 0o700))
			require.NoError(t, os.Chmod(p, 0o770))
		}, ErrNotPrivate},
		"world-writable": {func(t *testing.T, p string) {
			require.NoError(t, os.Mkdir(p, 0o700))
			require.NoError(t, os.Chmod(p, 0o1702))
		}, ErrNotPrivate},
		"another owner": {func(t *testing.T, p string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			require.NoError(t, os.Mkdir(p, 0o700))
			require.NoError(t, os.Chown(p, 12345, -1))
		}, ErrNotOwner},
	} {
		for _, kind := range []Kind{Incoming, Loopback, Queued, Root} {
			t.Run(name+"/"+kind.String(), func(t *testing.T) {
				root := tempRoot(t)
				path := root
				if kind != Root {
					require.NoError(t, os.Mkdir(root, 0o700))
					path = filepath.Join(root, kind.String())
				}
				c.make(t, path)
				err := newSpool(t, root).Prepare()
				require.ErrorIs(t, err, c.want, "F37")
				var de *DirError
				require.ErrorAs(t, err, &de)
				assert.Equal(t, path, de.Path)
				if kind == Root {
					assert.Contains(t, []Kind{Root, IDs}, de.Kind)
				} else {
					assert.Equal(t, kind, de.Kind)
				}
			})
		}
	}
}

func TestF37OtherFileSystem(t *testing.T) {
	t.Run("by the seam", func(t *testing.T) {
		disk := newFaultFS()
		renames := 0
		disk.fail = func(op, _ string) error {
			if op == "rename" {
				if renames++; renames == 3 { // processed, failed, loopback
					return ErrOtherFileSystem
				}
			}
			return nil
		}
		s := newSpool(t, tempRoot(t), WithFS(disk))
		err := s.Prepare()
		require.ErrorIs(t, err, ErrOtherFileSystem, "F37")
		var de *DirError
		require.ErrorAs(t, err, &de)
		assert.Equal(t, Loopback, de.Kind)
		assert.Empty(t, tree(t, s.Dir(Root)), "the probe is removed")
		require.NoError(t, s.Prepare(), "mended without a restart")
	})
	t.Run("for real", func(t *testing.T) {
		shm, err := os.MkdirTemp("/dev/shm", "spool")
		if err != nil {
			t.Skip("no /dev/shm")
		}
		t.Cleanup(func() { _ = os.RemoveAll(shm) })
		root := tempRoot(t)
		require.NoError(t, os.Mkdir(root, 0o700))
		if device(t, root) == device(t, shm) {
			t.Skip("/dev/shm is the same file system")
		}
		err = newSpool(t, root, WithDir(Sent, filepath.Join(shm, "sent"))).Prepare()
		require.ErrorIs(t, err, ErrOtherFileSystem, "F37")
		assert.ErrorContains(t, err, shm)
		require.NoError(t, newSpool(t, root, WithIDsDir(filepath.Join(shm, "ids"))).Prepare(), "ids may lie anywhere")
	})
}

func device(t *testing.T, path string) uint64 {
	fi, err := os.Stat(path)
	require.NoError(t, err)
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		t.Skip("no device numbers here")
	}
	return uint64(st.Dev)
}

func TestSharedDirectoriesAreRefused(t *testing.T) {
	root := tempRoot(t)
	assert.ErrorIs(t, newSpool(t, root, WithDir(Processed, "incoming")).Prepare(), ErrShared)
	assert.ErrorIs(t, newSpool(t, root, WithDir(Sent, "queued")).Prepare(), ErrShared)
	assert.NoError(t, newSpool(t, root, WithDir(Failed, "bad"), WithDir(Loopback, "bad")).Prepare())
}

func TestPrepareIsIdempotentAndConcurrent(t *testing.T) {
	root := tempRoot(t)
	spools := []*Spool{newSpool(t, root), newSpool(t, root), newSpool(t, root)}
	errs := make(chan error)
	for i := range 12 {
		go func() { errs <- spools[i%3].Prepare() }()
	}
	for range 12 {
		require.NoError(t, <-errs)
	}
	assert.Empty(t, tree(t, root))
	require.NoError(t, spools[0].Close())
	require.NoError(t, spools[0].Close())
	require.NoError(t, spools[0].Prepare())
}

func TestF37ReplacedAtRunTime(t *testing.T) {
	s := newSpool(t, tempRoot(t), WithFS(OS()))
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	raw, err := s.CreateIncoming(svc, "POP3", 1)
	require.NoError(t, err)
	require.NoError(t, raw.Commit())
	in := s.Dir(Incoming)
	require.NoError(t, os.Rename(in, in+".old"))
	outside := t.TempDir()
	require.NoError(t, os.Symlink(outside, in)) // A35: swapped for a link between check and use
	_, err = s.CreateIncoming(svc, "POP3", 2)
	require.ErrorIs(t, err, ErrSymlink, "F37")
	_, err = s.Move(Incoming, raw.Name(), Processed)
	require.ErrorIs(t, err, ErrSymlink, "A35")
	assert.Empty(t, tree(t, outside), "A35: nothing outside the spool")
	require.NoError(t, os.Remove(in))
	require.NoError(t, os.Rename(in+".old", in))
	_, err = s.Move(Incoming, raw.Name(), Processed)
	require.NoError(t, err, "I8: heals without a restart")

	require.NoError(t, os.Rename(s.Dir(Root), s.Dir(Root)+".old"))
	require.Error(t, box.Append(Done("k", OutcomeDelivered, DisposeKeep, "")), "the record would go where no one finds it")
	require.NoError(t, os.Rename(s.Dir(Root)+".old", s.Dir(Root)))
	require.ErrorIs(t, box.Append(Done("k", OutcomeDelivered, DisposeKeep, "")), ErrPoisoned)
}

func TestA35SymlinksAreNeverFollowed(t *testing.T) {
	s, svc := goldenSpool(t, WithFS(OS()))
	require.NoError(t, s.Prepare())
	victim := filepath.Join(t.TempDir(), "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	inside := filepath.Join(s.Dir(Incoming), "target") // a link inside the root is followed by a plain os.Root
	require.NoError(t, os.WriteFile(inside, []byte("precious"), 0o600))
	plant := func(target string, kind Kind, name string) {
		require.NoError(t, os.Symlink(target, s.Path(kind, name)))
	}
	plant(victim, Incoming, "POP3_1a2b_3_1f_66a1b2c3_1_ff.tmp.part")
	plant("target", Incoming, "POP3_1a2b_3_1f_66a1b2c3_1_100.tmp")
	plant(filepath.Join(t.TempDir(), "new"), Incoming, "POP3_1a2b_3_1f_66a1b2c3_1_101.tmp.part")
	raw, err := s.CreateIncoming(svc, "POP3", 1)
	require.NoError(t, err)
	assert.Equal(t, "POP3_1a2b_3_1f_66a1b2c3_1_102.tmp", raw.Name(), "A35")
	_, err = raw.Write([]byte("attack"))
	require.NoError(t, err)
	require.NoError(t, raw.Commit())

	_, err = s.OpenFile(Incoming, "POP3_1a2b_3_1f_66a1b2c3_1_100.tmp")
	assert.ErrorIs(t, err, ErrSymlink, "A35")
	_, err = s.OpenFile(Incoming, "../"+filepath.Base(s.Dir(Incoming))+"/target")
	assert.ErrorIs(t, err, ErrName)
	_, err = s.Move(Incoming, "POP3_1a2b_3_1f_66a1b2c3_1_100.tmp", Failed)
	assert.ErrorIs(t, err, ErrNotRegular, "A35")

	lock := "Lock_" + testID.base() + ".lock"
	plant(victim, IDs, lock)
	_, err = s.Lock(testID)
	assert.ErrorIs(t, err, ErrSymlink, "A35")
	require.NoError(t, os.Remove(s.Path(IDs, lock)))
	plant(victim, IDs, "Previous_"+testID.base()+".ids")
	_, err = s.Lock(testID)
	assert.ErrorIs(t, err, ErrSymlink, "A35")
	require.NoError(t, os.Remove(s.Path(IDs, "Previous_"+testID.base()+".ids")))
	box := mustLock(t, s)
	plant(victim, IDs, "Current_"+testID.base()+".ids")
	assert.ErrorIs(t, box.Append(Done("x", OutcomeDelivered, DisposeKeep, "")), os.ErrExist, "A35")

	for _, f := range []string{victim, inside} {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		assert.Equal(t, "precious", string(b), "A35")
	}
	require.NoError(t, syscall.Mkfifo(s.Path(Incoming, "pipe"), 0o600))
	_, err = s.OpenFile(Incoming, "pipe") // must not wait for a writer
	assert.ErrorIs(t, err, ErrNotRegular)
}

func TestA36FilesArePrivateUnderAnyUmask(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	root := filepath.Join(t.TempDir(), "parents", "spool")
	s := newSpool(t, root)
	box := mustLock(t, s)
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	rec := mustRaw(t, s, svc, "k", 1)
	require.NoError(t, box.Append(Entered(rec)))
	require.NoError(t, s.WriteReason(Failed, rec.Raw, "x"))
	m, err := s.CreateSent(svc, 1)
	require.NoError(t, err)
	require.NoError(t, m.Save())
	s.Loopback().Commit(LoopbackRule{Interval: 1 << 40}, "p", "a@b", "id", s.now())
	require.NoError(t, s.Loopback().Flush(t.Context()))
	n := 0
	require.NoError(t, filepath.Walk(filepath.Dir(root), func(path string, fi os.FileInfo, err error) error {
		if err == nil && fi.IsDir() {
			assert.Equal(t, os.FileMode(0o700), fi.Mode().Perm(), "A36: %s", path)
		} else if err == nil {
			n++
			assert.Equal(t, os.FileMode(0o600), fi.Mode().Perm(), "A36: %s", path)
		}
		return err
	}))
	assert.Equal(t, 8, n, "%v", tree(t, root))
}

func TestSentIsReadBackSavedOrDiscarded(t *testing.T) {
	s := newSpool(t, tempRoot(t), WithFS(OS()))
	svc := s.NewService(1)
	m, err := s.CreateSent(svc, 1)
	require.NoError(t, err)
	body := bytes.Repeat([]byte("0123456789"), 20_000)
	_, err = m.Write(body)
	require.NoError(t, err)
	assert.Equal(t, int64(len(body)), m.Size())
	for range 2 { // primary and backup
		f, err := m.Open()
		require.NoError(t, err)
		got, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		assert.True(t, bytes.Equal(body, got))
	}
	p := make([]byte, 5)
	_, err = m.ReadAt(p, 10)
	require.NoError(t, err)
	assert.Equal(t, "01234", string(p))
	assert.FileExists(t, m.Path()+".part")
	require.NoError(t, m.Save())
	require.NoError(t, m.Discard(), "nothing after Save")
	assert.Equal(t, []string{"sent/" + m.Name()}, tree(t, s.Dir(Root)))
	_, err = m.Write(body)
	assert.ErrorIs(t, err, os.ErrClosed)
	_, err = m.Open()
	assert.ErrorIs(t, err, os.ErrClosed)

	m, err = s.CreateSent(svc, 2)
	require.NoError(t, err)
	require.NoError(t, m.Discard())
	require.NoError(t, m.Discard())
	assert.Len(t, tree(t, s.Dir(Root)), 1)
}

func TestErrorsEscapeAndCapForeignText(t *testing.T) {
	e := &FileError{Op: "open", Path: "a\n\x1b[31m" + strings.Repeat("x", 5000), Err: os.ErrNotExist}
	assert.NotContains(t, e.Error(), "\n")
	assert.NotContains(t, e.Error(), "\x1b")
	assert.Less(t, len(e.Error()), 500)
}
