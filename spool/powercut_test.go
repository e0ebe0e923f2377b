package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cutDisk is a disk in memory that forgets what was not synced when its power is cut: of the unsynced bytes of a file a
// random beginning stays, of the unsynced changes of names a random selection, whatever their order was. A rename is one
// change, as on every journaling file system, and syncing one of its directories makes it durable.
type cutDisk struct {
	mu    sync.Mutex
	dirs  map[string]*cutDir
	ops   int
	cutAt int
	dead  bool
}

type cutDir struct {
	disk    *cutDisk
	path    string
	names   map[string]*cutNode
	durable map[string]*cutNode
	pending []cutChange
}

type cutChange struct {
	name string
	node *cutNode // nil: removed
	fate *cutFate // shared by the two halves of a rename
}

type cutFate struct{ decided, happens bool }

func (f *cutFate) decide(r *rand.Rand) bool {
	if !f.decided {
		f.decided, f.happens = true, r.IntN(2) == 0
	}
	return f.happens
}

type cutNode struct {
	data, durable []byte
	holder        *cutFile
}

func (n *cutNode) put(p []byte, off int) {
	if more := off + len(p) - len(n.data); more > 0 {
		n.data = append(n.data, make([]byte, more)...)
	}
	copy(n.data[off:], p)
}

// survives gives what is found after the cut: up to some byte what was written last, behind it what was synced.
func (n *cutNode) survives(r *rand.Rand) []byte {
	from := 0
	for from < min(len(n.data), len(n.durable)) && n.data[from] == n.durable[from] {
		from++
	}
	to := len(n.data)
	for to > from && to <= len(n.durable) && n.data[to-1] == n.durable[to-1] {
		to--
	}
	to = from + r.IntN(to-from+1)
	return append(slices.Clone(n.data[:to]), n.durable[min(to, len(n.durable)):]...)
}

var errPower = errors.New("power cut")

func (d *cutDisk) step() error {
	d.ops++
	if d.cutAt > 0 && d.ops >= d.cutAt {
		d.dead = true
	}
	if d.dead {
		return errPower
	}
	return nil
}

// reboot gives the disk as it is found after the power is back.
func (d *cutDisk) reboot(r *rand.Rand) *cutDisk {
	n := &cutDisk{dirs: map[string]*cutDir{}}
	nodes := map[*cutNode]*cutNode{}
	for _, path := range slices.Sorted(maps.Keys(d.dirs)) {
		old := d.dirs[path]
		found := maps.Clone(old.durable)
		for _, c := range old.pending {
			switch {
			case !c.fate.decide(r):
			case c.node == nil:
				delete(found, c.name)
			default:
				found[c.name] = c.node
			}
		}
		dir := &cutDir{disk: n, path: path, names: map[string]*cutNode{}}
		for _, name := range slices.Sorted(maps.Keys(found)) {
			node := found[name]
			if nodes[node] == nil {
				data := node.survives(r)
				nodes[node] = &cutNode{data: slices.Clone(data), durable: slices.Clone(data)}
			}
			dir.names[name] = nodes[node]
		}
		dir.durable = maps.Clone(dir.names)
		n.dirs[path] = dir
	}
	return n
}

func (d *cutDisk) MkdirAll(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirs[path] == nil { // making directories is not what is tested: they are durable at once
		d.dirs[path] = &cutDir{disk: d, path: path, names: map[string]*cutNode{}, durable: map[string]*cutNode{}}
	}
	return nil
}

func (d *cutDisk) OpenDir(path string) (Dir, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirs[path] == nil {
		return nil, fs.ErrNotExist
	}
	return d.dirs[path], nil
}

func (d *cutDisk) Rename(from Dir, name string, to Dir, toName string) error {
	if _, err := to.Lstat(toName); err == nil {
		return fs.ErrExist
	}
	return d.rename(from.(*cutDir), name, to.(*cutDir), toName)
}

func (d *cutDisk) Replace(dir Dir, name, toName string) error {
	return d.rename(dir.(*cutDir), name, dir.(*cutDir), toName)
}

func (d *cutDisk) rename(from *cutDir, name string, to *cutDir, toName string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	node := from.names[name]
	if node == nil {
		return fs.ErrNotExist
	}
	fate := &cutFate{}
	from.change(name, nil, fate)
	to.change(toName, node, fate)
	return nil
}

func (d *cutDir) change(name string, node *cutNode, fate *cutFate) {
	if node == nil {
		delete(d.names, name)
	} else {
		d.names[name] = node
	}
	d.pending = append(d.pending, cutChange{name, node, fate})
}

func (d *cutDir) Path() string  { return d.path }
func (d *cutDir) Verify() error { return nil }
func (d *cutDir) Close() error  { return nil }

func (d *cutDir) open(name string, create, excl bool) (File, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	node := d.names[name]
	switch {
	case d.disk.dead:
		return nil, errPower
	case node != nil && excl:
		return nil, fs.ErrExist
	case node == nil && !create:
		return nil, fs.ErrNotExist
	case node == nil:
		if err := d.disk.step(); err != nil {
			return nil, err
		}
		node = &cutNode{}
		d.change(name, node, &cutFate{})
	}
	return &cutFile{disk: d.disk, node: node, name: name}, nil
}

func (d *cutDir) Create(name string) (File, error) { return d.open(name, true, true) }
func (d *cutDir) Open(name string) (File, error)   { return d.open(name, false, false) }
func (d *cutDir) OpenAppend(name string) (File, error) {
	f, err := d.open(name, true, false)
	if err != nil {
		return nil, err
	}
	f.(*cutFile).atEnd = true
	return f, nil
}

