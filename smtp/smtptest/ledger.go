package smtptest

import (
	"slices"
	"sync"
)

// A Message is one that the server took responsibility for.
type Message struct {
	Conn   int      // the number of the connection, from 1
	Helo   string   // name given in EHLO or HELO
	User   string   // who had logged in, "" without
	TLS    bool     // it came over TLS
	From   string   // reverse path without brackets
	Params []string // of MAIL
	To     []Recipient
	// Data is the content with the dots unstuffed.
	Data []byte
	// Wire is the content as it came, with the terminator CRLF.CRLF or .CRLF.
	Wire []byte
	// Chunks are the sizes of the chunks it came in with BDAT, nil with DATA.
	Chunks []int
	// Promised tells that the reply 250 was written whole.
	Promised bool
}

// A Recipient is one that the server accepted.
type Recipient struct {
	Address string
	Params  []string // of RCPT
}

// Messages is the ledger, in the order of acceptance.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Message, len(s.ledger))
	for i, m := range s.ledger {
		out[i] = *m
	}
	return out
}

// ClearMessages empties the ledger.
func (s *Server) ClearMessages() { s.mu.Lock(); s.ledger = nil; s.mu.Unlock() }

func (s *Server) accept(m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger = append(s.ledger, m)
}

func (s *Server) promise(m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Promised = true
}

// A transcript is the byte log of one connection.
type transcript struct {
	mu       sync.Mutex
	limit    int
	client   []byte // from the client, inside TLS
	server   []byte // to the client, inside TLS
	raw      []byte // from the client, on the socket
	commands []string
}

func (t *transcript) add(to *[]byte, p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := t.limit - len(*to); room > 0 {
		*to = append(*to, p[:min(room, len(p))]...)
	}
}

func (t *transcript) command(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.commands = append(t.commands, line)
}

// Conns is how many connections the server has accepted.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// ClientBytes is what the client sent on the nth connection, from 1, inside
// TLS if there was TLS.
func (s *Server) ClientBytes(n int) []byte {
	return s.log(n, func(t *transcript) []byte { return t.client })
}

// ServerBytes is what the server wrote on the nth connection.
func (s *Server) ServerBytes(n int) []byte {
	return s.log(n, func(t *transcript) []byte { return t.server })
}

// SocketBytes is what came from the client on the socket itself: with TLS,
// ciphertext.
func (s *Server) SocketBytes(n int) []byte {
	return s.log(n, func(t *transcript) []byte { return t.raw })
}

// Commands are the command lines of the nth connection; contents and the
// client's lines within AUTH are not among them.
func (s *Server) Commands(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 1 || n > len(s.sessions) {
		return nil
	}
	t := s.sessions[n-1]
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.commands)
}

func (s *Server) log(n int, pick func(*transcript) []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 1 || n > len(s.sessions) {
		return nil
	}
	t := s.sessions[n-1]
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(pick(t))
}
