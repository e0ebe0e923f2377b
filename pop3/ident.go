package pop3

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"

	"github.com/maildriver/maildriver/driver"
)

// memory is what a driver remembers of its mailbox from session to session. It
// is a help and no more: losing it costs nothing that the documents promise.
type memory struct {
	mu     sync.Mutex
	twins  map[string]bool // UIDLs that named two mails once
	warned map[string]bool
}

// maxTwins bounds the memory of UIDLs that are no good.
const maxTwins = 10_000

// note remembers a UIDL that was listed twice: when one of the two mails is
// gone the other one must not change its id.
func (m *memory) note(uidl string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.twins == nil {
		m.twins = make(map[string]bool)
	}
	if len(m.twins) < maxTwins {
		m.twins[uidl] = true
	}
}

func (m *memory) known(uidl string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.twins[uidl]
}

// once reports true the first time it is asked about something.
func (m *memory) once(what string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.warned[what] {
		return false
	}
	if m.warned == nil {
		m.warned = make(map[string]bool)
	}
	m.warned[what] = true
	return true
}

// identify gives each mail its id: the UIDL, or one made of its content.
func (m *mailbox) identify(lines []listing, hasUIDL bool) ([]driver.Entry, error) {
	var doubtful []listing
	ids := make(map[int]driver.ID, len(lines))
	if hasUIDL {
		seen := make(map[string]int, len(lines))
		for _, l := range lines {
			seen[l.uidl]++
		}
		for _, l := range lines {
			if seen[l.uidl] > 1 {
				m.mem.note(l.uidl)
			}
			if seen[l.uidl] > 1 || m.mem.known(l.uidl) {
				doubtful = append(doubtful, l)
				continue
			}
			ids[l.number] = driver.ID(l.uidl)
		}
		if len(doubtful) > 0 {
			m.warn("the server gives one UIDL to several mails: their ids are made of their content", len(doubtful))
		}
	} else {
		doubtful = lines
		if len(doubtful) > 0 {
			m.warn("the server has no UIDL: ids are made of the mails' content", len(doubtful))
		}
	}
	if err := m.contentIDs(doubtful, ids); err != nil {
		return nil, err
	}
	clear(m.numbers)
	entries := make([]driver.Entry, 0, len(lines))
	for _, l := range lines {
		// A mail that vanished while its content was looked at has no id.
		if id, ok := ids[l.number]; ok {
			m.numbers[id] = l.number
			entries = append(entries, driver.Entry{ID: id, Size: l.size})
		}
	}
	return entries, nil
}

func (m *mailbox) warn(text string, mails int) {
	if m.mem.once(text) {
		m.s.log.Warn(text, "driver", driverName, "addr", m.s.conn.Addr(), "account", m.account, "mails", mails)
	}
}

// contentIDs makes ids of the mails' content: of header and size where these
// tell the mails apart, else of the whole mail. Mails that are equal byte for
// byte are numbered in the order of the listing.
func (m *mailbox) contentIDs(lines []listing, ids map[int]driver.ID) error {
	if len(lines) == 0 {
		return nil
	}
	byHeader, err := m.headerIDs(lines)
	if err != nil {
		return err
	}
	count := make(map[driver.ID]int, len(byHeader))
	for _, id := range byHeader {
		count[id]++
	}
	var whole []retrieval
	for _, l := range lines {
		if id, ok := byHeader[l.number]; ok && count[id] == 1 {
			ids[l.number] = id
			continue
		}
		whole = append(whole, retrieval{number: l.number})
	}
	twins := make(map[driver.ID]int)
	return m.each("RETR", whole, nil, func(r retrieval, b *body) error {
		// Of a mail beyond the limit the part within it will do.
		b.max = m.maxMail
		h := sha256.New()
		if _, err := io.Copy(h, b); err != nil && !errors.Is(err, driver.ErrLimit) {
			return err
		}
		id := driver.ID(fmt.Sprintf("retr:%x", h.Sum(nil)[:16]))
		if twins[id]++; twins[id] > 1 {
			id += driver.ID(fmt.Sprintf(":%d", twins[id]))
		}
		ids[r.number] = id
		return nil
	})
}

// headerIDs makes ids of header and size with TOP, for the mails for which
// the server has TOP.
func (m *mailbox) headerIDs(lines []listing) (map[int]driver.ID, error) {
	ids := make(map[int]driver.ID, len(lines))
	if !m.mayTOP() {
		return ids, nil
	}
	todo := make([]retrieval, len(lines))
	sizes := make(map[int]int64, len(lines))
	for i, l := range lines {
		todo[i].number, sizes[l.number] = l.number, l.size
	}
	top := func(todo []retrieval) error {
		return m.each("TOP", todo, nil, func(r retrieval, b *body) error {
			b.max = maxDrain
			sum, err := hashHeader(b)
			if err == nil {
				ids[r.number] = driver.ID(fmt.Sprintf("top:%x:%d", sum[:16], sizes[r.number]))
			}
			return err
		}, "0")
	}
	// One first: a server without TOP refuses it once, not a million times.
	if err := top(todo[:1]); err != nil || (len(ids) == 0 && !m.s.caps.has("TOP")) {
		return ids, err
	}
	return ids, top(todo[1:])
}

// mayTOP tells whether TOP is worth a try: a server without CAPA may have it.
func (m *mailbox) mayTOP() bool { return !m.noTOP && (m.s.caps == nil || m.s.caps.has("TOP")) }

// unstable are header fields that servers add or change while a mail lies in
// its maildrop. They are no part of what the mail is.
var unstable = []string{"status", "x-status", "x-uidl", "x-keywords", "x-mozilla-status", "x-mozilla-status2"}

// hashHeader hashes the header block, up to the first empty line or the end,
// without the fields in [unstable]. It keeps a piece of one line in memory.
func hashHeader(r io.Reader) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if err = eachHeaderPiece(r, h); err == nil {
		h.Sum(sum[:0])
	}
	return sum, err
}

func eachHeaderPiece(r io.Reader, h hash.Hash) error {
	in := bufio.NewReaderSize(r, 4<<10)
	start, skip := true, false
	for {
		piece, err := in.ReadSlice('\n')
		if len(piece) > 0 {
			line := bytes.TrimRight(piece, "\r\n")
			if start && len(line) == 0 {
				return nil
			}
			if start && line[0] != ' ' && line[0] != '\t' {
				name, _, _ := strings.Cut(string(line[:min(len(line), 64)]), ":")
				skip = isUnstable(name)
			}
			if !skip {
				h.Write(piece)
			}
			start = piece[len(piece)-1] == '\n'
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

func isUnstable(name string) bool {
	name = strings.TrimSpace(name)
	for _, u := range unstable {
		if strings.EqualFold(name, u) {
			return true
		}
	}
	return false
}
