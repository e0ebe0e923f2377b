package simdisk

import (
	"bytes"
	"path/filepath"
	"slices"
)

// What a test may look at. None of it counts as an operation, and it works while the machine is down.

// Files lists the paths of all files as programs see them.
func (d *Disk) Files() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []string
	for p, f := range d.dirs {
		for name := range f.live {
			list = append(list, filepath.Join(p, name))
		}
	}
	slices.Sort(list)
	return list
}

// ReadFile gives the bytes of a file as programs see them.
func (d *Disk) ReadFile(path string) ([]byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.dirs[filepath.Dir(path)]
	if f == nil || f.live[filepath.Base(path)] == nil {
		return nil, false
	}
	return slices.Clone(f.live[filepath.Base(path)].data), true
}

// Durable reports whether the file would survive a power cut now, under this name and with all its bytes.
func (d *Disk) Durable(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, name := d.dirs[filepath.Dir(path)], filepath.Base(path)
	if f == nil || f.live[name] == nil || f.disk[name] != f.live[name] {
		return false
	}
	for _, c := range f.pending {
		if c.name == name {
			return false
		}
	}
	n := f.live[name]
	return bytes.Equal(n.data, n.disk)
}

// Forget removes a file without a trace, as if its owner had done so and all were synced.
func (d *Disk) Forget(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.dirs[filepath.Dir(path)]; f != nil {
		f.change(&change{name: filepath.Base(path)})
		f.sync()
	}
}
