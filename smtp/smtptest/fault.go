package smtptest

import (
	"strings"
	"time"
)

// A Stage is a point of a session at which the server answers.
type Stage string

// The stages.
const (
	Greeting  Stage = "greeting"
	EHLO      Stage = "EHLO"
	HELO      Stage = "HELO"
	STARTTLS  Stage = "STARTTLS"
	AUTH      Stage = "AUTH"      // the command AUTH
	AuthReply Stage = "AUTH-LINE" // each line of the client after a challenge
	MAIL      Stage = "MAIL"
	RCPT      Stage = "RCPT"
	DATA      Stage = "DATA"
	BDAT      Stage = "BDAT" // after each chunk but the last
	Dot       Stage = "dot"  // after the final dot or the last chunk; with LMTP for each recipient
	RSET      Stage = "RSET"
	NOOP      Stage = "NOOP"
	QUIT      Stage = "QUIT"
)

// A Fault is something that goes wrong at a stage.
type Fault struct {
	At   Stage
	Conn int // the nth connection of the server, from 1; 0 is every one
	Nth  int // the nth time the connection is at the stage, from 1; 0 is every time
	Do   Action
}

// An Action is what the server does instead of its usual reply. Make it with
// one of the functions of this package.
type Action struct {
	text   string // sent instead of the reply
	reply  bool   // text is a reply: its class decides what the server does next
	before string // sent ahead of the usual reply
	after  string // sent behind it, in the same segment
	usual  bool   // the usual reply is sent
	accept bool   // the server acts as if it had replied as usual
	end    ending
	drip   time.Duration
	wait   time.Duration
}

type ending uint8

const (
	stay ending = iota
	drop
	reset
	hang
)

// Reply gives another reply. With 2yz or 3yz the server goes on as if it had
// accepted, with anything else as if it had refused.
func Reply(lines ...string) Action {
	return Action{text: strings.Join(lines, "\r\n") + "\r\n", reply: true}
}

// ReplyThenDrop is Reply, after which the server closes the connection, as with
// 421.
func ReplyThenDrop(lines ...string) Action {
	a := Reply(lines...)
	a.end = drop
	return a
}

// Raw sends s as it is, and goes on as if it had refused.
func Raw(s string) Action { return Action{text: s} }

// Before sends s ahead of the usual reply, in one segment with it.
func Before(s string) Action { return Action{before: s, usual: true} }

// After sends s behind the usual reply, in one segment with it: at STARTTLS
// this is the injection of clear text.
func After(s string) Action { return Action{after: s, usual: true} }

// Drop closes the connection instead of replying.
func Drop() Action { return Action{end: drop} }

// Reset ends the connection with a TCP reset instead of replying.
func Reset() Action { return Action{end: reset} }

// DropAfter replies as usual and closes.
func DropAfter() Action { return Action{usual: true, end: drop} }

// AcceptThenDrop does what the usual reply says, and closes without saying it:
// at [Dot] the message is in the ledger, and the client cannot know.
func AcceptThenDrop() Action { return Action{accept: true, end: drop} }

// Hang says nothing more until the client goes away.
func Hang() Action { return Action{end: hang} }

// Late replies as usual, after a time.
func Late(wait time.Duration) Action { return Action{usual: true, wait: wait} }

// Drip sends s a byte at a time, one each interval, over and over.
func Drip(interval time.Duration, s string) Action {
	return Action{text: s, drip: interval, end: hang}
}

// AddFault adds a fault. Of several that fit the first one counts.
func (s *Server) AddFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// ClearFaults removes all faults and cuts.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.cutRead, s.cutWrite, s.stallRead = nil, -1, -1, -1
}

// CutRead makes the server close later connections once it has read n bytes
// (inside TLS, if there is TLS); negative lifts that.
func (s *Server) CutRead(n int) { s.mu.Lock(); s.cutRead = n; s.mu.Unlock() }

// CutWrite makes the server close later connections once it has written n
// bytes; negative lifts that.
func (s *Server) CutWrite(n int) { s.mu.Lock(); s.cutWrite = n; s.mu.Unlock() }

// StallRead makes the server stop reading on later connections once it has
// read n bytes, and leave them open; negative lifts that.
func (s *Server) StallRead(n int) { s.mu.Lock(); s.stallRead = n; s.mu.Unlock() }

func (s *Server) fault(at Stage, conn, nth int) (Action, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.At == at && (f.Conn == 0 || f.Conn == conn) && (f.Nth == 0 || f.Nth == nth) {
			return f.Do, true
		}
	}
	return Action{}, false
}
