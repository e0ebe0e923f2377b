package pop3test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A Mail is a message for the maildrop.
type Mail struct {
	// UIDL is its unique id; "" lets the server choose one. It may be one that
	// another mail has, or had: real servers do that too.
	UIDL string
	// Raw is the message, sent exactly as it is apart from dot-stuffing and a
	// final CRLF.
	Raw []byte
	// Open gives the message instead of Raw, for mails too big to keep. Each
	// reader must give the same bytes.
	Open func() io.Reader
	// ListSize, if not "", is what LIST says in place of the size.
	ListSize string
}

func (m *Mail) open() io.Reader {
	if m.Open != nil {
		return m.Open()
	}
	return bytes.NewReader(m.Raw)
}

// A Record is what the server remembers of one mail.
type Record struct {
	UIDL      string
	Raw       []byte // nil for a mail with Open
	Listed    int    // times that LIST or UIDL without a number showed it
	Retrieved int    // times that RETR sent all of it
	Marked    int    // times that DELE was answered with +OK
	Removed   bool   // a QUIT removed it
	Vanished  bool   // [Server.Vanish] removed it
}

type storedMail struct {
	Mail
	size int64 // octets that RETR sends, dots and an added CRLF not counted
	rec  Record
}

type maildrop struct {
	account
	free   chan struct{} // nil: nobody has the lock; else closed when it is given back
	mails  []*storedMail // what is there now
	ledger []*storedMail // all there ever was
}

// Add puts a message into the maildrop of the first user, byte for byte, and
// returns its UIDL. It may be called while sessions run; a session shows only
// what was there when it began.
func (s *Server) Add(raw []byte) string { return s.AddMail(Mail{Raw: raw}) }

// AddText is Add for a message written with LF line ends.
func (s *Server) AddText(text string) string {
	return s.Add([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
}

// AddMail is Add for a mail with peculiarities.
func (s *Server) AddMail(m Mail) string { return s.AddMailTo(s.cfg.users[0].name, m) }

// AddMailTo is AddMail for the maildrop of another user. It panics if there is
// no such user.
func (s *Server) AddMailTo(user string, m Mail) string {
	m.Raw = slices.Clone(m.Raw)
	size, err := io.Copy(io.Discard, m.open())
	if err != nil {
		panic("pop3test: cannot read the mail: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	box := s.boxes[user]
	if box == nil {
		panic("pop3test: no user " + user)
	}
	if m.UIDL == "" {
		s.serial++
		m.UIDL = fmt.Sprintf("uidl-%06d", s.serial)
	}
	sm := &storedMail{Mail: m, size: size, rec: Record{UIDL: m.UIDL, Raw: m.Raw}}
	box.mails = append(box.mails, sm)
	box.ledger = append(box.ledger, sm)
	return m.UIDL
}

// Vanish removes the mails with that UIDL from every maildrop at once, as if
// somebody else had deleted them: running sessions answer -ERR for them.
func (s *Server) Vanish(uidl string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, box := range s.boxes {
		box.mails = slices.DeleteFunc(box.mails, func(m *storedMail) bool {
			if m.UIDL != uidl {
				return false
			}
			m.rec.Vanished = true
			return true
		})
	}
}

// Messages returns what is in the maildrop of the first user now, oldest first.
func (s *Server) Messages() []Record { return s.MessagesOf(s.cfg.users[0].name) }

// MessagesOf is Messages for another user.
func (s *Server) MessagesOf(user string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Record
	if box := s.boxes[user]; box != nil {
		for _, m := range box.mails {
			list = append(list, m.rec)
		}
	}
	return list
}

// Ledger returns all mails the maildrop of the first user ever had, in the
// order they were added, removed ones included.
func (s *Server) Ledger() []Record { return s.LedgerOf(s.cfg.users[0].name) }

// LedgerOf is Ledger for another user.
func (s *Server) LedgerOf(user string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Record
	if box := s.boxes[user]; box != nil {
		for _, m := range box.ledger {
			list = append(list, m.rec)
		}
	}
	return list
}

// note changes the record of a mail.
func (s *Server) note(m *storedMail, change func(*Record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&m.rec)
}

// lockWait is how long a login waits for the lock. A client that just dropped
// its connection and comes back must not meet its own old session, which the
// server is about to notice.
const lockWait = 250 * time.Millisecond

// lock gives a session the maildrop, or reports that another one keeps it.
func (s *Server) lock(box *maildrop) ([]*storedMail, bool) {
	timer := time.NewTimer(lockWait)
	defer timer.Stop()
	for {
		s.mu.Lock()
		held := box.free
		if held == nil {
			box.free = make(chan struct{})
			mails := slices.Clone(box.mails)
			s.mu.Unlock()
			return mails, true
		}
		s.mu.Unlock()
		select {
		case <-held:
		case <-timer.C:
			return nil, false
		case <-s.done:
			return nil, false
		}
	}
}

func (s *Server) unlock(box *maildrop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(box.free)
	box.free = nil
}

// commit removes the marked mails apart from those that a rule keeps, and
// reports whether all are gone.
func (s *Server) commit(box *maildrop, marked []*storedMail, keep func(uidl string) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := true
	for _, m := range marked {
		if keep(m.UIDL) {
			all = false
			continue
		}
		if i := slices.Index(box.mails, m); i >= 0 {
			box.mails = slices.Delete(box.mails, i, i+1)
			m.rec.Removed = true
		}
	}
	return all
}
