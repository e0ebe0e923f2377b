package spool

import "iter"

// Unfinished gives the records of mails that are not done, as of the call, in no particular order; unlike Records it
// reads nothing from disk. Keys are stored keys, which Lookup and the changes take as well.
func (m *Mailbox) Unfinished() iter.Seq[Record] {
	m.mu.Lock()
	var list []Record
	for _, r := range m.changed {
		if r.State != StateDone {
			list = append(list, r.clone())
		}
	}
	m.mu.Unlock()
	return func(yield func(Record) bool) {
		for _, r := range list {
			if !yield(r) {
				return
			}
		}
	}
}
