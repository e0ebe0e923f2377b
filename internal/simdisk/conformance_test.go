package simdisk_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/internal/simdisk"
	"github.com/maildriver/maildriver/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// class names what a caller may find out about an error.
func class(err error) string {
	for _, c := range []struct {
		err  error
		name string
	}{
		{nil, "ok"},
		{fs.ErrExist, "exists"},
		{fs.ErrNotExist, "missing"},
		{spool.ErrName, "bad name"},
		{spool.ErrNotRegular, "not regular"},
		{fs.ErrClosed, "closed"},
		{io.EOF, "eof"},
	} {
		if err == c.err || c.err != nil && errors.Is(err, c.err) {
			return c.name
		}
	}
	return "error"
}

// A world has two directories and the files opened so far, by label.
type world struct {
	t    *testing.T
	fs   spool.FS
	a, b spool.Dir
	open map[string]spool.File
}

func (w *world) keep(label string, f spool.File, err error) string {
	if err == nil {
		w.open[label] = f
	}
	return class(err)
}

func (w *world) list(d spool.Dir) string {
	l, err := d.List()
	require.NoError(w.t, err)
	var names []string
	for _, e := range l {
		names = append(names, fmt.Sprintf("%s(%v)", e.Name(), e.IsDir()))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (w *world) read(d spool.Dir, name string) string {
	f, err := d.Open(name)
	if err != nil {
		return class(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return class(err)
	}
	return string(b)
}

var operations = []struct {
	name string
	do   func(w *world) string
	want string
}{
	{"make a file", func(w *world) string { f, err := w.a.Create("x"); return w.keep("x", f, err) }, "ok"},
	{"make it again", func(w *world) string { f, err := w.a.Create("x"); return w.keep("x2", f, err) }, "exists"},
	{"write", func(w *world) string { _, err := io.WriteString(w.open["x"], "hello "); return class(err) }, "ok"},
	{"write behind it", func(w *world) string { _, err := io.WriteString(w.open["x"], "world"); return class(err) }, "ok"},
	{"read while open", func(w *world) string { return w.read(w.a, "x") }, "hello world"},
	{"offset is behind the writes", func(w *world) string { n, err := w.open["x"].Read(make([]byte, 4)); return fmt.Sprint(n, class(err)) }, "0eof"},
	{"read at", func(w *world) string {
		b := make([]byte, 5)
		n, err := w.open["x"].ReadAt(b, 6)
		return fmt.Sprint(string(b[:n]), class(err))
	}, "worldok"},
	{"read at the end", func(w *world) string {
		b := make([]byte, 8)
		n, err := w.open["x"].ReadAt(b, 8)
		return fmt.Sprint(string(b[:n]), class(err))
	}, "rldeof"},
	{"size", func(w *world) string { n, err := w.open["x"].Size(); return fmt.Sprint(n, class(err)) }, "11ok"},
	{"sync", func(w *world) string { return class(w.open["x"].Sync()) }, "ok"},
	{"sync the directory", func(w *world) string { return class(w.a.Sync()) }, "ok"},
	{"name of the handle", func(w *world) string { return w.open["x"].Name() }, "x"},
	{"rename inside", func(w *world) string { return class(w.fs.Rename(w.a, "x", w.a, "y")) }, "ok"},
	{"old name is gone", func(w *world) string { _, err := w.a.Lstat("x"); return class(err) }, "missing"},
	{"handle follows", func(w *world) string { same, err := w.a.Same("y", w.open["x"]); return fmt.Sprint(same, class(err)) }, "trueok"},
	{"handle is not its old name", func(w *world) string { same, err := w.a.Same("x", w.open["x"]); return fmt.Sprint(same, class(err)) }, "falseok"},
	{"name of the handle stays", func(w *world) string { return w.open["x"].Name() }, "x"},
	{"make a second", func(w *world) string { f, err := w.b.Create("z"); return w.keep("z", f, err) }, "ok"},
	{"rename never replaces", func(w *world) string { return class(w.fs.Rename(w.a, "y", w.b, "z")) }, "exists"},
	{"rename never replaces itself", func(w *world) string { return class(w.fs.Rename(w.a, "y", w.a, "y")) }, "exists"},
	{"rename across", func(w *world) string { return class(w.fs.Rename(w.a, "y", w.b, "y")) }, "ok"},
	{"it is there", func(w *world) string { return w.read(w.b, "y") }, "hello world"},
	{"and only there", func(w *world) string { return w.read(w.a, "y") }, "missing"},
	{"rename of nothing", func(w *world) string { return class(w.fs.Rename(w.a, "no", w.b, "no")) }, "missing"},
	{"rename of nothing inside", func(w *world) string { return class(w.fs.Rename(w.a, "no", w.a, "no2")) }, "missing"},
	{"rename to a bad name", func(w *world) string { return class(w.fs.Rename(w.b, "y", w.b, "../y")) }, "bad name"},
	{"replace", func(w *world) string { return class(w.fs.Replace(w.b, "y", "z")) }, "ok"},
	{"replaced", func(w *world) string { return w.read(w.b, "z") }, "hello world"},
	{"list", func(w *world) string { return w.list(w.b) }, "sub(true) z(false)"},
	{"replace nothing", func(w *world) string { return class(w.fs.Replace(w.b, "no", "z")) }, "missing"},
	{"the replaced file lives on unnamed", func(w *world) string { same, err := w.b.Same("z", w.open["z"]); return fmt.Sprint(same, class(err)) }, "falseok"},
	{"append to an old file", func(w *world) string { f, err := w.b.OpenAppend("z"); return w.keep("ap", f, err) }, "ok"},
	{"append", func(w *world) string { _, err := io.WriteString(w.open["ap"], "!"); return class(err) }, "ok"},
	{"appended", func(w *world) string { return w.read(w.b, "z") }, "hello world!"},
	{"append makes a file", func(w *world) string { f, err := w.b.OpenAppend("n"); return w.keep("n", f, err) }, "ok"},
	{"made", func(w *world) string { return w.read(w.b, "n") }, ""},
	{"two appenders", func(w *world) string {
		f, err := w.b.OpenAppend("n")
		if err != nil {
			return class(err)
		}
		defer f.Close()
		_, e1 := io.WriteString(f, "1")
		_, e2 := io.WriteString(w.open["n"], "2")
		_, e3 := io.WriteString(f, "3")
		return w.read(w.b, "n") + class(errors.Join(e1, e2, e3))
	}, "123ok"},
	{"truncate", func(w *world) string { return class(w.open["n"].Truncate(1)) + w.read(w.b, "n") }, "ok1"},
	{"lengthen", func(w *world) string { return class(w.open["n"].Truncate(3)) + w.read(w.b, "n") }, "ok1\x00\x00"},
	{"lock", func(w *world) string { ok, err := w.open["n"].TryLock(); return fmt.Sprint(ok, class(err)) }, "trueok"},
	{"lock again", func(w *world) string { ok, err := w.open["n"].TryLock(); return fmt.Sprint(ok, class(err)) }, "trueok"},
	{"locked for others", func(w *world) string {
		f, err := w.b.OpenAppend("n")
		if err != nil {
			return class(err)
		}
		w.open["n2"] = f
		ok, err := f.TryLock()
		return fmt.Sprint(ok, class(err))
	}, "falseok"},
	{"lock is free after close", func(w *world) string {
		e1 := w.open["n"].Close()
		ok, err := w.open["n2"].TryLock()
		return fmt.Sprint(ok, class(errors.Join(e1, err)))
	}, "trueok"},
	{"closed handle", func(w *world) string { _, err := w.open["n"].Write([]byte("x")); return class(err) }, "closed"},
	{"write on a reading handle", func(w *world) string {
		f, err := w.b.Open("n")
		if err != nil {
			return class(err)
		}
		defer f.Close()
		_, err = f.Write([]byte("x"))
		return class(err)
	}, "error"},
	{"remove", func(w *world) string { return class(w.b.Remove("n")) }, "ok"},
	{"remove again", func(w *world) string { return class(w.b.Remove("n")) }, "missing"},
	{"a removed file can still be written", func(w *world) string { _, err := w.open["n2"].Write([]byte("x")); return class(err) }, "ok"},
	{"open nothing", func(w *world) string { _, err := w.a.Open("no"); return class(err) }, "missing"},
	{"open a directory", func(w *world) string { _, err := w.b.Open("sub"); return class(err) }, "not regular"},
	{"append to a directory", func(w *world) string { _, err := w.b.OpenAppend("sub"); return class(err) }, "not regular"},
	{"lstat a directory", func(w *world) string {
		fi, err := w.b.Lstat("sub")
		return class(err) + fmt.Sprint(err == nil && fi.IsDir())
	}, "oktrue"},
	{"lstat a file", func(w *world) string {
		fi, err := w.b.Lstat("z")
		return class(err) + fmt.Sprint(fi.Size(), fi.Mode(), fi.Name())
	}, "ok12 -rw-------z"},
	{"bad names", func(w *world) string {
		var out []string
		for _, n := range []string{"", ".", "..", "a/b", "a\\b", "a:b", "a\x00", strings.Repeat("n", 256)} {
			_, e1 := w.a.Create(n)
			_, e2 := w.a.Open(n)
			_, e3 := w.a.OpenAppend(n)
			e4 := w.a.Remove(n)
			_, e5 := w.a.Lstat(n)
			for _, e := range []error{e1, e2, e3, e4, e5} {
				out = append(out, class(e))
			}
		}
		slices.Sort(out)
		return fmt.Sprint(slices.Compact(out))
	}, "[bad name]"},
	{"open a missing directory", func(w *world) string { _, err := w.fs.OpenDir(filepath.Join(w.a.Path(), "no")); return class(err) }, "missing"},
	{"make directories again", func(w *world) string { return class(w.fs.MkdirAll(w.a.Path())) }, "ok"},
	{"verify", func(w *world) string { return class(errors.Join(w.a.Verify(), w.b.Verify())) }, "ok"},
	{"close twice", func(w *world) string { return class(errors.Join(w.a.Close(), w.a.Close())) }, "ok"},
}

func TestConformanceWithTheRealDisk(t *testing.T) {
	for name, fsys := range map[string]spool.FS{"simulated": simdisk.New(1), "real": spool.OS()} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "r")
			w := &world{t: t, fs: fsys, open: map[string]spool.File{}}
			for _, d := range []string{"a", "b", filepath.Join("b", "sub")} {
				require.NoError(t, fsys.MkdirAll(filepath.Join(root, d)))
			}
			var err error
			w.a, err = fsys.OpenDir(filepath.Join(root, "a"))
			require.NoError(t, err)
			w.b, err = fsys.OpenDir(filepath.Join(root, "b"))
			require.NoError(t, err)
			for _, op := range operations {
				assert.Equal(t, op.want, op.do(w), op.name)
			}
			for _, f := range w.open {
				_ = f.Close()
			}
			_ = w.b.Close()
		})
	}
}
