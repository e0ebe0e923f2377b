package spool

// KeySet holds the keys of the mails on a server in 8 bytes each; its Has fits Prune, also for keys that are stored as a
// hash. The zero value is empty and ready. One goroutine at a time.
type KeySet struct{ set map[uint64]struct{} }

// Add takes a key as the server gave it.
func (k *KeySet) Add(key string) {
	if k.set == nil {
		k.set = map[uint64]struct{}{}
	}
	k.set[doneHash(StoredKey(key))] = struct{}{}
}

// Has reports whether the key with this stored form was added.
func (k *KeySet) Has(stored string) bool {
	_, ok := k.set[doneHash(stored)]
	return ok
}

// Len is the number of keys.
func (k *KeySet) Len() int { return len(k.set) }

// Prune ends the session after the server confirmed it: done mails for which onServer is false are forgotten, all other
// records stay. onServer is asked with the stored form of the key (StoredKey); KeySet.Has does that; nil keeps all. Files of the
// session that no record names are removed. The new Previous is durable before Current goes. With nothing to change
// nothing is written, and no file stays when no record does.
func (m *Mailbox) Prune(onServer func(stored string) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	if onServer == nil {
		onServer = func(string) bool { return true }
	}
	if err := m.prune(onServer); err != nil {
		return err
	}
	m.compact()
	return nil
}

func (m *Mailbox) prune(onServer func(string) bool) error {
	claim := ""
	if m.svc != nil {
		claim = claimName(m.svc.Prefix())
	}
	if err := m.sweepOwn(); err != nil {
		return err
	}
	if m.current == nil && !m.anyGone(onServer) {
		return nil
	}
	m.finishDisposals()
	if claim != "" {
		// Before the directory sync that Previous brings, and Current goes only after that: a claim never outlives the
		// line that leads to it.
		if err := m.removeIDs(claim); err != nil {
			return err
		}
	}
	if err := m.rewrite(onServer); err != nil {
		return err
	}
	if m.current == nil {
		return nil
	}
	_ = m.current.f.Close()
	m.current = nil
	// If a power cut brings Current back, it says nothing that is not true: its mails are done and its claim is gone.
	return m.removeIDs(m.currentName())
}

// rewrite writes Previous, or removes it when nothing is left to write.
func (m *Mailbox) rewrite(onServer func(string) bool) error {
	drop := func(r *Record) bool { return r.State == StateDone && r.Raw == "" && !onServer(r.Key) }
	left := 0
	for _, r := range m.changed {
		if !drop(r) {
			left++
		}
	}
	if left == 0 && !m.anyStays(onServer) {
		if err := m.removeIDs(m.previousName()); err != nil {
			return err
		}
		m.prev, m.done = false, doneSet{}
		clear(m.hidden)
		if err := m.dir.Sync(); err != nil {
			return fileError("sync", m.dir, m.previousName(), err)
		}
	} else if err := m.writePrevious(onServer, nil); err != nil {
		return err
	}
	for k, r := range m.changed {
		if drop(r) {
			delete(m.changed, k)
		}
	}
	return nil
}

// anyGone reports whether some done mail in Previous is no longer on the server. An unreadable file counts as yes: the
// rewrite then reports it.
func (m *Mailbox) anyGone(onServer func(string) bool) bool {
	return m.anyOld(func(r *Record) bool { return !onServer(r.Key) })
}

func (m *Mailbox) anyStays(onServer func(string) bool) bool {
	return m.anyOld(func(r *Record) bool { return onServer(r.Key) })
}

func (m *Mailbox) anyOld(is func(*Record) bool) bool {
	return m.eachOld(func(r *Record) error {
		if is(r) {
			return errStop
		}
		return nil
	}) != nil
}
