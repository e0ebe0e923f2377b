package spool

import (
	"errors"
	"sync"
)

const (
	// MaxGroupFiles is how many files a Group holds open at most before it makes them durable.
	MaxGroupFiles = 64
	// groupWidth is how many are synced at the same time.
	groupWidth = 16
)

// Group commits many files together: their syncs run side by side, since a disk makes sixty files durable in little more
// time than a few. For one goroutine; those it starts have ended when its methods return. The zero value is ready.
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

// earlySyncer is a File that can begin writing to the disk without waiting. A sync right behind it then has less to do,
// and on a journalling file system many share one commit.
type earlySyncer interface{ startSync() }

// Len is the number of files in the group.
func (g *Group) Len() int { return len(g.outs) }

func (g *Group) sync() {
	todo := make(chan *Out, MaxGroupFiles)
	for _, o := range g.outs[g.synced:] {
		if o.done {
			continue
		}
		if f, ok := o.file.(earlySyncer); ok && o.Flush() == nil {
			f.startSync()
		}
		todo <- o
	}
	close(todo)
	g.synced = len(g.outs)
	var wg sync.WaitGroup
	for range min(groupWidth, len(todo)) {
		wg.Go(func() {
			for o := range todo {
				o.settle()
			}
		})
	}
	wg.Wait()
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
