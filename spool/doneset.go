package spool

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
)

// doneSet remembers done mails in 16 bytes each: a million take 16 MB. The key is kept as a 64-bit hash with a seed of
// this process, so no server can make up keys that meet; a chance meeting shows by size and header hash, which a poller
// compares anyway (Record.DifferentMail).
type doneSet struct {
	list []doneEntry // sorted by key
}

type doneEntry struct {
	key uint64
	// fp holds, from the top: 32 bits size (0 unknown, capped), 1 bit hash known, 28 bits header hash, 3 bits outcome.
	fp uint64
}

var doneSeed = maphash.MakeSeed()

func doneHash(stored string) uint64 { return maphash.String(doneSeed, stored) }

const fpHashDigits = 7

func (s *doneSet) add(r *Record) {
	fp := uint64(min(max(r.Size, 0), maxSize32)) << 32
	if len(r.HeaderHash) >= fpHashDigits {
		if h, err := strconv.ParseUint(r.HeaderHash[:fpHashDigits], 16, 28); err == nil {
			fp |= 1<<31 | h<<3
		}
	}
	s.list = append(s.list, doneEntry{key: doneHash(r.Key), fp: fp | uint64(r.Outcome)&7})
}

// finish sorts and trims; get works only after it.
func (s *doneSet) finish() {
	slices.SortFunc(s.list, func(a, b doneEntry) int {
		switch {
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return 0
	})
	if cap(s.list) > len(s.list)+len(s.list)/64 {
		s.list = append(make([]doneEntry, 0, len(s.list)), s.list...)
	}
}

func (s *doneSet) get(stored string) (Record, bool) {
	h := doneHash(stored)
	lo, hi := 0, len(s.list)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.list[mid].key < h {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(s.list) || s.list[lo].key != h {
		return Record{}, false
	}
	fp := s.list[lo].fp
	r := Record{State: StateDone, Size: int64(fp >> 32), Outcome: Outcome(fp & 7)}
	if fp&(1<<31) != 0 {
		r.HeaderHash = fmt.Sprintf("%07x", fp>>3&(1<<28-1))
	}
	return r, true
}
