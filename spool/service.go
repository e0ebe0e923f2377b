package spool

import (
	"fmt"
	"sync"
	"sync/atomic"
)

var driverHandles, serviceHandles atomic.Uint64

// NewDriverHandle gives the next driver handle of this process, from 1: one per loaded driver.
func NewDriverHandle() uint64 { return driverHandles.Add(1) }

// Service names the files of one session: it holds the fields A to D of their names. Inbound, make one Service for each
// session and pass it to Mailbox.Begin before any file is made; Begin may move the creation time on by some seconds if
// another program on a shared volume has the same numbers. Safe for concurrent use.
type Service struct {
	pid, driver, handle uint64

	mu      sync.Mutex
	created uint64
	state   sessionState
	names   map[string]bool // final names made in incoming in this session; true once a file has it
	removed bool            // some were removed again, and that is perhaps not on disk
}

type sessionState uint8

const (
	sessionNew sessionState = iota
	sessionOpen
	sessionEnded
)

// NewService gives a service its numbers. It does no I/O.
func (s *Spool) NewService(driverHandle uint64) *Service {
	return &Service{
		pid: s.pid, driver: driverHandle, handle: serviceHandles.Add(1),
		created: uint64(max(s.now().Unix(), 0)),
	}
}

// Prefix gives A_B_C_D, which all file names of the service share.
func (v *Service) Prefix() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.prefixLocked()
}

func (v *Service) prefixLocked() string { return v.name("", 0, 0, 0, "").ServicePrefix() }

func (v *Service) name(proto string, msg, att, ms uint64, ext string) Name {
	return Name{
		Prefix: proto, PID: v.pid, Driver: v.driver, Service: v.handle, Created: v.created,
		Message: msg, Attachment: att, Millis: ms, Ext: ext,
	}
}

// reserve notes that name is about to be made in this session, so that it can be swept when no record comes to name it.
func (v *Service) reserve(name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state != sessionOpen {
		return fmt.Errorf("spool: create %s: %w", quoted(name), ErrNoSession)
	}
	v.names[name] = false
	return nil
}

func (v *Service) release(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.names, name)
	v.removed = true
}

// named notes that the file has its final name.
func (v *Service) named(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.names[name]; ok {
		v.names[name] = true
	}
}

// end closes the session and gives the names made in it, temporary or final, and whether others were removed.
func (v *Service) end() (list []string, removed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state = sessionEnded
	list = make([]string, 0, len(v.names))
	for n, final := range v.names {
		if !final {
			list = append(list, n+partSuffix) // and perhaps the final one, if the renaming was cut short
		}
		list = append(list, n)
	}
	v.names = nil
	return list, v.removed
}
