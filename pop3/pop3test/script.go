package pop3test

import "time"

// A Step is a point of the conversation where a [Rule] can act: the greeting,
// or a command by its upper-case name.
type Step string

// The steps.
const (
	StepGreeting Step = "greeting"
	StepCapa     Step = "CAPA"
	StepSTLS     Step = "STLS"
	StepUser     Step = "USER"
	StepPass     Step = "PASS"
	StepAPOP     Step = "APOP"
	StepAuth     Step = "AUTH"
	StepStat     Step = "STAT"
	StepUIDL     Step = "UIDL"
	StepList     Step = "LIST"
	StepRetr     Step = "RETR"
	StepTop      Step = "TOP"
	StepDele     Step = "DELE"
	StepNoop     Step = "NOOP"
	StepRset     Step = "RSET"
	StepQuit     Step = "QUIT"
)

// A Rule says what goes wrong where. The zero values of its numbers mean:
// for any message, each time.
type Rule struct {
	At      Step
	Message int // only for commands about this message number
	Skip    int // spare the first Skip matches
	Times   int // act this many times, then never again; 0: no end
	Do      Action
}

// An Action is what a [Rule] does instead of, or besides, the normal thing.
type Action struct {
	kind     actionKind
	text     string
	interval time.Duration
	bytes    int64
	uidls    []string
}

type actionKind uint8

const (
	actNone actionKind = iota
	actReply
	actReplyHang
	actReplyDrop
	actDrop
	actDropReply
	actDropAfter
	actReset
	actHang
	actDrip
	actCut
	actKeep
)

// Reply sends text in place of the reply; the command has no effect. CRLF is
// added unless text ends in LF, so that text may be several lines, or garbage.
func Reply(text string) Action { return Action{kind: actReply, text: text} }

// ReplyThenHang is [Reply] followed by silence.
func ReplyThenHang(text string) Action { return Action{kind: actReplyHang, text: text} }

// ReplyThenDrop is [Reply] after which the connection is closed. Nothing is
// added to text.
func ReplyThenDrop(text string) Action { return Action{kind: actReplyDrop, text: text} }

// Drop closes the connection; the command has no effect.
func Drop() Action { return Action{kind: actDrop} }

// DropReply lets the command take effect and closes the connection instead of
// replying: a QUIT removes mail and the client never hears of it.
func DropReply() Action { return Action{kind: actDropReply} }

// DropAfter carries out the command, replies, and closes the connection.
func DropAfter() Action { return Action{kind: actDropAfter} }

// Reset ends the connection with a TCP reset; the command has no effect.
func Reset() Action { return Action{kind: actReset} }

// Hang says nothing any more, until the client goes away.
func Hang() Action { return Action{kind: actHang} }

// Drip carries out the command and sends the reply one byte per interval.
func Drip(interval time.Duration) Action { return Action{kind: actDrip, interval: interval} }

// Cut carries out the command and closes the connection after n bytes of the
// reply.
func Cut(n int64) Action { return Action{kind: actCut, bytes: n} }

// KeepOnQuit makes QUIT keep the mails of these UIDLs although they were
// marked as deleted, and answer -ERR (RFC 1939, section 6). Without arguments
// every mail is kept.
func KeepOnQuit(uidls ...string) Action { return Action{kind: actKeep, uidls: uidls} }

type armedRule struct {
	Rule
	seen int
}

// Script adds rules. At each step the first rule that matches acts.
func (s *Server) Script(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		s.rules = append(s.rules, &armedRule{Rule: r})
	}
}

// ClearScript removes all rules and the limit of [Server.CutAfter].
func (s *Server) ClearScript() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules, s.cutAfter = nil, -1
}

// CutAfter closes each connection made from now on once the server has sent n
// bytes on it, counted before encryption; n < 0 lifts the limit.
func (s *Server) CutAfter(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutAfter = n
}

// action finds what the script wants at a step, and counts the visit.
func (s *Server) action(at Step, message int) Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if r.At != at || (r.Message != 0 && r.Message != message) {
			continue
		}
		r.seen++
		if r.seen <= r.Skip || (r.Times > 0 && r.seen > r.Skip+r.Times) {
			continue
		}
		return r.Do
	}
	return Action{}
}
