package simdisk

import (
	"path/filepath"
	"slices"
	"syscall"
)

// Fault says which operation fails.
type Fault struct {
	// At is the operation, counted from 1 and from now; of those that Only lets through, it or the first behind it.
	At int
	// Err is what it returns. A write writes half before it fails, a sync of a file gives up its bytes.
	Err error
	// Sticky makes all later ones fail as well, until Reboot or Heal.
	Sticky bool
	// Only picks the operations that can fail; nil picks all.
	Only func(Call) bool
}

type armedFault struct {
	Fault
	from int
	hit  int
}

// Space picks what a full disk refuses.
func Space(c Call) bool {
	switch c.Op {
	case OpMkdir, OpCreate, OpWrite, OpSync, OpSyncDir, OpRename, OpReplace:
		return true
	}
	return false
}

// Descriptors picks what fails when no file can be opened any more.
func Descriptors(c Call) bool {
	switch c.Op {
	case OpOpenDir, OpCreate, OpOpen, OpList:
		return true
	}
	return false
}

// For gives the picker that suits an error: Space for ENOSPC, Descriptors for EMFILE, nil (all) for anything else.
func For(err error) func(Call) bool {
	switch err {
	case syscall.ENOSPC, syscall.EDQUOT:
		return Space
	case syscall.EMFILE, syscall.ENFILE:
		return Descriptors
	}
	return nil
}

// FailAt makes the nth operation from now fail with err, and with sticky all behind it; For picks the operations.
func (d *Disk) FailAt(n int, err error, sticky bool) {
	d.Fail(Fault{At: n, Err: err, Sticky: sticky, Only: For(err)})
}

// Fail sets the one fault there is.
func (d *Disk) Fail(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = &armedFault{Fault: f, from: d.ops}
}

// Heal ends a fault and tells how many operations it made fail.
func (d *Disk) Heal() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	hit := 0
	if d.fault != nil {
		hit = d.fault.hit
	}
	d.fault = nil
	return hit
}

// CutPowerAt cuts the power at the nth change from now, counted from 1; 0 takes it back.
func (d *Disk) CutPowerAt(n int) { d.endAt(n, true) }

// KillAt ends the process at the nth change from now: handles and locks go, but everything it did stays, synced or not.
func (d *Disk) KillAt(n int) { d.endAt(n, false) }

func (d *Disk) endAt(n int, power bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutAt, d.power = d.changes+n, power
	if n <= 0 {
		d.cutAt = 0
	}
}

// CutNow cuts the power between two operations.
func (d *Disk) CutNow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down, d.power = true, true
}

// Down reports whether the machine is down.
func (d *Disk) Down() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down
}

// Step is a moment of the program outside the disk at which the power can be cut, such as inside a handler. It counts as
// a change. The error is ErrDown.
func (d *Disk) Step(name string) error {
	return d.do(-1, Call{Op: OpStep, Name: name}, func() error { return nil })
}

// Ops and Changes count the operations, and those that change something, since the disk was made.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Changes is described at Ops.
func (d *Disk) Changes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changes
}

// OpenFiles counts the files that were opened since the last Reboot and not closed.
func (d *Disk) OpenFiles() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

// Lie makes every operation for which it returns true report success and do nothing; a lock counts as taken, and Lstat
// says that the file is missing. nil ends it. It must not call the disk.
func (d *Disk) Lie(f func(Call) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lie = f
}

// Rewrite changes what is written to a file before it gets there; the writer does not notice.
func (d *Disk) Rewrite(f func(Call, []byte) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rewrite = f
}

// Watch is told every operation before it happens. It must not call the disk.
func (d *Disk) Watch(f func(Call)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watch = f
}

// do runs one operation through all that can befall it. gen is that of the handle, -1 for none.
func (d *Disk) do(gen int, c Call, apply func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err, _ := d.run(gen, c, apply, nil)
	return err
}

// run is do with the lock held. failed is called when the fault hits; lied tells that nothing happened.
func (d *Disk) run(gen int, c Call, apply func() error, failed func()) (err error, lied bool) {
	if d.down || gen >= 0 && gen != d.gen {
		return ErrDown, false
	}
	if d.watch != nil {
		d.watch(c)
	}
	d.ops++
	if slices.Contains(changing, c.Op) {
		d.changes++
		if d.cutAt > 0 && d.changes >= d.cutAt {
			if d.rng.IntN(2) == 0 && (d.lie == nil || !d.lie(c)) {
				_ = apply()
			}
			d.down = true
			return ErrDown, false
		}
	}
	if f := d.fault; f != nil && d.ops >= f.from+f.At && (f.Only == nil || f.Only(c)) && (f.Sticky || f.hit == 0) && c.Op != OpStep {
		f.hit++
		if failed != nil {
			failed()
		}
		return pathError(string(c.Op), filepath.Join(c.Dir, c.Name), f.Err), false
	}
	if d.lie != nil && d.lie(c) {
		return nil, true
	}
	return apply(), false
}
