package driver

import (
	"sync/atomic"

	"github.com/maildriver/maildriver/spool"
)

// dispose moves or removes the raw file of a mail whose "done" is durable.
func (s *session) dispose(raw string) error {
	var err error
	if s.set.DeleteProcessed {
		err = s.common.Spool.RemoveFile(spool.Incoming, raw)
	} else {
		_, err = s.common.Spool.Shift(spool.Incoming, raw, spool.Processed) // Prune syncs, or the next Lock
	}
	if err != nil {
		return &noCommitError{spoolError("dispose", s.src.Protocol, err)}
	}
	return nil
}

// A disposer disposes of raw files beside the worker, which has its own waiting
// for the disk to do. The records name the files until the session's end, so
// nothing depends on when it happens.
type disposer struct {
	raws   chan string
	done   chan struct{}
	failed atomic.Pointer[error] // the first failure
}

func dispose(s *session) *disposer {
	d := &disposer{raws: make(chan string, 2*groupMails), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		for raw := range d.raws {
			if d.failed.Load() != nil {
				continue
			}
			if err := s.dispose(raw); err != nil {
				d.failed.Store(&err)
			}
		}
	}()
	return d
}

// take takes a file over. The error is one of a file before it.
func (d *disposer) take(raw string) error {
	d.raws <- raw
	return d.err()
}

// end waits until all is disposed of.
func (d *disposer) end() error {
	close(d.raws)
	<-d.done
	return d.err()
}

func (d *disposer) err() error {
	if err := d.failed.Load(); err != nil {
		return *err
	}
	return nil
}
