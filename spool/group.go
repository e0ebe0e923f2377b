package spool

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// MaxGroupFiles is how many files a Group holds open at most before it makes them durable.
	MaxGroupFiles = 96
	// groupWidth is how many are synced at the same time.
	groupWidth = 16
)

// Group commits many files together: their syncs run side by side, or are one (see [WithSyncEach]), since a disk makes sixty
// files durable in little more time than a few. For one goroutine; those it starts have ended when its methods return. The
// zero value is ready.
type Group struct {
	outs   []*Out
	synced int // outs before this are settled
}

// Commit takes a file into the group; it must not be written any more. It holds the file open until MaxGroupFiles
// files have come together, then makes these durable. Whether that went well, Wait tells. The file can still be given up
// with Abort.
func (g *Group) Commit(o *Out) {
	if o.done {
		return
	}
	g.outs = append(g.outs, o)
	// Making files while others are synced is slow on a journalling file system, so they are synced all at once.
	if len(g.outs)-g.synced >= MaxGroupFiles {
		g.sync()
	}
}

// Len is the number of files in the group.
func (g *Group) Len() int { return len(g.outs) }

func (g *Group) sync() {
	var todo []*Out
	for _, o := range g.outs[g.synced:] {
		if !o.done {
			_ = o.Flush() // its error is in o
			todo = append(todo, o)
		}
	}
	g.synced = len(g.outs)
	if len(todo) == 0 || settleTogether(todo) {
		return
	}
	var bad error
	for _, o := range todo {
		// What cannot be written at all, the kernel tells once: Sync would not tell it again, and perhaps not of other files.
		if f, ok := o.file.(earlySyncer); ok && o.err == nil {
			if err := f.startSync(); err != nil && !refused(err) {
				bad = err
			}
		}
		if o.err == nil && bad != nil {
			_ = o.synced(bad)
		}
	}
	sideBySide(len(todo), func(i int) { todo[i].settle() })
}

// sideBySide calls do for 0 to n-1, groupWidth at a time: syncs that run together share the disk's work.
func sideBySide(n int, do func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(groupWidth, n) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	wg.Wait()
}

// settleTogether settles files of one directory in one go, where the disk can do that.
func settleTogether(outs []*Out) bool {
	dir, ok := outs[0].dir.(together)
	if !ok || outs[0].s.syncEach {
		return false
	}
	slices.SortFunc(outs, func(a, b *Out) int { return cmp.Compare(a.before, b.before) })
	files := make([]File, len(outs))
	for i, o := range outs {
		if o.dir != outs[0].dir || o.err != nil || i > 0 && o.before < outs[0].after {
			return false
		}
		files[i] = o.file
	}
	errs, ok := dir.syncTogether(files)
	if !ok {
		return false
	}
	for i, o := range outs {
		_ = o.synced(errs[i])
		o.shut()
	}
	return true
}

// Wait makes the rest durable and gives the files their final names, in the order of the Commits; aborted ones are left
// out. The names are durable after SyncDir. A file that failed is gone, and the error names each. The Group is empty
// afterwards.
func (g *Group) Wait() error {
	g.sync()
	var errs []error
	for _, o := range g.outs {
		if !o.done {
			errs = append(errs, o.rename())
		}
	}
	g.outs, g.synced = g.outs[:0], 0
	return errors.Join(errs...)
}
