package simdisk

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maildriver/maildriver/spool"
)

// ErrDown is the error of every operation between a power cut (or kill) and the reboot, and of every handle from before
// it for ever.
var ErrDown = errors.New("simdisk: the machine is down")

// Disk is a simulated disk. Safe for concurrent use. It starts no goroutine.
type Disk struct {
	mu   sync.Mutex
	rng  *rand.Rand
	dirs map[string]*folder

	gen     int // boots so far; handles of another one are dead
	down    bool
	ops     int
	changes int
	cutAt   int // change at which everything ends; 0 never
	power   bool
	fault   *armedFault
	lie     func(Call) bool
	rewrite func(Call, []byte) []byte
	watch   func(Call)
	open    int
	clock   time.Time
}

var _ spool.FS = (*Disk)(nil)

// New gives an empty disk. What survives a power cut is chosen by the seed.
func New(seed uint64) *Disk {
	return &Disk{
		rng:   rand.New(rand.NewPCG(seed, 0x5bd1e995)),
		dirs:  map[string]*folder{},
		clock: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Op is a kind of operation.
type Op string

// The operations. Those from OpMkdir to OpStep change something.
const (
	OpMkdir    Op = "mkdir"
	OpCreate   Op = "create" // also OpenAppend of a missing file
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpTruncate Op = "truncate"
	OpRename   Op = "rename"
	OpReplace  Op = "replace"
	OpRemove   Op = "remove"
	OpSyncDir  Op = "syncdir"
	OpStep     Op = "step"
	OpOpenDir  Op = "opendir"
	OpOpen     Op = "open"
	OpRead     Op = "read"
	OpSize     Op = "size"
	OpLock     Op = "lock"
	OpClose    Op = "close"
	OpLstat    Op = "lstat"
	OpList     Op = "list"
	OpVerify   Op = "verify"
)

var changing = []Op{OpMkdir, OpCreate, OpWrite, OpSync, OpTruncate, OpRename, OpReplace, OpRemove, OpSyncDir, OpStep}

// Call describes one operation to a fault, a lie or a watcher.
type Call struct {
	Op     Op
	Dir    string // absolute path of the directory
	Name   string // "" for operations on the directory itself
	ToDir  string // of a rename
	ToName string
}

// folder is one directory.
type folder struct {
	path    string
	live    map[string]*node // as programs see it
	disk    map[string]*node // as it is on disk for certain
	pending []*change        // not synced, in order
}

// change is one name made (or renamed to), or removed when n is nil.
type change struct {
	name string
	n    *node
	tie  *change // of a rename's old name: goes only once this one stays
	kept bool    // on disk
}

// node is one file.
type node struct {
	data  []byte // as programs see it
	disk  []byte // as it is on disk for certain
	dirty []span // written since the last sync
	lost  []span // written before a sync that failed
	size  bool   // cut since the last sync
	lock  *file
	mod   time.Time
}

type span struct{ from, to int }

// Reboot starts the machine again. After a power cut only what was synced is there for certain; after a kill everything
// is as programs last saw it. Locks are free and all handles dead. Faults and cuts that were set are gone, lies stay.
func (d *Disk) Reboot() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down && d.power {
		d.crash()
	}
	d.gen++
	d.down, d.cutAt, d.fault, d.open = false, 0, nil, 0
	for _, f := range d.dirs {
		for _, n := range f.live {
			n.lock = nil
		}
	}
}

// crash replaces what programs saw by what the power cut left.
func (d *Disk) crash() {
	// A whole cut is often kind or cruel to everything at once; in between, each change has its own fate.
	odds := []float64{0, 0.25, 0.5, 0.75, 1}[d.rng.IntN(5)]
	paths := slices.Sorted(maps.Keys(d.dirs))
	for _, ties := range []bool{false, true} {
		for _, p := range paths {
			for _, c := range d.dirs[p].pending {
				if (c.tie != nil) == ties {
					c.kept = d.rng.Float64() < odds && (c.tie == nil || c.tie.kept)
				}
			}
		}
	}
	done := map[*node]bool{}
	for _, p := range paths {
		f := d.dirs[p]
		for _, c := range f.pending {
			if c.kept {
				c.put(f.disk)
			}
		}
		f.pending = nil
		f.live = maps.Clone(f.disk)
		for _, name := range slices.Sorted(maps.Keys(f.live)) {
			if n := f.live[name]; !done[n] {
				done[n] = true
				n.crash(d.rng)
			}
		}
	}
}

func (c *change) put(m map[string]*node) {
	if c.n == nil {
		delete(m, c.name)
	} else {
		m[c.name] = c.n
	}
}

const sector = 512 // bytes

// crash leaves of a file what was synced and some of the rest.
func (n *node) crash(rng *rand.Rand) {
	unsynced := append(slices.Clone(n.lost), n.dirty...)
	if len(unsynced) > 0 || n.size {
		switch rng.IntN(4) {
		case 0: // nothing reached the disk
		case 1: // all of it did, but for what a failed sync gave up
			n.disk = n.synced()
		case 2: // a write torn somewhere
			if len(unsynced) > 0 {
				s := unsynced[rng.IntN(len(unsynced))]
				tear := s.from + rng.IntN(s.to-s.from+1)
				n.disk = n.mix(func(i int) bool { return i < tear }, tear)
			}
		default: // any sectors; the length is known before the bytes are
			var sectors [64]bool
			for i := range sectors {
				sectors[i] = rng.IntN(2) == 0
			}
			n.disk = n.mix(func(i int) bool { return sectors[i/sector%len(sectors)] }, len(n.data))
		}
	}
	n.data = slices.Clone(n.disk)
	n.dirty, n.lost, n.size, n.lock = nil, nil, false, nil
}

// mix gives the file on disk with unsynced bytes for which got is true added; the others are zero or what was there
// before. It is at most length bytes long, unless more was on disk already.
func (n *node) mix(got func(int) bool, length int) []byte {
	out := slices.Clone(n.disk)
	for _, s := range n.dirty {
		for i := s.from; i < min(s.to, len(n.data), max(length, len(n.disk))); i++ {
			for len(out) <= i {
				out = append(out, 0)
			}
			if got(i) {
				out[i] = n.data[i]
			}
		}
	}
	return out
}

// synced is the file as a sync leaves it: without what an earlier, failed one gave up.
func (n *node) synced() []byte {
	out := slices.Clone(n.data)
	for _, s := range n.lost {
		for i := s.from; i < min(s.to, len(out)); i++ {
			out[i] = 0
			if i < len(n.disk) {
				out[i] = n.disk[i]
			}
		}
	}
	for _, s := range n.dirty {
		copy(out[min(s.from, len(out)):min(s.to, len(out))], n.data[min(s.from, len(out)):min(s.to, len(out))])
	}
	return out
}

func (n *node) sync() {
	n.disk = n.synced()
	n.dirty, n.size = nil, false
}

func (n *node) spoil() {
	n.lost = append(n.lost, n.dirty...)
	n.dirty = nil
}

// MkdirAll implements spool.FS.
func (d *Disk) MkdirAll(path string) error {
	path = filepath.Clean(path)
	return d.do(-1, Call{Op: OpMkdir, Dir: path}, func() error {
		for p := path; d.dirs[p] == nil; p = filepath.Dir(p) {
			d.dirs[p] = &folder{path: p, live: map[string]*node{}, disk: map[string]*node{}}
		}
		return nil
	})
}

// OpenDir implements spool.FS.
func (d *Disk) OpenDir(path string) (spool.Dir, error) {
	path = filepath.Clean(path)
	var h *dir
	err := d.do(-1, Call{Op: OpOpenDir, Dir: path}, func() error {
		f := d.dirs[path]
		if f == nil {
			return pathError("open", path, fs.ErrNotExist)
		}
		h = &dir{d: d, f: f, gen: d.gen}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Rename implements spool.FS.
func (d *Disk) Rename(from spool.Dir, name string, to spool.Dir, toName string) error {
	a, b := from.(*dir), to.(*dir)
	if err := errors.Join(checkName(name), checkName(toName)); err != nil {
		return err
	}
	return d.do(a.gen, Call{Op: OpRename, Dir: a.f.path, Name: name, ToDir: b.f.path, ToName: toName}, func() error {
		if b.f.live[toName] != nil || d.dirs[filepath.Join(b.f.path, toName)] != nil {
			return pathError("rename", toName, fs.ErrExist)
		}
		return d.move(a.f, name, b.f, toName)
	})
}

// Replace implements spool.FS.
func (d *Disk) Replace(in spool.Dir, name, toName string) error {
	h := in.(*dir)
	if err := errors.Join(checkName(name), checkName(toName)); err != nil {
		return err
	}
	return d.do(h.gen, Call{Op: OpReplace, Dir: h.f.path, Name: name, ToDir: h.f.path, ToName: toName}, func() error {
		return d.move(h.f, name, h.f, toName)
	})
}

func (d *Disk) move(from *folder, name string, to *folder, toName string) error {
	n := from.live[name]
	if n == nil {
		return pathError("rename", name, fs.ErrNotExist)
	}
	add := &change{name: toName, n: n}
	to.change(add)
	from.change(&change{name: name, tie: add})
	return nil
}

func (f *folder) change(c *change) {
	c.put(f.live)
	f.pending = append(f.pending, c)
}

func (f *folder) sync() {
	for _, c := range f.pending {
		c.kept = true
		c.put(f.disk)
	}
	f.pending = nil
}

func (d *Disk) tick() time.Time {
	d.clock = d.clock.Add(time.Microsecond)
	return d.clock
}

func pathError(op, path string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }

// checkName refuses what spool.Dir refuses.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\\:\x00") {
		return pathError("open", name, spool.ErrName)
	}
	return nil
}
