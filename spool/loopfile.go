package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	loopbackFile    = "loopback.json"
	loopbackVersion = 1
	maxLoopbackFile = 512 << 20 // bytes
	loopbackWait    = 5 * time.Second
	loopbackStep    = 5 * time.Millisecond
)

// errLoopbackBusy: another program is writing the state this very moment.
var errLoopbackBusy = errors.New("being written by another program")

// loopFile is the layout of loopback.json.
type loopFile struct {
	Version int        `json:"version"`
	Entries []loopJSON `json:"entries"`
}

type loopJSON struct {
	Profile string    `json:"profile,omitempty"`
	Sender  string    `json:"sender"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Hits    int       `json:"hits"`
	Blocked bool      `json:"blocked,omitempty"`
	Cause   string    `json:"cause,omitempty"`
}

// Load takes in what other programs wrote. Call it at the begin of a session. A damaged file is an empty one, and kept
// aside by the next Flush.
func (l *LoopbackState) Load() error {
	l.s.loop.mu.Lock()
	defer l.s.loop.mu.Unlock()
	return l.s.loadLoopback(false)
}

// Flush writes the state, merged with what other programs wrote, if anything changed since it was last written. It waits
// for another writer until ctx ends, but at most five seconds. After an error the state stays in memory and the next
// Flush tries again.
func (l *LoopbackState) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loopbackWait)
	defer cancel()
	for {
		l.s.loop.mu.Lock()
		err := l.s.flushLoopback()
		l.s.loop.mu.Unlock()
		if !errors.Is(err, errLoopbackBusy) {
			return err
		}
		t := time.NewTimer(loopbackStep)
		select {
		case <-ctx.Done():
			t.Stop()
			return errors.Join(err, context.Cause(ctx))
		case <-t.C:
		}
	}
}

// loadLoopback merges the file into memory if it changed: of two entries of a sender the one whose window ends later.
// Only the holder of the lock may put a damaged file aside.
func (s *Spool) loadLoopback(locked bool) error {
	st := &s.loop
	d, err := s.dir(Root)
	if err != nil {
		return err
	}
	info, err := d.Lstat(loopbackFile)
	if missing(err) {
		return nil
	}
	if err == nil && st.seen != nil && st.seen.Size() == info.Size() && st.seen.ModTime().Equal(info.ModTime()) {
		return nil
	}
	f, err := d.Open(loopbackFile)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fileError("open", d, loopbackFile, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLoopbackFile+1))
	if err != nil {
		return fileError("read", d, loopbackFile, err)
	}
	in, err := parseLoopback(data)
	if err != nil {
		if !locked {
			st.dirty = true // so that the next flush puts it aside
			return nil
		}
		return s.loopbackAside(d, data, err)
	}
	st.seen = info
	for _, j := range in.Entries {
		k, ok := loopKeyOf(j.Profile, j.Sender)
		mine, have := st.entries[k]
		// Round(0) compares by wall clock; what is in memory keeps its monotonic reading unless the file knows better.
		if !ok || j.Hits < 1 || !j.From.Before(j.Until) || have && !j.Until.After(mine.until.Round(0)) {
			continue
		}
		if st.entries == nil {
			st.entries = make(map[loopKey]loopEntry, len(in.Entries))
		}
		st.entries[k] = loopEntry{from: j.From, until: j.Until, hits: j.Hits, blocked: j.Blocked, cause: capText(j.Cause)}
	}
	st.bound(s.now())
	return nil
}

func parseLoopback(data []byte) (in loopFile, err error) {
	if len(data) > maxLoopbackFile {
		return in, fmt.Errorf("more than %d bytes", maxLoopbackFile)
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return in, err
	}
	if in.Version != loopbackVersion {
		return in, fmt.Errorf("version %d, this release knows version %d", in.Version, loopbackVersion)
	}
	return in, nil
}

func (s *Spool) loopbackAside(d Dir, data []byte, why error) error {
	a, err := openAside(d, loopbackFile)
	if err != nil {
		return err
	}
	if err := errors.Join(a.write(data), a.close()); err != nil {
		return err
	}
	s.loop.seen = nil
	s.loop.warnings = append(s.loop.warnings, fmt.Sprintf("%s: %v; kept as %s, all windows are open anew", loopbackFile, why, a.name))
	return nil
}

func (s *Spool) flushLoopback() (err error) {
	st := &s.loop
	if !st.dirty {
		return nil
	}
	d, err := s.dir(Root)
	if err != nil {
		return err
	}
	const lockName = loopbackFile + ".lock"
	lock, err := d.OpenAppend(lockName)
	if missing(err) || errors.Is(err, ErrReplaced) {
		err = errLoopbackBusy
	}
	if err != nil {
		return fileError("open", d, lockName, err)
	}
	defer lock.Close()
	if ok, err := lockedHere(d, lockName, lock); err != nil || !ok {
		return fileError("lock", d, lockName, cmpErr(err, errLoopbackBusy))
	}
	// Removed while held, so that none stays behind and none is taken from under its holder.
	defer func() { err = errors.Join(err, d.Remove(lockName)) }()
	if err := s.loadLoopback(true); err != nil {
		return err
	}
	st.purge(s.now())
	if len(st.entries) == 0 {
		if err := d.Remove(loopbackFile); err != nil && !missing(err) {
			return fileError("remove", d, loopbackFile, err)
		}
		st.dirty, st.seen = false, nil
		return nil
	}
	w, err := s.beginReplace(d, loopbackFile)
	if err != nil {
		return err
	}
	defer w.abort()
	if err := json.NewEncoder(w).Encode(st.file()); err != nil {
		return err
	}
	if err := w.commit(); err != nil {
		return err
	}
	st.dirty = false
	if st.seen, err = d.Lstat(loopbackFile); err != nil {
		st.seen = nil // costs one reading more
	}
	return nil
}

func (st *loopState) file() loopFile {
	out := loopFile{Version: loopbackVersion, Entries: make([]loopJSON, 0, len(st.entries))}
	for k, e := range st.entries {
		out.Entries = append(out.Entries, loopJSON{
			Profile: k.profile, Sender: k.sender, From: e.from.UTC(), Until: e.until.UTC(), Hits: e.hits, Blocked: e.blocked, Cause: e.cause,
		})
	}
	slices.SortFunc(out.Entries, func(a, b loopJSON) int {
		return strings.Compare(a.Profile+"\x00"+a.Sender, b.Profile+"\x00"+b.Sender)
	})
	return out
}
