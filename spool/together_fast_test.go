//go:build linux && (amd64 || arm64)

package spool

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func filesOf(t *testing.T, d Dir, n int) []File {
	t.Helper()
	files := make([]File, n)
	for i := range files {
		f, err := d.Create(string(rune('a' + i)))
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		_, err = io.WriteString(f, "text")
		require.NoError(t, err)
		files[i] = f
	}
	return files
}

func osDirOf(t *testing.T) *osDir {
	t.Helper()
	root := tempRoot(t)
	require.NoError(t, OS().MkdirAll(root))
	d, err := OS().OpenDir(root)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	od := d.(*osDir)
	od.kind.Do(func() { od.known = true }) // syncfs is the same call everywhere
	od.dirty = func() (int64, error) { return 0, nil }
	return od
}

func TestSyncTogether(t *testing.T) {
	d := osDirOf(t)
	files := filesOf(t, d, fewFiles)
	errs, ok := d.syncTogether(files)
	require.True(t, ok)
	assert.Equal(t, make([]error, fewFiles), errs)

	_, ok = d.syncTogether(files[1:])
	assert.False(t, ok, "few are synced one by one")
}

// A file that cannot be written fails alone, also the oldest.
func TestSyncTogetherTellsWhichFileFailed(t *testing.T) {
	for _, bad := range []int{0, 3} {
		d := osDirOf(t)
		d.syncfs = func(int) error { panic("would tell of it again, for all") }
		files := filesOf(t, d, fewFiles+1)
		require.NoError(t, files[bad].Close())
		errs, ok := d.syncTogether(files)
		require.True(t, ok)
		for i, err := range errs {
			if i == bad {
				assert.ErrorIs(t, err, os.ErrClosed)
			} else {
				assert.NoError(t, err)
			}
		}
	}
}

// What the file system tells may concern any file.
func TestSyncTogetherFailsWithTheFileSystem(t *testing.T) {
	d := osDirOf(t)
	d.syncfs = func(int) error { return syscall.EIO }
	errs, ok := d.syncTogether(filesOf(t, d, fewFiles))
	require.True(t, ok)
	for _, err := range errs {
		assert.ErrorIs(t, err, syscall.EIO)
	}
}

// A sandbox that forbids the call costs time, not mail.
func TestSyncTogetherWhereItIsForbidden(t *testing.T) {
	d := osDirOf(t)
	d.syncfs = func(int) error { return syscall.EPERM }
	errs, ok := d.syncTogether(filesOf(t, d, fewFiles))
	require.True(t, ok)
	assert.Equal(t, make([]error, fewFiles), errs)
}

// What other programs have to write is not waited for.
func TestSyncTogetherBesideOthers(t *testing.T) {
	for _, dirty := range []func() (int64, error){
		func() (int64, error) { return othersDirty + 1, nil },
		func() (int64, error) { return 0, errors.New("no /proc") },
	} {
		d := osDirOf(t)
		d.dirty = dirty
		d.syncfs = func(int) error { panic("not now") }
		errs, ok := d.syncTogether(filesOf(t, d, fewFiles))
		require.True(t, ok)
		assert.Equal(t, make([]error, fewFiles), errs)
	}
}

func TestOtherFileSystemsAreNotSyncedTogether(t *testing.T) {
	d := osDirOf(t)
	d.known = false
	_, ok := d.syncTogether(filesOf(t, d, fewFiles))
	assert.False(t, ok)
}

func TestRefusedCallIsNoWriteError(t *testing.T) {
	assert.True(t, refused(os.NewSyscallError("syncfs", syscall.ENOSYS)))
	assert.True(t, refused(os.NewSyscallError("sync_file_range", syscall.EPERM)))
	for _, err := range []error{nil, syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS} {
		assert.False(t, refused(err), "%v", err)
	}
}

func TestSyncfsTellsOfErrors(t *testing.T) {
	for release, want := range map[string]bool{
		"5.17.0-rc1": true, "5.19.0-91-generic": true, "6.18.44": true, "10.0": true,
		"5.8.0": false, "5.16.20": false, "4.19.0-26-amd64": false, "3.10": false, "": false, "six": false,
	} {
		assert.Equal(t, want, tellsSince(release), release)
	}
}

func TestDirtyOfMeminfo(t *testing.T) {
	n, err := dirtyOf(strings.NewReader("MemTotal:  8 kB\nDirty:             32680 kB\nWriteback:            20 kB\nWritebackTmp:          5 kB\n"))
	require.NoError(t, err)
	assert.EqualValues(t, 32700<<10, n)
	_, err = dirtyOf(strings.NewReader("MemTotal: 8 kB\n"))
	require.Error(t, err)
	_, err = dirtyBytes()
	require.NoError(t, err)
}

// A file system without the flag, or an old kernel, gets the steps.
func TestRenameInStepsNeverReplaces(t *testing.T) {
	d, e := osDirOf(t), osDirOf(t)
	for _, to := range []*osDir{d, e} {
		filesOf(t, d, 1)
		require.NoError(t, renameInSteps(d, "a", to, "z"))
		filesOf(t, d, 1)
		require.ErrorIs(t, renameInSteps(d, "a", to, "z"), os.ErrExist)
		require.NoError(t, d.Remove("a"))
	}
}

// togetherFS is a disk whose directories settle files together as the test says.
type togetherFS struct {
	FS
	settle func(files []File) []error
}