func (d *cutDir) Remove(name string) error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.names[name] == nil {
		return fs.ErrNotExist
	}
	if err := d.disk.step(); err != nil {
		return err
	}
	d.change(name, nil, &cutFate{})
	return nil
}

func (d *cutDir) Lstat(name string) (fs.FileInfo, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.disk.dead {
		return nil, errPower
	}
	if d.names[name] == nil {
		return nil, fs.ErrNotExist
	}
	return cutInfo{name, int64(len(d.names[name].data))}, nil
}

func (d *cutDir) Same(name string, f File) (bool, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	return d.names[name] == f.(*cutFile).node, nil
}

func (d *cutDir) List() ([]fs.DirEntry, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	var list []fs.DirEntry
	for name, n := range d.names {
		list = append(list, fs.FileInfoToDirEntry(cutInfo{name, int64(len(n.data))}))
	}
	return list, nil
}

func (d *cutDir) Sync() error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if err := d.disk.step(); err != nil {
		return err
	}
	for _, c := range d.pending {
		c.fate.decided, c.fate.happens = true, true
	}
	d.durable, d.pending = maps.Clone(d.names), nil
	return nil
}

type cutInfo struct {
	name string
	size int64
}

func (i cutInfo) Name() string     { return i.name }
func (i cutInfo) Size() int64      { return i.size }
func (cutInfo) Mode() fs.FileMode  { return 0o600 }
func (cutInfo) ModTime() time.Time { return time.Time{} }
func (cutInfo) IsDir() bool        { return false }
func (cutInfo) Sys() any           { return nil }

type cutFile struct {
	disk *cutDisk
	node *cutNode
	name string
	at   int

	atEnd bool
}

func (f *cutFile) Name() string         { return f.name }
func (f *cutFile) Size() (int64, error) { return int64(len(f.node.data)), nil }

func (f *cutFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, int64(f.at))
	f.at += n
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *cutFile) ReadAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n := copy(p, f.node.data[min(int(off), len(f.node.data)):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *cutFile) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.disk.step()
	if err == nil || f.disk.ops == f.disk.cutAt { // the write in which the power goes may have begun
		if f.atEnd {
			f.at = len(f.node.data)
		}
		f.node.put(p, f.at)
		f.at += len(p)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *cutFile) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.disk.step()
	if err == nil || f.disk.ops == f.disk.cutAt {
		f.node.put(p, int(off))
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *cutFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.step(); err != nil {
		return err
	}
	f.node.durable = slices.Clone(f.node.data)
	return nil
}

func (f *cutFile) Truncate(n int64) error { f.node.data = f.node.data[:n]; return nil }

func (f *cutFile) TryLock() (bool, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.node.holder != nil && f.node.holder != f {
		return false, nil
	}
	f.node.holder = f
	return true, nil
}

func (f *cutFile) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.node.holder == f {
		f.node.holder = nil
	}
	return nil
}

func (d *cutDisk) tree(root string) map[string]string {
	files := map[string]string{}
	for path, dir := range d.dirs {
		rel, _ := filepath.Rel(root, path)
		for name, n := range dir.names {
			files[filepath.ToSlash(filepath.Join(rel, name))] = string(n.data)
		}
	}
	return files
}

// TestF34PowerCutAtEveryOperation cuts the power at every operation that changes the disk, also in the session that
// follows, and lets the disk forget in several ways.
func TestF34PowerCutAtEveryOperation(t *testing.T) {
	root := filepath.Join(t.TempDir(), "spool")
	runs := 0
	for n := 1; ; n++ {
		reached := true
		for seed := range uint64(16) {
			when := fmt.Sprintf("F34: power cut at operation %d, seed %d", n, seed)
			r := rand.New(rand.NewPCG(uint64(n), seed))
			p := newSession()
			disk := &cutDisk{dirs: map[string]*cutDir{}, cutAt: n}
			if err := p.play(newSpool(t, root, WithFS(disk))); err == nil {
				reached = false
				break
			}
			disk = disk.reboot(r)
			disk.cutAt = 1 + r.IntN(120)
			_ = p.play(newSpool(t, root, WithFS(disk)))
			disk = disk.reboot(r)
			s := newSpool(t, root, WithFS(disk))
			require.NoError(t, p.play(s), "%s: I8", when)
			require.NoError(t, p.play(s), "%s: I8", when)
			runs++

			require.Len(t, p.took, 2, "%s: I1", when)
			files := disk.tree(root)
			failed := 0
			for name, content := range files {
				base := filepath.Base(name)
				switch {
				case strings.HasPrefix(name, "failed/POP3_"):
					failed++
					require.NotEmpty(t, content, "%s: I3", when)
				case strings.Contains(base, ".corrupt-"), isProbe(base):
				case isLock(base) && strings.HasPrefix(base, "Lock_"):
				default:
					continue
				}
				delete(files, name)
			}
			require.GreaterOrEqual(t, failed, 2, "%s: mail b and its reason", when)
			require.Equal(t, p.cutHosts(t, when), slices.Sorted(maps.Keys(files)), "%s: no stray and no lost file", when)
			for _, content := range files {
				require.Contains(t, []string{"att of a", "att of c"}, content, "%s: I3", when)
			}
		}
		if !reached {
			break
		}
	}
	require.Greater(t, runs, 600, "the test must have reached the operations")
}

// cutHosts is hosts for up to two power cuts.
func (p *session) cutHosts(t *testing.T, when string) []string {
	var list []string
	for key, files := range p.took {
		require.LessOrEqual(t, len(files), 3, "%s: mail %s", when, key)
		require.Len(t, slices.Compact(files), 1, "%s: a repeat of %s offers the same files", when, key)
		list = append(list, "incoming/"+files[0])
	}
	slices.Sort(list)
	return list
}