type togetherDir struct {
	Dir
	fs *togetherFS
}

func (d togetherDir) syncTogether(files []File) ([]error, bool) { return d.fs.settle(files), true }

func (f *togetherFS) OpenDir(path string) (Dir, error) {
	d, err := f.FS.OpenDir(path)
	return togetherDir{d, f}, err
}

func (f *togetherFS) Rename(from Dir, name string, to Dir, toName string) error {
	return f.FS.Rename(from.(togetherDir).Dir, name, to.(togetherDir).Dir, toName)
}

func (f *togetherFS) Replace(d Dir, name, toName string) error {
	return f.FS.Replace(d.(togetherDir).Dir, name, toName)
}

// attachments makes files of one session.
func attachments(t *testing.T, s *Spool, n int) []*Out {
	t.Helper()
	box := mustLock(t, s)
	t.Cleanup(func() { _ = box.Unlock() })
	svc := s.NewService(1)
	require.NoError(t, box.Begin(svc))
	made := make([]*Out, n)
	for i := range made {
		o, err := s.CreateAttachment(svc, 1, uint64(i))
		require.NoError(t, err)
		t.Cleanup(func() { _ = o.Abort() })
		_, err = io.WriteString(o, "text")
		require.NoError(t, err)
		made[i] = o
	}
	return made
}

func TestGroupSettlesTogether(t *testing.T) {
	broken := errors.New("the disk is broken")
	var asked [][]File
	s, err := New(tempRoot(t), WithFS(&togetherFS{FS: OS(), settle: func(files []File) []error {
		asked = append(asked, files)
		return []error{nil, broken, nil}
	}}))
	require.NoError(t, err)
	defer s.Close()
	made := attachments(t, s, 3)
	var g Group
	for i := range made { // the oldest comes last
		g.Commit(made[len(made)-1-i])
	}
	err = g.Wait()
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, made[1].Name())
	require.Len(t, asked, 1)
	assert.Equal(t, made[0].file, asked[0][0], "the oldest goes first")
	for i, o := range made {
		_, err := os.Lstat(o.Path())
		if i == 1 {
			assert.ErrorIs(t, err, os.ErrNotExist)
		} else {
			assert.NoError(t, err)
		}
	}
}

// A file that was opened while the oldest still was might have been first: then nothing is known of it.
func TestFilesOpenedSideBySideAreNotSettledTogether(t *testing.T) {
	s, err := New(tempRoot(t), WithFS(&togetherFS{FS: OS(), settle: func([]File) []error { panic("not asked for") }}))
	require.NoError(t, err)
	defer s.Close()
	made := attachments(t, s, 3)
	made[0].after = made[1].before + 1
	var g Group
	for _, o := range made {
		g.Commit(o)
	}
	require.NoError(t, g.Wait())
}

// lostFile is told once, by the beginning of the write, that its bytes cannot be written.
type lostFile struct {
	File
	err error
}

func (f lostFile) startSync() error { return f.err }

// The kernel tells of bytes that found no place once, to whoever asks first.
func TestErrorOfTheEarlySyncCounts(t *testing.T) {
	for err, lost := range map[error]bool{syscall.ENOSPC: true, syscall.EIO: true, syscall.EPERM: false, syscall.ENOSYS: false} {
		s, nerr := New(tempRoot(t), WithSyncEach())
		require.NoError(t, nerr)
		var g Group
		o := attachments(t, s, 1)[0]
		o.file = lostFile{o.file, err}
		g.Commit(o)
		if werr := g.Wait(); lost {
			require.ErrorIs(t, werr, err)
			assert.NoFileExists(t, o.Path())
		} else {
			require.NoError(t, werr)
			assert.FileExists(t, o.Path())
		}
		require.NoError(t, s.Close())
	}
}

func TestClosedDirectoryOpensNothing(t *testing.T) {
	d := osDirOf(t)
	require.NoError(t, d.Close())
	_, err := d.Create("a")
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, OS().Rename(d, "a", d, "b"), os.ErrClosed)
}

func TestWithSyncEach(t *testing.T) {
	s, err := New(tempRoot(t), WithSyncEach(), WithFS(&togetherFS{FS: OS(), settle: func([]File) []error { panic("not asked for") }}))
	require.NoError(t, err)
	defer s.Close()
	var g Group
	for _, o := range attachments(t, s, 2*fewFiles) {
		g.Commit(o)
	}
	require.NoError(t, g.Wait())
}

// The way from the files to the disk and back, as the pipeline goes it.
func TestGroupOnTheRealDisk(t *testing.T) {
	s, err := New(tempRoot(t))
	require.NoError(t, err)
	defer s.Close()
	var g Group
	made := attachments(t, s, 2*fewFiles)
	for _, o := range made {
		g.Commit(o)
	}
	require.NoError(t, g.Wait())
	for _, o := range made {
		b, err := os.ReadFile(o.Path())
		require.NoError(t, err)
		assert.Equal(t, "text", string(b))
	}
}

func TestReaderOfAFileBeingMade(t *testing.T) {
	s, err := New(tempRoot(t))
	require.NoError(t, err)
	defer s.Close()
	o := attachments(t, s, 1)[0]
	require.NoError(t, o.Flush())
	r, err := o.Reader()
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.Equal(t, "text", string(b))
	require.NoError(t, o.Commit())
	_, err = o.Reader()
	require.ErrorIs(t, err, os.ErrClosed)
}
